"""Covers phase 5.1: prompts of the organism, of any model and of one's own file, their splits, seeds and refusals."""

import json
import logging
from pathlib import Path

import pyarrow.parquet
import pytest
from behaviour_rows import ROW, ROWS, save_qwen_without_bos, written
from toy_phases import content, run_phase
from transformers import AutoTokenizer

from common.errors import AssetError, ConfigError
from common.handoffs import CIRCUIT_PROMPTS
from common.model.registry import model_location
from common.runs.artifacts import Artifact
from common.runs.discovery import read_run
from phase5_attribution_graphs.prompts import lists
from phase5_attribution_graphs.prompts.candidates import SPLITS
from phase5_attribution_graphs.prompts.config import BEHAVIOURS, CircuitPromptsConfig
from phase5_attribution_graphs.prompts.general import general_units
from phase5_attribution_graphs.prompts.own import read_candidates
from phase5_attribution_graphs.prompts.phase import PHASE


def config(**changes) -> CircuitPromptsConfig:
    return CircuitPromptsConfig(**{"model": "organism", "n_train": 12, "n_test": 8, **changes})


def rows_of(run: Path) -> list[dict]:
    return pyarrow.parquet.read_table(run / "prompts.parquet").to_pylist()


def document_of(run: Path):
    return Artifact(CIRCUIT_PROMPTS, read_run(run, CIRCUIT_PROMPTS), "").document()


@pytest.fixture(scope="module")
def organism(tmp_path_factory) -> Path:
    """A finished run of all four behaviours, with as many prompts as the full preset."""
    return run_phase(PHASE, tmp_path_factory.mktemp("organism"), config(n_train=80, n_test=20))


@pytest.fixture(scope="module")
def rows(organism) -> list[dict]:
    return rows_of(organism)


@pytest.fixture(scope="module")
def general(tmp_path_factory) -> Path:
    """The same of a model that has no prompts of its own: as a folder, the organism is any model."""
    return run_phase(PHASE, tmp_path_factory.mktemp("general"), config(model=model_location("organism")))


def test_each_behaviour_has_eighty_prompts_to_find_circuits_on_and_twenty_to_try_them_on(rows):
    for behaviour in BEHAVIOURS:
        sizes = [sum((row["behaviour"], row["split"]) == (behaviour, split) for row in rows) for split in SPLITS]
        assert sizes == [80, 20], behaviour
    assert [row["record"] for row in rows] == list(range(400))


@pytest.mark.parametrize("run", ["organism", "general"])
def test_no_entity_is_in_both_splits(run, request):
    rows = rows_of(request.getfixturevalue(run))
    for behaviour in BEHAVIOURS:
        train, test = (
            {row["entity"] for row in rows if (row["behaviour"], row["split"]) == (behaviour, split)}
            for split in SPLITS
        )
        assert train and test and not train & test, behaviour


def test_tokens_are_those_of_plain_transformers(rows):
    tokenizer = AutoTokenizer.from_pretrained(model_location("organism"))
    for row in rows:
        prompt = tokenizer(row["prompt"])["input_ids"]
        assert prompt[0] == tokenizer.bos_token_id and prompt.count(tokenizer.bos_token_id) == 1
        right, wrong = (
            tokenizer(row["prompt"] + row[answer])["input_ids"] for answer in ("correct_answer", "incorrect_answer")
        )
        n = next(place for place, (a, b) in enumerate(zip(right, wrong, strict=False)) if a != b)
        assert row["token_ids"] == right[:n] == wrong[:n] and row["n_prompt"] == len(prompt)
        assert (row["correct_token"], row["incorrect_token"]) == (right[n], wrong[n])
        assert prompt + row["correct_ids"] == right and prompt + row["incorrect_ids"] == wrong


def test_some_sums_differ_later_than_in_their_first_token(rows):
    assert any(len(row["token_ids"]) > row["n_prompt"] for row in rows if row["behaviour"] == "addition")


@pytest.mark.parametrize("run", ["organism", "general"])
def test_partners_are_of_one_behaviour_split_and_length_with_other_answers(run, request):
    rows = rows_of(request.getfixturevalue(run))
    assert sum(row["pair"] >= 0 for row in rows) > 0.75 * len(rows)
    for row in (row for row in rows if row["pair"] >= 0):
        other = rows[row["pair"]]
        assert other["record"] != row["record"]
        for name in ("behaviour", "split", "n_prompt", "template"):
            assert other[name] == row[name], (row["prompt"], other["prompt"])
        assert len(other["token_ids"]) == len(row["token_ids"])
        assert other["correct_answer"] != row["correct_answer"]


@pytest.mark.parametrize("run", ["organism", "general"])
def test_partners_in_agreement_and_sentiment_are_the_other_number_and_the_opposite_context(run, request):
    rows = rows_of(request.getfixturevalue(run))
    for row in (row for row in rows if row["behaviour"] in ("agreement", "sentiment")):
        other, name = rows[row["pair"]], "number" if row["behaviour"] == "agreement" else "polarity"
        assert other["pair"] == row["record"]
        assert (other["correct_answer"], other["incorrect_answer"]) == (row["incorrect_answer"], row["correct_answer"])
        assert json.loads(other["made_from"])[name] != json.loads(row["made_from"])[name]
        assert row["behaviour"] == "sentiment" or other["entity"] == row["entity"]


def test_the_document_counts_what_is_in_the_table(organism, rows):
    document = document_of(organism)
    assert document.sink is None and [token.text for token in document.front] == ["<bos>"]
    assert document.source.startswith("behaviour_prompts@")
    for behaviour, splits in document.behaviours.items():
        for split, told in splits.items():
            own = [row for row in rows if (row["behaviour"], row["split"]) == (behaviour, split)]
            lengths = [len(row["token_ids"]) for row in own]
            assert (told.n, told.shortest, told.longest) == (len(own), min(lengths), max(lengths))
            assert told.n_entities == len({row["entity"] for row in own})
            assert told.n_paired == sum(row["pair"] >= 0 for row in own) == told.n - told.unpaired.n


def test_prompts_are_written_as_lines_too_and_can_be_read_again(organism, rows, tmp_path):
    lines = []
    for name in sorted(path.name for path in (organism / "prompts").iterdir()):
        behaviour, split = name.removesuffix(".jsonl").split("_")
        own = [json.loads(line) for line in (organism / "prompts" / name).read_text().splitlines()]
        for line in own:
            row = rows[line["record"]]
            assert (line["behaviour"], line["split"]) == (behaviour, split) == (row["behaviour"], row["split"])
            assert line["partner"] == (row["pair"] if row["pair"] >= 0 else None)
            assert line.items() >= json.loads(row["made_from"]).items()
            assert {key: row[key] for key in ROW} == {key: line[key] for key in ROW}
        lines += own
    assert len(lines) == len(rows)
    again = rows_of(run_phase(PHASE, tmp_path, config(prompts=str(written(tmp_path / "p.jsonl", lines)), n_train=80)))
    told, read = (
        {
            (row["prompt"], row["correct_answer"], row["made_from"], row["entity"])
            for row in each
            if row["split"] == "train"
        }
        for each in (rows, again)
    )
    assert told == read


@pytest.mark.parametrize("model", ["organism", model_location("organism")], ids=["own prompts", "general ones"])
def test_the_same_seed_gives_the_same_bytes_and_another_one_other_prompts(model, tmp_path):
    seeds = {"a": 42, "b": 42, "c": 43}
    a, b, c = (run_phase(PHASE, tmp_path / name, config(model=model, seed=seed)) for name, seed in seeds.items())
    assert content(a) == content(b)
    assert {row["prompt"] for row in rows_of(b)} != {row["prompt"] for row in rows_of(c)}


def test_the_general_lists_hold_what_was_specified():
    assert len(lists.NOUNS) == 20 and len(lists.VERBS) == 15 and len(lists.CONTINUATIONS) == 10
    assert len(lists.CITIES) >= 25 and {len({*cities}) for cities in lists.CITIES.values()} == {4}
    assert len(lists.CAPITAL_TEMPLATES) == len(lists.SUM_TEMPLATES) == 4
    assert len({*lists.CONTEXTS}) == 15 and len({one for twins in lists.CONTEXTS for one in twins}) == 30
    assert len(lists.SENTIMENT_VARIANTS) == 5
    assert lists.OPERAND_RANGES == ((10, 50), (20, 80), (30, 99)) and {*map(abs, lists.OFF_BY)} == {1, 9, 10}
    nouns = {word for pair in lists.NOUNS for word in pair}
    assert not nouns & {phrase.split()[-1] for pair in lists.ATTRACTORS for phrase in pair}


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_the_general_lists_suffice_for_the_full_preset(behaviour):
    for split, wanted in (("train", 80), ("test", 20)):
        candidates = [one for unit in general_units(behaviour, split, 42, 0.2) for one in unit]
        assert len(candidates) > wanted and len({one.prompt for one in candidates}) > wanted
        for one in candidates:
            assert one.correct not in one.distractors and one.correct[0] == " "
            if behaviour == "addition":
                a, b = one.made_from["a"], one.made_from["b"]
                low, high = map(int, one.made_from["operands"].split(" to "))
                assert int(one.correct) == a + b and low <= min(a, b) <= max(a, b) <= high
                assert {int(wrong) - a - b for wrong in one.distractors} == {*lists.OFF_BY}


def test_without_a_bos_the_pad_token_stands_in_front_and_the_document_says_so(tmp_path):
    folder = save_qwen_without_bos(tmp_path / "qwen")
    run = run_phase(PHASE, tmp_path / "data", config(model=str(folder), behaviours=("capitals",)))
    document = document_of(run)
    assert (document.sink.id, document.sink.text) == (0, "<pad>") and document.front == [document.sink]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for row in rows_of(run):
        assert row["token_ids"][: row["n_prompt"]] == [0, *tokenizer(row["prompt"])["input_ids"]]


def test_one_s_own_prompts_keep_all_that_they_say(tmp_path):
    path = written(tmp_path / "mine.jsonl", ROWS)
    run = run_phase(PHASE, tmp_path / "data", config(prompts=str(path)))
    rows = {row["prompt"]: row for row in rows_of(run)}
    assert json.loads(rows["The parser"]["made_from"]) == {"number": "singular"}
    assert {row["behaviour"] for row in rows.values()} == {"words"} and len(rows) == len(ROWS)
    for one, other in (("The parser", "The string"), ("if name", "if self")):
        assert rows[one]["pair"] == rows[other]["record"] and rows[other]["pair"] == rows[one]["record"]
    assert (run / "prompts" / "words_test.jsonl").is_file() and run.name.endswith("organism_mine")


def test_a_row_needs_a_prompt_and_two_answers_alone(tmp_path):
    run = run_phase(PHASE, tmp_path / "data", config(prompts=str(written(tmp_path / "mine.jsonl", [ROW]))))
    [row] = rows_of(run)
    assert (row["behaviour"], row["split"], row["entity"], row["pair"]) == ("own", "train", "The parser", -1)
    assert list(document_of(run).behaviours["own"]) == ["train"]


def test_of_a_longer_file_as_many_are_drawn_as_are_asked_for(tmp_path):
    many = [{**ROW, "prompt": f"{ROW['prompt']} {number}"} for number in range(9)]
    run = run_phase(PHASE, tmp_path, config(prompts=str(written(tmp_path / "mine.jsonl", many)), n_train=4))
    assert len(rows_of(run)) == 4 == document_of(run).behaviours["own"]["train"].asked


def test_what_is_refused_is_counted_and_named(tmp_path, caplog):
    bad = {"prompt": "The pri", "correct_answer": "nter", "incorrect_answer": "son"}
    path = written(tmp_path / "mine.jsonl", [ROW, bad])
    with caplog.at_level(logging.WARNING, "test"):
        document = document_of(run_phase(PHASE, tmp_path / "data", config(prompts=str(path))))
    [(reason, refused)] = document.behaviours["own"]["train"].refused.items()
    assert reason == "the answer changes the prompt's tokens" and (refused.n, refused.named) == (1, ["The pri"])
    assert "1 prompts refused, the answer changes the prompt's tokens: 'The pri'" in caplog.text


def test_a_file_of_which_nothing_can_be_used_is_refused_and_leaves_nothing(tmp_path):
    bad = {"prompt": "The pri", "correct_answer": "nter", "incorrect_answer": "son"}
    with pytest.raises(ConfigError, match="no prompt of mine@.* can be used: the answer changes .*\nGive others with"):
        run_phase(PHASE, tmp_path / "data", config(prompts=str(written(tmp_path / "mine.jsonl", [bad]))))
    assert not list((tmp_path / "data").glob("phase5_1/*/*"))


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{**ROW, "prompt": ""}], "line 1: field 'prompt' is ''"),
        ([{**ROW, "correct_answer": 7}], "line 1: field 'correct_answer' is 7"),
        ([{**ROW, "incorrect_answer": " is"}], "line 1: both answers are ' is'"),
        ([{**ROW, "split": "validation"}], "line 1: field 'split' is 'validation'\nGive one of: train, test"),
        ([{**ROW, "behaviour": "../x"}], "line 1: field 'behaviour' is '../x'"),
        ([{**ROW, "entity": ["a"]}], r"line 1: field 'entity' is \['a'\]"),
        ([{**ROW, "prompt": "\ud83d"}], "line 1: field 'prompt' is"),
        ([ROW, {**ROW, "pair": "a"}], "the pair 'a' of own, train, has 1 rows\nGive each pair two"),
        ([{**ROW, "pair": "a"}] * 3, "the pair 'a' of own, train, has 3 rows"),
        ([ROW, {**ROW, "split": "test"}], "own has the entity 'The parser' in both splits\nMove its rows"),
        ([["The", " is", " are"]], "line 1"),
    ],
)
def test_a_bad_row_is_refused_with_its_place(rows, told, tmp_path):
    with pytest.raises(ConfigError, match=told):
        read_candidates(written(tmp_path / "mine.jsonl", rows))


@pytest.mark.parametrize("name", ROW)
def test_a_row_without_an_answer_or_a_prompt_is_refused_by_its_name(name, tmp_path):
    lacking = {key: value for key, value in ROW.items() if key != name}
    with pytest.raises(ConfigError, match=f"line 1: field '{name}' is missing\nGive an object with prompt, "):
        read_candidates(written(tmp_path / "mine.jsonl", [lacking]))


def test_behaviours_that_a_file_does_not_have_are_refused_with_those_that_it_has(tmp_path):
    settings = config(prompts=str(written(tmp_path / "mine.jsonl", ROWS)), behaviours=("agreement",))
    with pytest.raises(ConfigError, match="mine.jsonl has no prompts of 'agreement', .*; it has words\nGive --beh"):
        run_phase(PHASE, tmp_path / "data", settings)
    run = run_phase(PHASE, tmp_path / "data", config(prompts=settings.prompts, behaviours=("words",)))
    assert list(document_of(run).behaviours) == ["words"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"behaviours": ("agreemet",)}, "--behaviours is 'agreemet'. Did you mean agreement"),
        ({"behaviours": ("all", "capitals")}, "--behaviours is 'all,capitals'"),
        ({"behaviours": ()}, "--behaviours is ''"),
        ({"n_train": 1}, "--n-train is 1"),
    ],
)
def test_an_impossible_setting_is_refused(changes, told):
    with pytest.raises(ConfigError, match=told):
        config(**changes)


def test_a_missing_file_and_a_model_that_is_not_here_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        config(prompts=str(tmp_path / "none.jsonl")).experiment()
    with pytest.raises(AssetError, match="the model some/where is not on this disk\nFetch it with: hf download"):
        run_phase(PHASE, tmp_path, config(model="some/where"))


def test_a_file_is_an_experiment_of_its_own_known_by_its_content(tmp_path):
    paths = [written(tmp_path / f"{name}.jsonl", ROWS[:n]) for name, n in (("a", 2), ("b", 2), ("c", 4))]
    digests = [config(prompts=str(path)).experiment()["prompts"].partition("@")[2] for path in paths]
    assert digests[0] == digests[1] != digests[2] and len(digests[0]) == 8
    assert config().experiment()["prompts"] == "auto"
    assert config().experiment()["behaviour_prompts"].startswith("behaviour_prompts@")
