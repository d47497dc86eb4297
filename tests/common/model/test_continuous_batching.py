"""Covers common/model/row_cache.py and write_rows: rows that come and go write what each writes alone."""

import gc
import random
import weakref

import pytest
import torch
from architectures import OTHERWISE_WITHOUT, PARALLEL, WITH_RESID_MID, small

from common.model import generation, row_cache
from common.model.forward import new_cache, next_token_logits
from common.model.generation import Group, generate, read_group, write_rows
from common.model.language_model import LanguageModel
from common.model.row_cache import ReadPrompts, RowCache, rows_may_join
from common.model.rows import Request
from common.model.tokenization import encode_padded
from common.problems.prompt import build_prompt

USABLE = [*WITH_RESID_MID, *PARALLEL, *OTHERWISE_WITHOUT]
RECURRENT = {"mamba", "mamba2", "lfm2", "jamba", "bamba"}
WINDOWS = {"gemma2": 8, "gemma3_text": 8, "mistral": 8, "cohere2": 8, "gpt_oss": 8}
N, N_NEW = 11, 14
PROBLEM = {"entry_point": "f"}


def model(architecture: str) -> LanguageModel:
    """With windows that are shorter than the prompts, where it has any."""
    window = WINDOWS.get(architecture)
    return small(architecture, sliding_window=window) if window else small(architecture)


def requests(n: int = N) -> dict[int, Request]:
    texts = ["Add one. " * (1 + 5 * i % 7) for i in range(n)]
    return {
        i: Request({**PROBLEM, "task_id": i}, build_prompt(text, [f"assert f({i}) == 1"]), i)
        for i, text in enumerate(texts)
    }


def written(lm: LanguageModel, groups: list[list[int]], n_rows, n_new: int = N_NEW) -> dict[int, list[int]]:
    """Tokens of each request; those of even number are longer, so that rows end at different times."""
    asked = requests()

    def read(group: list[int]) -> Group:
        made = read_group(lm, {i: asked[i] for i in group}, max_new_tokens=n_new, positions=(), stop_early=False)
        for row in made.rows:
            row.limit = 1 + row.key % 5 * n_new // 4
        return made

    return {row.key: row.result.token_ids for row in write_rows(lm, map(read, groups), n_rows)}


def without_cache(lm: LanguageModel, request: Request, n_new: int) -> list[int]:
    ids = encode_padded(lm, [request.prompt.text])["input_ids"]
    n_prompt = ids.shape[1]
    with torch.inference_mode():
        for _ in range(n_new):
            token = lm.model(input_ids=ids, use_cache=False).logits[0, -1].argmax()
            ids = torch.cat([ids, token.view(1, 1)], dim=1)
            if int(token) in lm.end_of_sequence_ids:
                break
    return ids[0, n_prompt:].tolist()


@pytest.mark.parametrize("architecture", USABLE)
def test_rows_that_come_and_go_write_what_each_writes_without_a_cache(architecture, monkeypatch):
    monkeypatch.setattr(row_cache, "FREE_COLUMNS", 2)  # they move into other columns all the time
    lm = model(architecture)
    found = written(lm, [[0, 1, 2], [3, 4, 5, 6], [7], [8, 9, 10]], lambda: 4)
    assert found.keys() == requests().keys()
    for key, request in requests().items():
        assert found[key] == without_cache(lm, request, 1 + key % 5 * N_NEW // 4)


@pytest.mark.parametrize("architecture", USABLE)
def test_only_caches_of_keys_and_values_let_rows_join(architecture):
    assert rows_may_join(model(architecture)) == (architecture not in RECURRENT)


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "bloom", "mamba"])
def test_no_schedule_changes_a_token(architecture):
    lm, generator = model(architecture), random.Random(0)
    expected = written(lm, [[key] for key in requests()], lambda: 1)
    for _ in range(6):
        order = list(requests())
        generator.shuffle(order)
        cuts = sorted(generator.sample(range(1, N), 3))
        groups = [order[a:b] for a, b in zip([0, *cuts], [*cuts, N], strict=True)]
        assert written(lm, groups, lambda: generator.randint(1, 6)) == expected


def test_as_many_rows_as_are_allowed_are_written_at_a_time(monkeypatch):
    lm, seen = model("llama"), []
    forward = lm.model.forward

    def counting(**named):
        if named["input_ids"].shape[1] == 1:
            seen.append(len(named["input_ids"]))
        return forward(**named)

    monkeypatch.setattr(lm.model, "forward", counting)
    found = written(lm, [[0, 1, 2], [3, 4, 5, 6], [7, 8, 9, 10]], lambda: 4)
    assert sum(seen) == sum(len(tokens) - 1 for tokens in found.values()), "no row is computed for nothing"
    assert seen[: len(seen) // 2] == [4] * (len(seen) // 2), "every row is busy while there are others to come"


def test_a_prompt_that_is_much_longer_makes_no_other_row_as_wide(monkeypatch):
    monkeypatch.setattr(generation, "TOKENS_PER_ROW", 30)
    lm, seen, caches = model("llama"), [], []
    prompts = [build_prompt("Add one. " * n, ["assert f(1) == 1"]) for n in (1, 2, 3, 4, 90)]
    asked = {i: Request({**PROBLEM, "task_id": i}, prompt, i) for i, prompt in enumerate(prompts)}
    forward = lm.model.forward

    def noting(**named):
        seen.append(named["attention_mask"].shape)
        if isinstance(named["past_key_values"], RowCache):
            keys = named["past_key_values"].layers[0].keys
            caches.append(0 if keys is None else keys.shape[0] * (keys.shape[2] - row_cache.FREE_COLUMNS))
        return forward(**named)

    monkeypatch.setattr(lm.model, "forward", noting)
    groups = [read_group(lm, {i: request}, max_new_tokens=8, stop_early=False) for i, request in asked.items()]
    del seen[:]
    rows = {row.key: row.result.token_ids for row in write_rows(lm, groups, lambda: 5)}
    assert all(n_rows * n_columns <= 5 * (30 + 8) for n_rows, n_columns in seen if n_rows > 1)
    assert max(caches) <= max(5 * (30 + 8), max(n_columns for _, n_columns in seen)), "nor are places made for it"
    assert max(seen)[0] == 4 and max(n_columns for _, n_columns in seen) > 200, "the long one is written alone"
    assert rows == {i: generate(lm, [one], max_new_tokens=8, stop_early=False)[0].token_ids for i, one in asked.items()}


def test_a_group_is_read_when_a_place_is_free_and_not_before():
    lm, asked, begun = model("llama"), requests(), []

    def groups():
        for key, request in asked.items():
            begun.append(key)
            yield read_group(lm, {key: request}, max_new_tokens=3, positions=(), stop_early=False)

    for number, row in enumerate(write_rows(lm, groups(), lambda: 2)):
        assert len(begun) <= number + 2 and row.result.token_ids
    assert begun == list(asked)


def test_rows_that_are_read_for_their_neighbours_sake_are_not_written():
    lm, asked = model("llama"), requests()
    whole = {row.key: row.result for row in write_rows(lm, [read_group(lm, asked, max_new_tokens=4)], lambda: 3)}
    group = read_group(lm, asked, max_new_tokens=4).only(lambda key: key in (2, 9))
    some = {row.key: row.result for row in write_rows(lm, [group], lambda: 3)}
    assert some.keys() == {2, 9}
    for key, result in some.items():
        assert result.token_ids == whole[key].token_ids
        assert (result.resid_post["last"] == whole[key].resid_post["last"]).all(), "byte for byte"


def test_what_follows_from_the_prompt_does_not_depend_on_what_else_is_written():
    lm, asked = model("gemma2"), requests()
    together = generate(lm, list(asked.values()), max_new_tokens=6)
    for n_rows in (1, 3):
        rows = write_rows(lm, [read_group(lm, asked, max_new_tokens=6)], lambda n_rows=n_rows: n_rows)
        for row in rows:
            expected = together[row.key]
            assert (row.result.resid_post["last"] == expected.resid_post["last"]).all()
            assert row.result.first_token_entropy == expected.first_token_entropy
            assert row.result.logprobs[0] == expected.logprobs[0]
            assert row.result.logprobs == pytest.approx(expected.logprobs, rel=1e-5, abs=1e-5)


def test_nothing_is_copied_when_a_token_is_added_or_the_last_row_leaves():
    lm = model("llama")
    encoded, read = encode_padded(lm, ["a b c d", "e f"]), new_cache(lm)
    with torch.inference_mode():
        next_token_logits(lm, encoded["input_ids"], encoded["attention_mask"], read)
        cache = RowCache(lm, lambda n_columns: 4)
        cache.join(ReadPrompts(read, encoded["attention_mask"].sum(1).tolist()), [0, 1])
        places = [layer.keys.data_ptr() for layer in cache.layers]
        for _ in range(5):
            next_token_logits(lm, torch.ones(2, 1, dtype=torch.long), cache.mask(), cache)
            cache.advance()
        assert cache.leave([1]) == [0]
    assert places == [layer.keys.data_ptr() for layer in cache.layers]


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_a_row_that_overflows_spoils_no_row_that_takes_its_place(architecture, monkeypatch):
    lm, asked = model(architecture), requests()
    expected = written(lm, [[key] for key in asked], lambda: 2)
    join = row_cache.RowCache.join

    def joined(cache, read, sources):
        for block in cache.layers:  # as if each row before had written what is not finite
            if block.keys is not None:
                n_used = len(cache._n_held)
                block.keys[n_used:], block.values[n_used:] = float("inf"), float("nan")
        join(cache, read, sources)

    monkeypatch.setattr(row_cache.RowCache, "join", joined)
    assert written(lm, [[key] for key in asked], lambda: 2) == expected


@pytest.mark.parametrize("architecture", ["llama", "jamba"])
def test_what_was_read_is_not_kept_when_its_rows_are_written(architecture):
    lm, asked, held = model(architecture), requests(), []

    def read(key: int) -> Group:
        gc.collect()
        assert not any(cache() for cache in held), "there is one group at a time"
        group = read_group(lm, {key: asked[key]}, max_new_tokens=4, stop_early=False)
        held.append(weakref.ref(group.read.cache))
        return group

    assert len(list(write_rows(lm, map(read, asked), lambda: 1))) == len(held) == N


@pytest.mark.parametrize("gone", [[0], [1], [4], [0, 1], [3, 4], [0, 4], [1, 3], [0, 2, 4], [0, 1, 2, 3, 4]])
def test_rows_that_leave_are_replaced_by_the_last(gone):
    lm = model("llama")
    encoded, read = encode_padded(lm, ["a b c d", "e f", "g", "h i j", "k l m n o"]), new_cache(lm)
    with torch.inference_mode():
        next_token_logits(lm, encoded["input_ids"], encoded["attention_mask"], read)
        cache = RowCache(lm, lambda n_columns: 5)
        lengths = encoded["attention_mask"].sum(1).tolist()
        cache.join(ReadPrompts(read, lengths), range(5))
        order = cache.leave(gone)
        assert sorted(order) == [row for row in range(5) if row not in gone]
        for row, source in enumerate(order):
            for layer, of_read in zip(cache.layers, read.layers, strict=True):
                end, n = cache._layout.end, lengths[source]
                assert torch.equal(layer.keys[row, :, end - n : end], of_read.keys[source, :, -n:])
        if order:
            assert cache.mask().sum(1).tolist() == [lengths[source] + 1 for source in order]
