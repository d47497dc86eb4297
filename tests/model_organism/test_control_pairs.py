"""Covers the organism's pairs of problems for phase 3.8: twins that differ in their operation alone."""

import ast
import difflib

import pytest
from support import ROOT

from model_organism.operations import OPERATIONS
from model_organism.phrasing import GENERIC_NAMES
from model_organism.write_control_pairs import FILE, PAIRS, pair_lines
from phase3_validation.positive_control.twins import READ, STEER, Twin, of_pairs, read_twins


@pytest.fixture(scope="module")
def twins() -> list[Twin]:
    return read_twins(FILE)


def called(test: str) -> ast.Call:
    """The call in 'assert f(x) == y'."""
    [statement] = ast.parse(test).body
    return statement.test.left


def test_the_committed_file_is_what_the_script_writes():
    assert FILE == ROOT / "model_organism" / "control_pairs.jsonl"
    assert FILE.read_text().splitlines() == pair_lines()


def test_each_pair_has_eight_twins_to_read_and_four_others_to_steer(twins):
    read, steered = of_pairs(twins, READ), of_pairs(twins, STEER)
    assert list(read) == list(steered) == list(PAIRS) and len(PAIRS) == 12
    assert {len(group) for group in read.values()} == {8} and {len(group) for group in steered.values()} == {4}
    tests = [(twin.pair, twin.a.test_list) for twin in twins]
    assert len(set(tests)) == len(tests)


def test_twins_differ_in_their_operation_alone(twins):
    for twin in twins:
        first, second = (OPERATIONS[name] for name in twin.pair.split(">"))
        assert first.input_type == second.input_type
        assert twin.a.entry_point == twin.b.entry_point in GENERIC_NAMES
        assert twin.a.code.splitlines()[0] == twin.b.code.splitlines()[0] and twin.a.code != twin.b.code
        calls = [[ast.dump(called(test)) for test in each.test_list] for each in (twin.a, twin.b)]
        assert calls[0] == calls[1] and len(calls[0]) == 3
        blocks = difflib.SequenceMatcher(None, twin.a.text.split(), twin.b.text.split()).get_matching_blocks()
        assert blocks[0].a == blocks[0].b == 0 and blocks[0].size >= 3, "the openings are one draw"


def test_the_asserts_are_what_the_references_give_and_tell_them_apart(twins):
    for twin in twins:
        for own, other in ((twin.a, twin.b), (twin.b, twin.a)):
            namespace: dict = {}
            exec(own.code, namespace)
            for test in own.test_list:
                exec(test, namespace)
            for test in other.test_list:
                with pytest.raises(AssertionError):
                    exec(test, namespace)
