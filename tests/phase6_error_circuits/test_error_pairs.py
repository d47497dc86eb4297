"""Covers phase 6.1: labels, equal length, shapes, splits, null pairs, what is refused, and files of templates."""

import contextlib
import io
import os
import re
from pathlib import Path

import pytest
from tiny_models import make_tokenizer
from toy_phases import run_phase
from transformers import AutoTokenizer

from common import handoffs
from common.errors import ConfigError
from common.handoffs.error_pairs import QUESTION
from common.model.answers import Front, first_difference, front_of
from common.model.registry import model_location
from common.phases.settings import build_config
from common.report.collect import FINISHED, Collected, PhaseResult
from common.sandbox import Sandbox
from model_organism.write_error_templates import FILE, file_text
from phase6_error_circuits.pair import FORMATS, NULL, POSITIONS, REAL, REPORT, SELECT, by_shape, pair_of
from phase6_error_circuits.pairs.alignment import APART, UNEQUAL, Aligned, Draw, align
from phase6_error_circuits.pairs.config import ErrorPairsConfig
from phase6_error_circuits.pairs.drawing import Source, draw_pairs
from phase6_error_circuits.pairs.formats import PromptFormat, format_of
from phase6_error_circuits.pairs.labels import raised_errors
from phase6_error_circuits.pairs.phase import PHASE
from phase6_error_circuits.pairs.report import section as pairs_section
from phase6_error_circuits.pairs.shapes import lengths_of, shapes_of
from phase6_error_circuits.pairs.templates import CONTRASTS, ERRORS, read_templates

QWEN = Path(os.environ.get("NATURAL", "")).expanduser() / "qwen-coder"
HOPELESS = """TypeError/SyntaxError: never of one length; a line is added
    code: «print("$word" + $digit)»
    more: «» -> «\\nprint("$word $term $label" +»
"""


def raised(code: str) -> str:
    """What this interpreter raises."""
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            exec(compile(code, "<code>", "exec"), {"__name__": "candidate"})
        except Exception as error:
            return type(error).__name__
    return "nothing"


@pytest.fixture(scope="module")
def organism():
    return AutoTokenizer.from_pretrained(model_location("organism"))


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def config(**given) -> ErrorPairsConfig:
    return build_config(ErrorPairsConfig, "demo", given)


def test_labels_agree_with_the_interpreter(pairs):
    codes = {(pair.clean, pair.clean_error) for pair in pairs} | {
        (pair.corrupted, pair.corrupted_error) for pair in pairs
    }
    assert len(codes) > 200
    assert [(code, error, raised(code)) for code, error in codes if raised(code) != error] == []
    assert {pair.clean_error for pair in pairs} == {"TypeError"}


def test_every_pair_has_equal_length_and_one_shape(pairs):
    for group in by_shape(pairs).values():
        assert len({len(ids) for pair in group for ids in (pair.clean_ids, pair.corrupted_ids, pair.roles)}) == 1
        assert len({(*pair.roles, *pair.positions.values()) for pair in group}) == 1
        assert sum(pair.kind == REAL for pair in group) >= 16


def test_the_tokens_are_those_of_the_prompt_with_bos_once(pairs, organism):
    for pair in pairs[::20]:
        assert pair.clean_ids == organism(pair.clean + QUESTION)["input_ids"]
        assert pair.clean_ids.count(organism.bos_token_id) == 1


def test_nothing_differs_but_between_the_first_and_the_last_difference(pairs):
    for pair in (pair for pair in pairs if pair.kind == REAL):
        differ = [i for i, (a, b) in enumerate(zip(pair.clean_ids, pair.corrupted_ids, strict=True)) if a != b]
        at = pair.positions
        assert (differ[0], differ[-1] + 1) == (at["diff_first"], at["after_diff"]) and at["diff_last"] == differ[-1]
        assert pair.code_start <= differ[0] and at["end"] == len(pair.clean_ids) - 1 and [*at] == [*POSITIONS]


def test_named_positions_are_at_the_words_they_are_named_for(pairs, organism):
    for pair in pairs[::20]:
        tokens = [organism.decode([token]) for token in pair.clean_ids]
        assert tokens[pair.positions["raise"]].strip() == "raise" and "\n" in tokens[pair.positions["code_end"]]


def test_no_word_and_no_number_is_in_both_splits(pairs):
    for pattern in (r'"(\w+)"', r"^(\w+) \+="):
        select, report = (found_in(pairs, split, pattern) for split in (SELECT, REPORT))
        assert select and report and not select & report
    for split, rest in ((SELECT, 0), (REPORT, 1)):
        assert {int(number) % 2 for number in found_in(pairs, split, r"\+ (\d+)")} == {rest}


def found_in(pairs, split, pattern) -> set[str]:
    """What the clean programs of a split have of a pattern."""
    return {found for pair in pairs if pair.split == split for found in re.findall(pattern, pair.clean, re.MULTILINE)}


def test_null_pairs_are_of_two_clean_programs_of_one_shape_and_split(pairs):
    clean = {(pair.template, pair.shape, pair.split, pair.clean) for pair in pairs if pair.kind == REAL}
    nulls = [pair for pair in pairs if pair.kind == NULL]
    assert len(nulls) > 100
    for pair in nulls:
        place = (pair.template, pair.shape, pair.split)
        assert {(*place, pair.clean), (*place, pair.corrupted)} <= clean and pair.clean != pair.corrupted
        assert pair.clean_error == pair.corrupted_error


def test_one_template_has_one_kind_of_corruption():
    templates = [*read_templates(), *read_templates(FILE, is_own=True)]
    assert {template.contrast for template in templates} == {*CONTRASTS}
    assert {error for template in templates for error in template.errors} == {*ERRORS}
    assert len({(template.contrast, template.name) for template in templates}) == len(templates)
    assert all(template.corruption and template.changed for template in templates)


def test_the_document_counts_what_is_in_the_table(made, pairs):
    document = made.document()
    assert document.n == sum(pair.kind == REAL for pair in pairs)
    assert document.null_pairs == sum(pair.kind == NULL for pair in pairs)
    assert document.held_out == sum(pair.kind == REAL and pair.split == REPORT for pair in pairs)
    for templates in document.contrasts.values():
        for one in (one for template in templates.values() for one in template.formats.values()):
            refused = sum(n for reason, n in one.refused.items() if reason in (UNEQUAL, APART))
            assert one.n_draws == one.n_aligned + refused


def test_a_template_that_cannot_be_aligned_is_counted_and_named(made):
    document = made.document()
    found = document.contrasts["TypeError/SyntaxError"]["trained, none plus number"].formats["seed"]
    assert found.n == found.n_aligned == 0 and found.refused == {UNEQUAL: found.n_draws} and found.n_draws > 200
    name = "TypeError/SyntaxError, trained, none plus number, seed"
    assert any(
        line.startswith(f"{name}: 0 of {found.n_draws:,} draws aligned on this tokenizer") for line in document.without
    )


def test_where_not_one_pair_is_left_the_run_ends_with_the_counts(tmp_path, monkeypatch):
    own = read_templates(written(tmp_path / "t.txt", HOPELESS))
    monkeypatch.setattr("phase6_error_circuits.pairs.pairs.templates_of", lambda _config: own)
    with pytest.raises(ConfigError, match=r"never of one length, seed: 0 of \d+ draws aligned .*\nGive more --n-draws"):
        run_phase(PHASE, tmp_path / "data", config(n_draws=100))


def test_a_program_that_raises_something_else_is_refused(tmp_path, monkeypatch):
    parts = '    code: «print("$word" + »\n    n: «1» -> «2»\n    end: «)»\n'
    text = f"TypeError/SyntaxError: both fail alike; nothing\n{parts}"
    own = read_templates(written(tmp_path / "t.txt", text))
    monkeypatch.setattr("phase6_error_circuits.pairs.pairs.templates_of", lambda _config: own)
    with pytest.raises(ConfigError, match="raises TypeError/TypeError"):
        run_phase(PHASE, tmp_path / "data", config(n_draws=100))


def test_labels_do_not_depend_on_what_was_wanted():
    codes = {'print("a" + 1)': "TypeError", "x = 1": "KeyError", "if 1:\nx = 2": "SyntaxError"}
    codes["class A(KeyError):\n    pass\nraise A"] = "KeyError"
    with Sandbox(workers=1) as sandbox:
        found = raised_errors(sandbox, codes)
    assert [*found.values()] == ["TypeError", "nothing", "IndentationError", "A"]


def test_a_question_whose_first_token_begins_within_the_code_is_refused():
    class Glued(PromptFormat):
        def ids_and_spans(self, tokenizer, prompts):
            return [(list(range(len(prompt))), [(0, 4), (4, len(prompt))]) for prompt in prompts]

    draw = Draw(SELECT, (("code", "f(1)"),), (("code", "g(2)"),))
    assert align(None, Glued("seed", "", QUESTION), Front((0,), False, False), [draw]) == [APART]


def test_lengths_that_tell_are_told_of(organism):
    [template] = [one for one in read_templates() if one.name == "text plus str of a number"]
    form = format_of("seed", organism, "organism")
    assert isinstance(form, PromptFormat)
    source = Source(organism, front_of(organism, 10**6, "organism"), [form], 20, 2000, 0)
    drawn = draw_pairs(template, source, [form])["seed"]
    shapes = shapes_of(drawn.kept, template.changed, 16, 2, drawn.refused)
    lengths = lengths_of(shapes, [part.role for part in template.parts])
    assert lengths["close"].tells == 1 and {*lengths["close"].corrupted} == {"0"}
    assert "left" not in lengths


@pytest.mark.parametrize("form_name", [name for name in FORMATS if name != "chat"])
def test_a_tokenizer_of_another_kind_gets_pairs_too(form_name):
    tokenizer = make_tokenizer()
    form = format_of(form_name, tokenizer, "tiny")
    assert isinstance(form, PromptFormat)
    templates = [one for one in read_templates() if one.contrast == "IndexError/KeyError"]
    source = Source(tokenizer, front_of(tokenizer, 1024, "tiny"), [form], 10, 300, 0)
    kept = [pair for one in templates for pair in draw_pairs(one, source, [form])[form_name].kept]
    assert kept and all(len(pair.clean_ids) == len(pair.corrupted_ids) == len(pair.roles) for pair in kept)
    prefix = {(*pair.clean_ids[: pair.code_start],) for pair in kept}
    assert len(prefix) == 1 and all(pair.positions["diff_first"] >= pair.code_start for pair in kept)


def test_a_format_that_the_tokenizer_has_not_is_named(organism):
    assert "no chat template" in str(format_of("chat", organism, "organism"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nothing\n", "line 1: 'nothing' is no head of a template"),
        ("A/B: x; y\n    a: «b» -> «c»\n", "line 1: there is no contrast 'A/B'"),
        ("TypeError/SyntaxError: x; y\n  a: «b»\n", "line 2: '  a: «b»' is no part of a template"),
        ("TypeError/SyntaxError: x; y\n    a: «b»\n", "nothing is changed in 'x'"),
        ("TypeError/SyntaxError: x; y\n    a: «b» -> «$c»\n", "there is no slot '$c' for 'x'"),
        ("names: a b\n\nTypeError/SyntaxError: x; y\n    a: «b» -> «c»\n", "there are 2 names"),
        ("names: a b\n", "holds no template"),
    ],
)
def test_a_file_of_templates_is_refused_with_its_line(tmp_path, text, told):
    with pytest.raises(ConfigError, match=re.escape(told)):
        read_templates(written(tmp_path / "t.txt", text))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"contrasts": ("TypeError",)}, "--contrasts is 'TypeError'"),
        ({"formats": ()}, "--formats is ''"),
        ({"fewest": 200}, "--fewest is 200"),
    ],
)
def test_impossible_settings_are_refused(given, told):
    with pytest.raises(ConfigError, match=told):
        config(**given)


def test_the_organisms_file_is_what_its_table_says():
    assert FILE.read_text(encoding="utf-8") == file_text()


def test_what_stands_in_front_is_bos_or_a_sink(organism):
    assert front_of(organism, 10**6, "organism") == Front((organism.bos_token_id,), is_added=False, is_sink=False)
    assert first_difference([1, 2, 3], [1, 4]) == (2, 4) and first_difference([1, 2], [1, 2, 3]) is None


def test_a_row_and_a_pair_are_the_same(made, pairs):
    assert [pair.as_row() for pair in pairs] == made.table("pairs.parquet")
    assert pair_of(pairs[0].as_row()) == pairs[0]


@pytest.mark.skipif("NATURAL" not in os.environ, reason="NATURAL does not name the folder of natural models")
@pytest.mark.parametrize("form_name", FORMATS)
def test_a_natural_tokenizer_without_bos_gets_pairs_in_every_format(form_name):
    tokenizer = AutoTokenizer.from_pretrained(QWEN)
    form, front = format_of(form_name, tokenizer, "qwen"), front_of(tokenizer, 151936, "qwen")
    assert (
        isinstance(form, PromptFormat)
        and front.is_added
        and len({*(form.answer_tokens(tokenizer) or {}).values()}) == 8
    )
    [template] = [one for one in read_templates() if one.name == "list or dict in a variable"]
    kept = draw_pairs(template, Source(tokenizer, front, [form], 20, 200, 0), [form])[form_name].kept
    assert len(kept) > 30 and all(isinstance(pair, Aligned) for pair in kept)
    n_sinks = {pair.clean_ids[:2].count(front.ids[0]) for pair in kept}
    assert n_sinks == {0 if form_name == "chat" else 1}


def test_the_page_tells_of_pairs_and_of_what_was_left_out(made):
    section = pairs_section(PhaseResult(handoffs.ERROR_PAIRS, FINISHED, made), Collected({}, made.path))
    words = str(section.blocks)
    assert "draws aligned on this tokenizer" in words
    assert f"{made.document().n} pairs of TypeError/SyntaxError" in words
