"""Covers phase 5.2: log-probabilities against plain transformers, what passes, the stop without --force, the page."""

import csv
import statistics
from pathlib import Path

import pyarrow.parquet
import pytest
import torch
from behaviour_rows import ROW, ROWS, save_qwen_without_bos, written
from pages import words
from report_data import build, collect, write_report
from statsmodels.stats.proportion import proportion_confint
from support import command
from toy_phases import content, run_phase
from transformers import AutoModelForCausalLM, AutoTokenizer

from common.errors import MissingArtifactError, PipelineError
from common.handoffs import CIRCUIT_BASELINE
from common.model.registry import model_identity, model_location
from common.report.blocks import Figure, Paragraph, Table
from common.report.collect import FINISHED, MISSING, PhaseResult
from common.runs.artifacts import Artifact
from common.runs.discovery import read_run
from phase5_attribution_graphs.baseline.baseline import metrics_of
from phase5_attribution_graphs.baseline.config import CircuitBaselineConfig
from phase5_attribution_graphs.baseline.phase import PHASE
from phase5_attribution_graphs.baseline.report import section
from phase5_attribution_graphs.baseline.thresholds import threshold_of
from phase5_attribution_graphs.prompts.config import CircuitPromptsConfig
from phase5_attribution_graphs.prompts.phase import PHASE as PROMPTS_PHASE
from run import CATALOGUE


def config(**changes) -> CircuitBaselineConfig:
    return CircuitBaselineConfig(**{"model": "organism", "threads": 1, **changes})


def rows_of(run: Path, name: str = "baseline") -> list[dict]:
    return pyarrow.parquet.read_table(run / f"{name}.parquet").to_pylist()


def artifact_of(run: Path) -> Artifact:
    return Artifact(CIRCUIT_BASELINE, read_run(run, CIRCUIT_BASELINE), "")


def add_prompts(data: Path, **changes) -> Path:
    return run_phase(PROMPTS_PHASE, data, CircuitPromptsConfig(**{"model": "organism", **changes}))


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """The organism's prompts of all behaviours, as many as in the full preset."""
    folder = tmp_path_factory.mktemp("data")
    add_prompts(folder)
    return folder


@pytest.fixture(scope="module")
def run(data) -> Path:
    return run_phase(PHASE, data, config(force=True))


def plain_log_p(model, ids: list[int], n_answer: int) -> list[float]:
    """Of the last `n_answer` tokens, one row alone, by the model's own forward pass."""
    with torch.no_grad():
        log_p = model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
    return [float(log_p[place - 1, ids[place]]) for place in range(len(ids) - n_answer, len(ids))]


def test_log_probabilities_are_those_of_plain_transformers(data, run):
    folder = model_location("organism")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for row in rows_of(run)[::7]:
        prompt = tokenizer(row["prompt"])["input_ids"]
        found = []
        for answer in ("correct", "incorrect"):
            ids = tokenizer(row["prompt"] + row[f"{answer}_answer"])["input_ids"]
            found.append((log_p := plain_log_p(model, ids, len(ids) - len(prompt)), ids))
            assert row[f"n_{answer}_tokens"] == len(log_p)
            assert row[f"log_p_{answer}"] == pytest.approx(sum(log_p) / len(log_p), abs=1e-4)
        (right, right_ids), (wrong, wrong_ids) = found
        assert row["margin"] == pytest.approx(statistics.fmean(right) - statistics.fmean(wrong), abs=1e-4)
        n = next(place for place, (a, b) in enumerate(zip(right_ids, wrong_ids, strict=False)) if a != b)
        with torch.no_grad():
            logits = model(torch.tensor([right_ids[:n]])).logits[0, -1]
        assert row["logit_difference"] == pytest.approx(float(logits[right_ids[n]] - logits[wrong_ids[n]]), abs=1e-3)


def test_the_sink_stands_before_every_answer_that_is_read(tmp_path):
    folder = save_qwen_without_bos(tmp_path / "qwen")
    mine = str(written(tmp_path / "mine.jsonl", ROWS))
    prompts = rows_of(add_prompts(tmp_path / "data", model=str(folder), prompts=mine), "prompts")
    run = run_phase(PHASE, tmp_path / "data", config(model=str(folder), prompts=mine, force=True))
    model = AutoModelForCausalLM.from_pretrained(folder)
    for prompt, row in zip(prompts, rows_of(run), strict=True):
        assert prompt["token_ids"][0] == 0
        ids = prompt["token_ids"][: prompt["n_prompt"]] + prompt["correct_ids"]
        log_p = plain_log_p(model, ids, len(prompt["correct_ids"]))
        assert row["log_p_correct"] == pytest.approx(statistics.fmean(log_p), abs=1e-4)


def test_the_organism_shows_agreement_capitals_and_sentiment(run):
    document = artifact_of(run).document()
    for behaviour in ("agreement", "capitals", "sentiment"):
        for split, one in document.behaviours[behaviour].items():
            assert one.passes and one.accuracy.rate.value >= one.needed, (behaviour, split)
    for one in document.behaviours["addition"].values():
        assert one.sign_accuracy.rate.value > 0.9 and one.mean_margin > 1.5, "near its threshold"
    assert document.missed == ["addition"] and document.forced


def test_the_figures_are_those_of_the_table_and_of_statsmodels(run):
    rows = rows_of(run)
    for behaviour, splits in artifact_of(run).document().behaviours.items():
        for split, told in splits.items():
            margins = [row["margin"] for row in rows if (row["behaviour"], row["split"]) == (behaviour, split)]
            limit = 1.5 if behaviour == "sentiment" else 2.0
            assert (told.threshold, told.needed) == (limit, 0.75 if behaviour == "sentiment" else 0.8)
            for found, least in ((told.accuracy, limit), (told.sign_accuracy, 0)):
                n = sum(margin > least for margin in margins)
                low, high = proportion_confint(n, len(margins), method="wilson")
                assert (found.n, found.of, found.rate.value) == (n, len(margins), n / len(margins))
                assert (found.rate.low, found.rate.high) == pytest.approx((low, high))
            assert told.mean_margin == pytest.approx(sum(margins) / len(margins))
            assert (told.smallest_margin, told.largest_margin) == (min(margins), max(margins))


def test_each_split_has_a_document_and_each_behaviour_a_file_of_its_own(run):
    document = artifact_of(run).document()
    for split in ("train", "test"):
        told = artifact_of(run).document(f"baseline_metrics_{split}.json")
        assert told.split == split
        assert told.behaviours == {name: splits[split] for name, splits in document.behaviours.items()}
    read = []
    for behaviour in document.behaviours:
        for split in ("train", "test"):
            with open(run / f"baseline_{behaviour}_{split}.csv", newline="") as file:
                read += list(csv.DictReader(file))
    rows = rows_of(run)
    assert [int(row["record"]) for row in read] == [row["record"] for row in rows]
    for line, row in zip(read, rows, strict=True):
        assert line.keys() == row.keys() and line["prompt"] == row["prompt"] and float(line["margin"]) == row["margin"]
    assert (run / "figures" / "margins.png").read_bytes().startswith(b"\x89PNG")


def rows_with(margins: list[float], behaviour: str = "agreement") -> list[dict]:
    limit = threshold_of(behaviour).margin
    return [
        {
            "behaviour": behaviour,
            "split": "test",
            "margin": one,
            "logit_difference": one,
            "above_threshold": one > limit,
        }
        for one in margins
    ]


@pytest.mark.parametrize(
    ("behaviour", "n_above", "of", "passes"),
    [("agreement", 28, 35, True), ("agreement", 27, 35, False), ("sentiment", 3, 4, True), ("others", 4, 5, True)],
)
def test_a_behaviour_passes_with_exactly_the_share_that_is_needed(behaviour, n_above, of, passes):
    rows = rows_with([2.1] * n_above + [1.4] * (of - n_above), behaviour)
    assert metrics_of(rows)[behaviour]["test"].passes == passes


def test_without_force_a_behaviour_that_misses_stops_the_run_with_its_figures(data):
    settings = config(batch_size=63)
    before = list(data.glob("phase5_2/*/manifest.json"))
    with pytest.raises(PipelineError) as stopped:
        run_phase(PHASE, data, settings, fresh=True)
    what, advice = str(stopped.value).split("\n")
    assert what.startswith("organism does not show addition: addition, train: ")
    assert "of 80 prompts above 2.00 (80 % are needed); addition, test: " in what and "agreement" not in what
    assert "--behaviours" in advice and advice.endswith(f"phase 5.2 --data-dir {data} --force")
    assert list(data.glob("phase5_2/*/manifest.json")) == before


def test_what_passes_needs_no_force(tmp_path):
    add_prompts(tmp_path, behaviours=("capitals", "sentiment"), n_train=10, n_test=10)
    run = run_phase(PHASE, tmp_path, config())
    document = artifact_of(run).document()
    assert document.missed == [] and not document.forced and document.n == 40
    [told] = [block.text for block in section(result_of(run), None).blocks if getattr(block, "tone", "") == "verdict"]
    assert told == "Of 2 behaviours, the model shows capitals and sentiment."


def test_the_command_ends_with_the_error_and_the_demo_goes_on(tmp_path):
    where = ["--preset", "demo", "--data-dir", tmp_path]
    few = ["--behaviours", "addition", "--n-train", "10", "--n-test", "10"]
    assert command("run.py", "phase", "5.1", *where, *few).returncode == 0
    stopped = command("run.py", "phase", "5.2", *where, "--no-force")
    assert stopped.returncode == 2 and "organism does not show addition" in stopped.stderr, stopped.stderr
    assert "Traceback" not in stopped.stderr and not list(tmp_path.glob("phase5_2/2*"))
    went_on = command("run.py", "phase", "5.2", *where)
    assert went_on.returncode == 0 and "going on, since --force is given" in went_on.stderr, went_on.stderr


def test_prompts_of_another_file_are_another_experiment(tmp_path):
    mine = str(written(tmp_path / "mine.jsonl", [ROW]))
    add_prompts(tmp_path / "data", prompts=mine)
    with pytest.raises(MissingArtifactError, match=r"holds organism on mine\nBuild it with: .* phase 5.1 "):
        run_phase(PHASE, tmp_path / "data", config(force=True))
    other = str(written(tmp_path / "other.jsonl", ROWS))
    with pytest.raises(MissingArtifactError, match=f"phase 5.1 .*--prompts {other}"):
        run_phase(PHASE, tmp_path / "data", config(force=True, prompts=other))
    run = run_phase(PHASE, tmp_path / "data", config(force=True, prompts=mine))
    assert run.name.endswith("organism_mine") and not (run / "baseline_metrics_test.json").exists()


def result_of(run: Path) -> PhaseResult:
    return PhaseResult(CIRCUIT_BASELINE, FINISHED, artifact_of(run))


def test_the_page_says_plainly_which_behaviour_did_not_pass(run):
    told = section(result_of(run), None)
    answer = "Of 4 behaviours, the model shows agreement, capitals and sentiment, and it does not pass addition"
    assert told.answer.startswith(answer)
    [warning] = told.warnings
    assert isinstance(warning, Paragraph) and warning.text.startswith("addition: in train ")
    assert "80 % are needed (above 0: 98.8 %); in test " in warning.text
    [table] = [block for block in told.blocks if isinstance(block, Table)]
    assert [(row[0].text, row[1].text, row[-1].text) for row in table.rows][-2:] == [
        ("addition", "train", "no"),
        ("addition", "test", "no"),
    ]
    assert [block.title for block in told.blocks if isinstance(block, Figure)]


def test_prompts_and_baseline_stand_in_one_part_of_the_report(tmp_path):
    data = build(tmp_path / "data", ["generations", "circuit_prompts", "circuit_baseline"])
    page = write_report(CATALOGUE, data, out=tmp_path / "report.html").path.read_text()
    start = page.index('<section id="circuits"')
    text = words(page[start : page.index("</section>", start)])
    assert text.index("Prompts of behaviours") < text.index("Of 2 behaviours, the model shows agreement")
    assert "In front of each stands “<bos>”, once." in text
    assert "agreement, train, there are 10 of 20 prompts (4 refused, partners of unequal length)." in words(page)


def test_the_report_shows_the_prompts_that_phase_5_was_last_given(tmp_path):
    data = build(tmp_path / "data", ["generations"], model=model_identity("organism"))
    mine = str(written(tmp_path / "mine.jsonl", [ROW]))
    add_prompts(data, prompts=mine)
    phases = collect(data, {}).phases
    assert phases["circuit_prompts"].document().source.startswith("mine@")
    assert phases["circuit_baseline"].state == MISSING and f"--prompts {mine}" in phases["circuit_baseline"].command
    assert "--prompts" not in phases["latents"].command


def test_equal_runs_have_equal_bytes(data, run):
    again = run_phase(PHASE, data, config(force=True), fresh=True)
    assert again != run and content(again) == content(run)
