"""Covers common/programs/in_flight.py: what is begun again where memory runs out, and how few at a time."""

import logging

import pytest
import torch
from architectures import small

from common.errors import ConfigError
from common.model import generation
from common.model.forward import next_token_logits
from common.model.generation import Group, read_group
from common.model.rows import Request
from common.problems.prompt import build_prompt
from common.programs.in_flight import RowLimit, rows_in_flight

N, N_NEW = 24, 6


@pytest.fixture
def lm():
    return small("llama")


def requests() -> dict[int, Request]:
    prompt = build_prompt("Add one.", ["assert f(1) == 2"])
    return {i: Request({"task_id": i, "entry_point": "f"}, prompt, i) for i in range(N)}


def write(lm, batches: list[list[int]], n_rows: int, n_new: int = N_NEW) -> tuple[list[int], RowLimit]:
    asked = requests()

    def read(batch: list[int]) -> Group:
        return read_group(lm, {i: asked[i] for i in batch}, max_new_tokens=n_new, positions=(), stop_early=False)

    limit = RowLimit(
        lm,
        n_rows,
        max_new_tokens=n_new,
        length=lambda i: 20,
        name=lambda i: f"record {i}",
        log=logging.getLogger("test"),
    )
    return [row.key for row in rows_in_flight(lm, iter(batches), limit, read)], limit


def fails(monkeypatch, where) -> list[int]:
    """Rows of the passes that run out of memory: where `where(number of rows, number of new tokens)` says so."""
    failed: list[int] = []

    def short_of_memory(lm, ids, *others):
        if where(*ids.shape):
            failed.append(len(ids))
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return next_token_logits(lm, ids, *others)

    monkeypatch.setattr(generation, "next_token_logits", short_of_memory)
    return failed


@pytest.mark.parametrize("fitting", [1, 3, 7, 15])
def test_each_restart_halves_the_rows_and_every_row_is_written_once(lm, monkeypatch, fitting):
    failed = fails(monkeypatch, lambda n_rows, n_new: n_rows > fitting)
    keys, limit = write(lm, [list(range(16)), list(range(16, N))], 16)
    assert sorted(keys) == list(range(N))
    assert fitting / 2 <= limit() <= fitting and len(failed) <= 5


def test_one_row_that_is_too_much_is_named_once_it_is_alone(lm, monkeypatch):
    fails(monkeypatch, lambda n_rows, n_new: n_new > 1)
    with pytest.raises(ConfigError, match=r"record \d+ alone is too much.*\n.*--max-new-tokens"):
        write(lm, [[0, 1, 2]], 4)


def test_a_last_row_is_tried_with_a_place_of_its_own_before_it_is_too_much(lm, monkeypatch):
    tried = iter(range(100))
    failed = fails(monkeypatch, lambda n_rows, n_new: n_new == 1 and next(tried) == 2)
    keys, limit = write(lm, [[0]], 8)
    assert keys == [0] and failed == [1] and limit() == 1


def test_memory_that_is_short_before_anything_is_in_flight_is_an_error_of_its_own(lm):
    def batches():
        raise MemoryError("of the caller")
        yield

    with pytest.raises(MemoryError, match="of the caller"):
        write(lm, batches(), 4)


def test_a_batch_without_items_is_passed_over(lm):
    assert sorted(write(lm, [[0], [], [1, 2]], 1)[0]) == [0, 1, 2]
