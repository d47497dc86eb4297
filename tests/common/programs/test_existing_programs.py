"""Covers common/programs/existing_programs.py: the order of verdicts, and how far ahead programs are read."""

from common.programs.existing_programs import PROGRAMS_AHEAD, verdicts_of
from common.sandbox import Program, Sandbox


def test_programs_are_read_where_there_is_room_and_judged_in_order():
    n_read, judged = 0, []

    def programs():
        nonlocal n_read
        for number in range(3 * PROGRAMS_AHEAD):
            n_read += 1
            yield number, Program(f"def f():\n    return {number}", ("assert f() % 2 == 0",), "f")

    with Sandbox(workers=1) as sandbox:
        for number, verdict in verdicts_of(programs(), sandbox):
            assert n_read <= number + PROGRAMS_AHEAD
            judged.append((number, verdict.label))
    assert judged == [(n, "incorrect" if n % 2 else "correct") for n in range(3 * PROGRAMS_AHEAD)]
