"""Covers benchmarks/: every one of them runs, the table and what a row says, and that both sides do the same work."""

import json
import sys

import pytest
import torch
from support import ROOT, WHOLE_SWEEPS, cold_command, command

from benchmarks.__main__ import BENCHMARKS, main, render
from benchmarks.forward_passes import Pass, ideal_passes, make_again, recorded_passes
from benchmarks.one_by_one import ends_at, residual_streams, write_text
from benchmarks.rounds import alternate, row_of
from benchmarks.rows import Row, holds, render_table
from benchmarks.rows import render as line_of
from common.interventions.steered_generation import SteeringVector, generate_steered
from common.model.generation import generate
from common.model.loading import load_model
from common.model.rows import Request
from common.problems.datasets import Problem, load_problems
from common.problems.prompt import build_prompt

NAMES = [name for name in BENCHMARKS if name != "natural"] if WHOLE_SWEEPS else ["latents", "grading"]
MAY_BE_BELOW_ZERO = ("one more control", "slope")  # differences of what tiny sizes hardly take


def request_of(problem: Problem) -> Request:
    return Request(problem.row(), build_prompt(problem.text, problem.test_list), 0)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """The table of the benchmarks at tiny sizes, each in a process that has the libraries already."""
    path = tmp_path_factory.mktemp("benchmarks") / "RESULTS.md"

    def measured(name: str, rounds: int, quick: bool, gpu_memory: float) -> dict | None:
        into = path.with_name(f"one_{name}.json")
        words = [name, "--rounds", rounds, "--into", into, "--gpu-memory", gpu_memory, *(["--quick"] if quick else [])]
        done = command("benchmarks/__main__.py", *words)
        sys.stderr.write(done.stderr)  # pytest shows it where a benchmark failed
        return json.loads(into.read_text()) if done.returncode == 0 else None

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("benchmarks.__main__._in_a_process", measured)
        main([*NAMES, "--quick", "--out", str(path)])
    return path


@pytest.mark.sweep
@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_gives_rows_with_sound_figures(out, name):
    found = json.loads(out.with_name("results.json").read_text())[name]
    rows = [Row(**row) for row in found["rows"]]
    assert rows and all(row.ratio is not None or row.text for row in rows)
    for row in rows:
        assert line_of(row) in out.read_text()
        sound = row.ratio is None or row.ratio > 0 or any(word in row.name for word in MAY_BE_BELOW_ZERO)
        assert sound and holds(row) in (None, True, False), row
        assert row.low is None or row.low <= row.ratio <= row.high


def test_a_benchmark_run_again_replaces_its_own_rows(out):
    """A benchmark that is run again replaces its own rows and keeps the others."""
    kept = json.loads(out.with_name("results.json").read_text())
    done = cold_command("-m", "benchmarks", "grading", "--quick", "--out", out, timeout=120)
    assert done.returncode == 0, done.stderr
    now = json.loads(out.with_name("results.json").read_text())
    assert list(now) == list(kept) and {name for name in now if now[name] != kept[name]} == {"grading"}
    assert done.stdout.strip() in out.read_text()


def test_an_unknown_benchmark_is_refused_with_the_names_there_are():
    done = cold_command("-m", "benchmarks", "gradin")
    assert done.returncode == 2 and "'gradin'" in done.stderr and "grading" in done.stderr


def test_contenders_take_turns_and_seconds_are_for_one_unit():
    """Contenders take turns in going first and seconds are for a unit of work."""
    order = []
    found = alternate({"a": lambda number: order.append(("a", number)), "b": lambda n: order.append(("b", n)) or 4}, 3)
    assert order == [("a", 0), ("b", 0), ("b", 1), ("a", 1), ("a", 2), ("b", 2)]
    assert found.n == 3 and all(seconds > 0 for each in found.seconds.values() for seconds in each)
    found.seconds.update(a=[1.0, 2.0, 3.0], b=[2.0, 6.0, 3.0])
    assert found.times_as_fast("a", "b") == [2, 3, 1] and found.median("a") == 2
    row = row_of("a", "b", found.times_as_fast("a", "b"), goal=">= 2")
    assert (row.ratio, row.low, row.high, row.n_rounds) == (2, 1, 3, 3)


def test_a_row_says_whether_its_goal_is_met():
    cases = [
        (25.0, ">= 25"),
        (24.9, ">= 25"),
        (1.6, "<= 1.6"),
        (1.7, "<= 1.6"),
        (1.0, "< 1"),
        (None, ">= 1"),
        (3.0, ""),
    ]
    met = [holds(Row(name="a", ratio=ratio, goal=goal)) for ratio, goal in cases]
    assert met == [True, False, True, False, False, False, None]
    ratios = dict(ratio=26.04, low=25.0, high=1234.5, n_rounds=5)
    row = Row(name="a", against="b|c", goal=">= 25", text="1 beside 26", **ratios)
    table = render_table([row, Row(name="start", text="0.2 s")])
    assert table.splitlines()[2:] == [
        "| a | b\\|c | 26 (25 to 1,234) | >= 25 | yes | 1 beside 26; 5 rounds |",
        "| start |  |  |  |  | 0.2 s |",
    ]


def test_the_results_name_what_was_not_measured_and_where_the_rest_was():
    entry = {"title": "Grading", "facts": "two cores", "date": "2026-01-02", "seconds": 60, "rows": [], "notes": ["N"]}
    text = render({"grading": entry})
    assert "- grading: two cores; 2026-01-02" in text and "## Grading\n\nN\n" in text
    assert "`python -m benchmarks gpu`" in text and "`python -m benchmarks grading`" not in text


def test_the_committed_table_is_rendered_from_the_committed_rows():
    kept = ROOT / "benchmarks" / "results.json"
    if not kept.is_file():
        pytest.skip("nothing was measured yet")
    assert (ROOT / "benchmarks" / "RESULTS.md").read_text() == render(json.loads(kept.read_text()))


@pytest.fixture(scope="module")
def organism():
    return load_model("organism", "cpu", threads=1)  # busy machines make two slower than one


@pytest.fixture(scope="module")
def problems():
    return load_problems("organism").problems[:6]


def test_the_floor_makes_exactly_the_passes_of_the_engine(organism, problems):
    with recorded_passes(organism) as made:
        generate(organism, [request_of(problem) for problem in problems], max_new_tokens=60)
    assert made[0].n_before == 0 and made[0].n_rows == 6
    assert all(one.n_new == 1 and one.n_before <= made[0].n_new + i for i, one in enumerate(made[1:]))
    assert made[-1].n_rows < 6  # rows left
    with recorded_passes(organism) as again:
        make_again(organism, made)
    assert again == made
    generate(organism, [request_of(problems[0])], max_new_tokens=2)
    assert again == made  # nothing listens any more


def test_the_ideal_schedule_reads_each_prompt_once_and_has_every_row_busy():
    passes = ideal_passes([[10, 12], [20]], [(10, 5), (12, 3), (20, 11)], n_rows=4)
    assert passes[:2] == [Pass(2, 12, 0), Pass(1, 20, 0)]
    n_written = 4 + 2 + 10  # the first token of each comes of reading
    assert len(passes[2:]) == n_written / 4 and {(p.n_rows, p.n_new) for p in passes[2:]} == {(4, 1)}
    held = [10, 11, 12, 13, 12, 13, *range(20, 30)]
    assert passes[-1].n_before == round(sum(held) / len(held))


def test_the_loop_writes_what_the_engine_writes(organism, problems):
    made = generate(organism, [request_of(problem) for problem in problems], max_new_tokens=60, stop_early=False)
    with ends_at(organism, True):
        assert [write_text(organism, problem, 60) for problem in problems] == [one.text for one in made]
    with ends_at(organism, False), recorded_passes(organism) as passes:
        assert write_text(organism, problems[0], 60).startswith(made[0].text)
    assert len(passes) == 60 > len(made[0].token_ids)


def test_the_loop_takes_the_same_residual_streams(organism, problems):
    [made] = generate(organism, [request_of(problems[0])], max_new_tokens=1)
    with residual_streams(organism) as taken:
        write_text(organism, problems[0], 3)
    for layer, resid in taken.items():
        torch.testing.assert_close(torch.from_numpy(resid), torch.from_numpy(made.resid_post["last"][layer]))
    assert len(taken) == organism.n_layers


def test_the_loop_of_steering_adds_what_the_engine_adds(organism, problems):
    from benchmarks.steering import added

    vector = 80 * torch.nn.functional.normalize(torch.arange(organism.d_model).float().cos(), dim=0)
    steering = SteeringVector("blocks.3.hook_resid_post", vector)
    [steered], [plain] = (
        generate_steered(organism, [request_of(problems[0])], [each], max_new_tokens=30, stop_early=False)
        for each in (steering, None)
    )
    with added(organism, steering):
        text = write_text(organism, problems[0], 30)
    assert text == steered.generation.text != plain.generation.text
    with added(organism, None):
        assert write_text(organism, problems[0], 30) == plain.generation.text
