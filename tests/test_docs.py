"""Covers the site of docs/: commands, links, the navigation, computed tables, and that it builds without a warning."""

import functools
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from support import ROOT
from typed_commands import check_understood, links_in, typed_in

import run
from benchmarks import costs
from common.errors import PipelineError
from common.evaluation import score_verdicts
from common.handoffs.selected import REFUSE_ABOVE, WARN_ABOVE
from common.handoffs.steering import DEGENERATE_LIMIT, MIN_CONTROLS
from common.interventions import controls, degenerate, power
from common.saes import rates
from docs import hooks
from phase3_validation.detection import scores
from phase4_anomaly_detection import calibration
from phase6_error_circuits.gate import figures as gate

DOCS = ROOT / "docs"
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
PAGES = sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))
MKDOCS = ROOT / ".docs" / "bin" / "mkdocs"
SHOWN = hooks.shown_on(PAGES)
INDENTED = re.compile(r"^    (python3 .*)$", re.MULTILINE)
needs_mkdocs = pytest.mark.skipif(not MKDOCS.is_file(), reason="`make docs` makes the environment that builds the site")


@functools.cache
def assembled(page: str) -> str:
    return hooks.assembled(page, SHOWN)


def in_nav(entries: list) -> list[str]:
    """The pages of the navigation, in order."""
    found = []
    for entry in entries:
        value = next(iter(entry.values())) if isinstance(entry, dict) else entry
        found += in_nav(value) if isinstance(value, list) else [value]
    return found


def test_every_page_is_in_the_navigation_once():
    assert sorted(in_nav(SITE["nav"])) == PAGES


def test_every_phase_has_a_page():
    pages = {f"phases/phase_{phase.replace('.', '_')}.md" for phase in run.PHASES}
    assert pages <= {*PAGES}
    for page in pages:
        text = assembled(page)
        assert text.startswith("# Phase") and "**Question" in text and "**Output" in text, page
        assert "python3 run.py " in text, page


def test_every_command_of_a_page_is_understood():
    lines = {line for page in PAGES for line in (*typed_in(assembled(page)), *INDENTED.findall(assembled(page)))}
    assert len(lines) > 60
    for line in sorted(lines):
        check_understood(line.split(" #")[0])


@pytest.mark.parametrize(
    "wrong, what",
    [
        ("run.py phase 2 --no-such 3", "--no-such"),
        ("run.py phase 1 --batch-size 0", "--batch-size is 0"),
        ("run.py phase 3 --no-such", "--no-such"),
        ("run.py phase 9", "phase 9|'9'"),
        ("run.py latent 1 2 --laye 3", "--laye"),
        ("multi_gpu_launcher.py --phase 1 --no-such", "--no-such"),
    ],
)
def test_a_command_that_is_wrong_is_noticed(wrong, what):
    with pytest.raises((AssertionError, PipelineError), match=what):
        check_understood(f"python3 {wrong}")


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_leads_somewhere(page):
    """Those that are written, in the repository; those that are built, on the site."""
    sources = {f"docs/{page}", *(path for path, _ in hooks.includes(hooks.text_of(f"docs/{page}")))}
    for source in sources:
        if not hooks.is_figure(source):
            text = hooks.INCLUDE.sub("", hooks.text_of(source))
            assert not [link for link in links_in(text) if not (ROOT / source).parent.joinpath(link).exists()], source
    places = {(DOCS / page).parent.joinpath(link).resolve() for link in links_in(assembled(page))}
    made = {(DOCS / hooks.figure_of(*each)[0]).resolve() for each in figures()}
    assert not [place for place in places - made if not place.is_file()]


@functools.cache
def figures() -> list[tuple[str, str]]:
    every = (each for page in PAGES for each in hooks.includes(hooks.text_of(f"docs/{page}")))
    return [(path, name or "") for path, name in every if hooks.is_figure(path)]


def test_figures_are_those_of_the_example_report():
    assert len(figures()) >= 12
    for path, caption in figures():
        file, content, whole = hooks.figure_of(path, caption)
        assert whole.startswith(f"**{caption}") and content[:5] in (b"<?xml", b"\x89PNG\r", b"<svg "), file


def test_what_is_not_there_is_an_error():
    for path, name in (("README.md", "No such heading"), ("no/such.md", None)):
        with pytest.raises(hooks.NotThereError, match=path):
            hooks.part_of(path, name)
    with pytest.raises(hooks.NotThereError, match="No such figure"):
        hooks.figure_of("docs/example_report.html", "No such figure")


def test_a_part_ends_where_the_next_begins():
    part = hooks.part_of("phase3_validation/README.md", "Steering")
    assert part.startswith("**Steering**") and part.count("\n\n") == 0
    part = hooks.part_of("phase1_dataset_building/README.md", "Phase 1.1: general text")
    assert part.startswith("# Phase 1.1") and "**Output.**" in part and "# Phase 1:" not in part


def test_a_whole_text_within_a_page_has_lower_headings_and_says_whose_it_is():
    text = assembled("rooms.md")
    assert "\n## What a score is worth\n\n`common/evaluation/`\n" in text
    assert len(re.findall("^# ", text, re.MULTILINE)) == 1


def test_no_page_names_what_is_not_part_of_the_project():
    for page in PAGES:
        assert not re.findall(r"METHOD\.md|DESIGN\.md|\.\./shared|/work/", assembled(page)), page


def test_the_tables_of_costs_are_what_the_estimator_says():
    page = (DOCS / "real_model.md").read_text()
    for name, table in costs.tables().items():
        assert f"<!-- {name} -->\n\n{table}\n\n<!-- end of {name} -->" in page, (
            "python -m benchmarks.costs --page docs/real_model.md"
        )


def test_a_batch_that_is_cut_is_the_first_that_does_not_fit():
    largest = costs.largest_batch("1", 24)
    smaller, larger = costs.largest_batch("1", 12), costs.largest_batch("1", 80)
    assert 0 < smaller < largest < 64 < larger and costs.largest_batch("1", 5) == 0


def test_the_numbers_of_the_method_are_those_of_the_code():
    text = " ".join((DOCS / "method.md").read_text().split() + (DOCS / "cards.md").read_text().split())
    said = [
        f"limit = max({rates.PUBLISHED_LIMIT:g}, {rates.TIMES_THE_MEAN:g} × mean firing rate",
        f"Above {WARN_ABOVE:g} it warns. Above {REFUSE_ABOVE:g} it stops",
        f"*Does not rank*: interval below {score_verdicts.WORTHLESS_BELOW:g}",
        f"beyond above 0, not beyond below {score_verdicts.NEGLIGIBLE_GAIN:g}",
        f"random latents of the layer that fire on at least {['none', '1', '2', '3', '4', 'five'][scores.MIN_ACTIVE]}",
        f"fewer than {100 * DEGENERATE_LIMIT:g} % of the outputs are *newly* degenerate",
        f"fewer than {100 * degenerate.LEAST_DISTINCT:g} % of its {degenerate.N_GRAM}-grams of tokens are distinct "
        f"({degenerate.MIN_TOKENS} tokens or more)",
        f"|separation| < {controls.MAX_SEPARATION:g}",
        f"beyond that of every control of both kinds, {MIN_CONTROLS} or more each",
        f"{power.N_SIMULATED:,} runs are simulated",
        f"needs {100 * power.ENOUGH:g} % at {100 * power.EFFECT:g} points",
        f"Platt below {calibration.ISOTONIC_FROM:,} texts",
        f"both signs right reaches {gate.BOTH_SIGNS:g}",
    ]
    assert not [words for words in said if words not in text]


@needs_mkdocs
def test_the_site_builds_without_a_warning_and_asks_no_other_machine(tmp_path):
    command = [MKDOCS, "build", "--strict", "--site-dir", tmp_path]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, env={"NO_MKDOCS_2_WARNING": "1"})
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    for page in tmp_path.rglob("*.html"):
        asked = re.findall(r'<(?:script|img|iframe)[^>]+src="?(?:https?:)?//[^>]*', page.read_text())
        asked += re.findall(
            r'<link[^>]+rel="?(?:stylesheet|preconnect)[^>]+href="?(?:https?:)?//[^>]*', page.read_text()
        )
        assert not asked, page
    assert {Path(page).with_suffix(".html").name for page in PAGES} - {p.name for p in tmp_path.rglob("*.html")} == {
        "README.html"
    }
