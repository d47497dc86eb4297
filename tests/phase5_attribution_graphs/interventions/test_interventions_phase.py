"""Covers phase 5.5 on the organism: through run.py, in slices, stopped and resumed, its files, words and refusals."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from behaviour_rows import written
from pages import words
from report_data import HOSTILE, write_report
from report_data import build as build_all
from runs import newest
from safetensors.numpy import load_file
from support import built_once, command
from toy_phases import content, run_phase, stop_after

from common.errors import ConfigError
from common.handoffs import INTERVENTIONS
from common.handoffs.circuit_interventions import InterventionsDocument
from common.handoffs.document import from_json
from common.report.blocks import Figure, Table
from common.report.collect import FINISHED, PhaseResult
from common.runs.artifacts import Artifact
from common.runs.discovery import read_run
from common.stopping import Stopped
from common.tables import from_parquet
from phase5_attribution_graphs.interventions.config import CircuitInterventionsConfig
from phase5_attribution_graphs.interventions.phase import PHASE
from phase5_attribution_graphs.interventions.report import section
from phase5_attribution_graphs.interventions.words import determined
from run import CATALOGUE

pytestmark = pytest.mark.usefixtures("figures_with_layout")  # they are compared with those of commands
FEW = {"n_prompts": 2, "n_nulls": 19, "n_swept": 4, "coefficients": (1.0,)}
FLAGS = ["--n-prompts", 2, "--n-nulls", 19, "--n-swept", 4, "--coefficients", "1.0"]
ROW = {"prompt": "The farmers", "correct_answer": " are", "incorrect_answer": " is"}


def config(**changes) -> CircuitInterventionsConfig:
    return CircuitInterventionsConfig(model="organism", threads=1, **{**FEW, **changes})


def typed(*words: object, data: Path) -> None:
    done = command("run.py", "phase", *words, "--preset", "demo", "--data-dir", data)
    assert done.returncode == 0, done.stderr


def build(data: Path) -> None:
    typed("5.1", "--behaviours", "agreement", "--n-train", 2, "--n-test", 4, data=data)
    typed("5.5", *FLAGS, data=data)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return built_once(tmp_path_factory, "interventions_phase", build)


@pytest.fixture(scope="module")
def run(data) -> Path:
    return newest(data / "phase5_5")


@pytest.fixture(scope="module")
def document(run) -> InterventionsDocument:
    return from_json(InterventionsDocument, json.loads((run / "interventions.json").read_bytes()))


def prompts_alone(data: Path, tmp_path: Path) -> Path:
    """A data folder with phase 5.1 only."""
    shutil.copytree(data / "phase5_1", tmp_path / "data" / "phase5_1")
    return tmp_path / "data"


def test_a_stopped_run_goes_on_to_the_same_bytes(data, run, tmp_path):
    own = prompts_alone(data, tmp_path)
    with pytest.raises(Stopped):
        run_phase(PHASE, own, config(), stop=stop_after(1))
    assert content(run_phase(PHASE, own, config())) == content(run)


def test_slices_give_the_same_bytes(data, run, tmp_path):
    own = prompts_alone(data, tmp_path)
    for start, end in ((1, 1), (0, 0)):
        found = run_phase(PHASE, own, config(), start=start, end=end)
    assert content(found) == content(run)


def test_the_tables_are_written_as_csv_too(run):
    for name in ("circuits", "effects", "importance"):
        rows = from_parquet((run / f"{name}.parquet").read_bytes())
        lines = list(csv.DictReader((run / f"{name}.csv").read_text().splitlines()))
        assert len(rows) == len(lines) and {*lines[0]} == {*rows[0]}
        assert all(line["behaviour"] == row["behaviour"] for line, row in zip(lines, rows, strict=True))
        numbers = [name for name, value in rows[0].items() if isinstance(value, float)]
        for line, row in zip(lines, rows, strict=True):
            assert [float(line[n]) for n in numbers] == pytest.approx([row[n] for n in numbers], nan_ok=True)


def test_ranks_follow_from_the_null_effects_that_are_stored(run, document):
    effects, nulls = from_parquet((run / "effects.parquet").read_bytes()), load_file(run / "nulls.safetensors")
    for name, intervention in (("top_signed_effect", "zero"), ("top_influence", "zero_each")):
        null, own = nulls[name], document.behaviours["agreement"].sets[name]
        rows = [row for row in effects if (row["set"], row["intervention"]) == (name, intervention) and row["rank"] > 0]
        assert null.shape == (len(rows), 19) == (2, 19)
        assert [row["rank"] for row in rows] == [1 + sum(null[i] >= row["effect"]) for i, row in enumerate(rows)]
        mean = np.mean([row["effect"] for row in rows])
        assert own.p == own.p_holm == (1 + sum(null.mean(0) >= mean)) / 20
        assert own.effect.value == pytest.approx(mean) and own.first.n == [row["rank"] for row in rows].count(1)


def test_every_prompt_is_told_of_with_its_partner(run, document, data):
    circuits = from_parquet((run / "circuits.parquet").read_bytes())
    prompts = from_parquet((newest(data / "phase5_1") / "prompts.parquet").read_bytes())
    tried = [row for row in prompts if row["split"] == "test"][:2]
    assert [row["prompt_record"] for row in circuits] == [row["record"] for row in tried]
    assert [row["prompt"] for row in circuits] == [row["prompt"] for row in tried]
    assert {row["partner"] for row in circuits} == {"paired"} and document.behaviours["agreement"].patched.n == 2
    for row in circuits:
        part, carried = row["without_others"] - row["without_latents"], row["baseline"] - row["without_latents"]
        assert row["faithfulness"] == pytest.approx(part / carried)


def test_the_signed_effect_names_latents_that_rank_first(document):
    top = document.behaviours["agreement"].sets["top_signed_effect"]
    assert (top.first.n, top.first.of) == (2, 2) and top.effect.known > 0.5
    assert str(top.verdict) == "cannot tell"  # of two prompts


def test_the_page_says_how_much_the_named_latents_take(run, document):
    told = section(
        PhaseResult(INTERVENTIONS, FINISHED, Artifact(INTERVENTIONS, read_run(run, INTERVENTIONS), "")), None
    )
    top = document.behaviours["agreement"].sets["top_signed_effect"]
    assert told.answer.startswith("For agreement the result is inconclusive: agreement: 10 latents take ")
    assert not determined(top.share) and "a share of the logit difference that is not determined" in told.answer
    table = next(block for block in told.blocks if isinstance(block, Table))
    assert [row[1].text for row in table.rows] == ["by signed effect, together", "by influence, one by one"]
    assert table.rows[0][-1].text == "cannot tell (2 prompts)" and table.rows[0][7].under.startswith("2 of 2")
    [figure] = [block for block in told.blocks if isinstance(block, Figure)]
    assert figure.title == "Latents that graphs name, beside latents that match them"


def test_the_page_warns_of_errors_and_of_nulls_that_match_badly(tmp_path):
    data = build_all(tmp_path / "data", ["generations", "circuit_prompts", "interventions"])
    page = write_report(CATALOGUE, data, out=tmp_path / "report.html").path.read_text()
    start = page.index('<section id="circuits"')
    text = words(page[start : page.index("</section>", start)])
    assert "Agreement is carried by the latents that graphs name; for " in text and HOSTILE not in page
    assert "with a partner of unequal length" in text and "prompts with no partner" in text
    assert "is added by what transcoders miss, so graphs say little" in words(page)
    assert "times as active as those they match" in words(page)


def test_prompts_without_a_test_split_are_refused(tmp_path):
    file = written(tmp_path / "own.jsonl", [ROW, {**ROW, "prompt": "The bakers"}])
    typed("5.1", "--prompts", file, "--behaviours", "all", data=tmp_path / "data")
    with pytest.raises(ConfigError, match="is of the split 'test'\nMark some in the file of --prompts"):
        run_phase(PHASE, tmp_path / "data", config(prompts=str(file)))


def test_own_prompts_without_partners_or_train_prompts_are_tried_all_the_same(tmp_path):
    file = written(tmp_path / "own.jsonl", [{**ROW, "split": "test"}])
    typed("5.1", "--prompts", file, "--behaviours", "all", data=tmp_path / "data")
    found = run_phase(PHASE, tmp_path / "data", config(prompts=str(file)))
    effects = from_parquet((found / "effects.parquet").read_bytes())
    assert not {"mean", "patch", "patch_back"} & {row["intervention"] for row in effects}
    one = json.loads((found / "interventions.json").read_bytes())["behaviours"]["own"]
    assert one["n"] == 1 and one["patched"]["n"] == 0 and one["patched"]["refused"] == {"no partner": 1}


def test_the_handoff_keeps_models_prompts_and_transcoders_apart():
    assert {*config().experiment()} == {*INTERVENTIONS.keys} == {"model", "prompts", "transcoders"}


def test_a_pipeline_without_transcoders_goes_without_this_phase():
    assert not PHASE.left_out(config())
    other = CircuitInterventionsConfig(model="Qwen/Qwen2.5-Coder-0.5B")
    assert PHASE.left_out(other) == "it needs transcoders, of which none are known for Qwen/Qwen2.5-Coder-0.5B"
