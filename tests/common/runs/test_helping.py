"""Covers a slice that cannot do without the records of others: it computes what is missing, one process at a time."""

import logging
import threading

import pytest
from filelock import FileLock
from toy_phases import SUMS

from common.runs.records import RecordWriter
from common.stopping import Stopped, StopRequest

N = 12
IDENTITY = {"n_records": N, "experiment": {"dataset": "left"}}


def writer(folder, start: int, end: int, stop: StopRequest | None = None) -> RecordWriter:
    log = logging.getLogger("test")
    return RecordWriter(SUMS, folder, IDENTITY, {}, log, start=start, end=end, stop=stop or StopRequest())


def compute(out: RecordWriter, first: int, n: int) -> list[int]:
    """The records of a part that were computed."""
    done = []
    for batch in out.batches(5, [1] * n, first):
        wanted = [index for index in batch if out.wants(index)]
        for index in wanted:
            out.append(index, {"sums.parquet": {"task_id": index, "text": ""}}, {})
        done += wanted
    return done


def test_batches_are_cut_from_the_part_that_is_asked_for(tmp_path):
    out = writer(tmp_path, 0, N - 1)
    assert list(out.batches(5, [1] * 8, 4)) == [[4, 5, 6, 7, 8], [9, 10, 11]]


def test_what_others_have_saved_meanwhile_is_not_computed_again(tmp_path):
    late, other = writer(tmp_path, 8, 11), writer(tmp_path, 0, 4)
    assert compute(other, 0, 8) == [0, 1, 2, 3, 4]
    assert not late.wants(6)
    with late.helping(range(8)) as n_missing:
        assert n_missing == 3 and compute(late, 0, 8) == [5, 6, 7]
    assert not late.wants(6) and sorted(late.saved_records) == list(range(8))


def test_a_second_helper_waits_and_then_has_nothing_to_do(tmp_path):
    first, second = writer(tmp_path, 6, 8), writer(tmp_path, 9, 11)
    entered, found = threading.Event(), []

    def help_too() -> None:
        entered.set()
        with second.helping(range(6)) as n_missing:
            found.append(n_missing)

    with first.helping(range(6)):
        waiting = threading.Thread(target=help_too)
        waiting.start()
        entered.wait()
        assert compute(first, 0, 6) == list(range(6)) and not found
    waiting.join(timeout=30)
    assert found == [0]


def test_a_stop_that_comes_while_waiting_ends_the_run(tmp_path):
    stop = StopRequest()
    out = writer(tmp_path, 6, 8, stop)
    stop.asked = True
    with FileLock(tmp_path / "locks" / "helping.lock"), pytest.raises(Stopped), out.helping(range(6)):
        pass
