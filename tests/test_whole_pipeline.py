"""Covers run.py pipeline and phase 3: every phase in order on the model organism, stopping, resuming, the report."""

import json
import re
import shutil
import subprocess
import sys

import pandas
import pytest
import sklearn.metrics
from safetensors.numpy import load_file
from saved_saes import D_IN, saved
from support import ROOT, cold_command, command, in_whole_sweeps

from common.handoffs import SCHEMAS
from common.launch import running
from common.launch.running import words_among
from phase4_anomaly_detection import AnomalyDetector
from run import CATALOGUE, PHASES

# The demo preset, as small as its statistics allow.
SMALL = (
    "--preset demo --fractions 0.4,0.25,0.35 --documents 100 --n-permutations 100 --max-new-tokens 60 "
    "--temperatures 0.8 --samples 1 --problems 4 --n-controls 1 --coefficients -0.25,0.25 --n-random 2 "
    "--n-random-latents 10 --batch-size 128"
).split()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """The first of the organism's problems."""
    lines = (ROOT / "model_organism" / "problems_974.jsonl").read_text().splitlines(keepends=True)
    path = tmp_path_factory.mktemp("dataset") / "few.jsonl"
    path.write_text("".join(lines[:120]))
    return path


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory):
    """A data folder after the whole pipeline, and what the command said."""
    data = tmp_path_factory.mktemp("data")
    done = cold_command("run.py", "pipeline", *SMALL, "--dataset", dataset, "--data-dir", data)
    assert done.returncode == 0, done.stderr
    return data, done


def test_every_phase_is_built_once_and_the_report_is_written(finished):
    data, done = finished
    for schema in SCHEMAS:
        runs = list((data / schema.folder).glob("*/manifest.json")) if (data / schema.folder).is_dir() else []
        assert len(runs) == (schema.phase not in CATALOGUE.apart), schema.name
    *sentences, where = done.stdout.splitlines()[-4:]
    assert where == f"Report: {data / 'report.html'}" and (data / "report.html").is_file()
    assert [sentence.split("?")[0] for sentence in sentences] == [
        "Does it know",
        "Does it cause",
        "How far to trust it",
    ]
    order = [line.split("phase ")[1].split(":")[0] for line in done.stderr.splitlines() if " phase " in line[:16]]
    assert order == [phase_id for phase_id in PHASES if phase_id not in CATALOGUE.apart]


def test_python_is_given_what_the_pipeline_wrote(finished):
    """The code of both READMEs runs, and every AUROC of the cards follows from the tables."""
    data, _ = finished
    names: dict = {}
    for page in ("README.md", "pva_sae/README.md"):
        [block] = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
        exec(block.replace('data="data"', f"data={str(data)!r}"), names)
    assert set(names["reported"].split) == {"validation"}
    run, programs = names["run"], names["programs"]
    assert len(names["resid"]) == len(programs) == 120 and len(names["strongest"]) == 5
    held_out = programs.query("split == 'validation' and label in ('correct', 'incorrect')").set_index("task_id")
    detector = run.table("4.1", "scores.parquet").assign(direction="")
    values_of = {
        (phase, *key): group.set_index("task_id").value
        for phase, table in (("3.1", run.predictions), ("4.1", detector))
        for key, group in table.query("split == 'validation'").groupby(["direction", "score"])
    }
    n_checked = 0
    for card in run.cards.itertuples():
        values = values_of.get((card.phase, card.direction, card.score))
        if values is not None:
            positive = held_out.label[values.index] == card.positive
            assert sklearn.metrics.roc_auc_score(positive, values) == pytest.approx(card.auroc, abs=1e-12)
            n_checked += 1
    assert n_checked > 30


def test_unsteered_programs_are_those_of_phase_1(finished):
    data, _ = finished
    for folder, name in (("phase3_2", "coefficients"), ("phase3_3", "steering")):
        [path] = (data / folder).glob(f"*/{name}.json")
        agreement = json.loads(path.read_text())["agrees_with_phase_1"]
        assert agreement["same_tokens"] == agreement["of"] > 0


def test_the_detector_scores_the_activations_that_it_was_made_from(finished):
    data, _ = finished
    [path] = (data / "phase4_1").glob("*/scores.parquet")
    detector = AnomalyDetector.load(path.parent)
    scores = pandas.read_parquet(path).query("score == 'detector'").set_index("task_id")["value"]
    [activations] = (data / "phase1_0").glob(f"*/activations/layer_{detector.layer:02d}.safetensors")
    stored = load_file(activations)
    rows = [row for row, task_id in enumerate(stored["task_id"]) if task_id in scores.index]
    found = detector.scores(stored["resid_post"][rows])
    assert found == pytest.approx(scores[stored["task_id"][rows]].to_numpy(), abs=1e-9)
    assert detector.verdict in (path.parent / "detector" / "README.md").read_text()


def test_a_detector_of_programs_and_one_of_prompts_refuse_each_others_texts(finished, dataset, tmp_path):
    data = shutil.copytree(finished[0], tmp_path / "data")
    [run] = (path.parent for path in (data / "phase4_1").glob("*/scores.parquet"))
    flags = flags_of("4.1", [*SMALL, "--dataset", dataset, "--data-dir", data])
    made = command("run.py", "discover", *flags, "--read", "programs", "--out", tmp_path / "programs")
    assert made.returncode == 0, made.stderr
    detectors = {"prompts": AnomalyDetector.load(run), "programs": AnomalyDetector.load(tmp_path / "programs")}
    [table] = (data / "phase1_0").glob("*/dataset.parquet")
    rows = pandas.read_parquet(table)
    texts = {"prompts": rows.prompt.tolist(), "programs": (rows.prompt + rows.code).tolist()}
    for read, detector in detectors.items():
        assert detector.document["population"]["read"] == read
        for given, found in detector.document["card"]["populations"].items():
            assert found["n_abstained"] == (0 if given == read else found["n"]) and found["auroc"]["value"] is not None
            assert (None in detector.population.says_no(texts[given])) == (given == read)


def test_a_second_pipeline_builds_nothing_and_one_from_a_phase_on_starts_there(finished, dataset):
    data, _ = finished
    again = command("run.py", "pipeline", *SMALL, "--dataset", dataset, "--data-dir", data)
    assert again.returncode == 0 and again.stderr.count("already built") == len(PHASES) - len(CATALOGUE.apart)
    later = command("run.py", "pipeline", "--from", "4.1", *SMALL, "--dataset", dataset, "--data-dir", data)
    assert later.returncode == 0 and "phase 4.1:" in later.stderr and "phase 3.7:" not in later.stderr
    group = command("run.py", "pipeline", "--from", "3", *SMALL, "--dataset", dataset, "--data-dir", data, "--dry-run")
    assert group.returncode == 0 and "phase 3.1:" in group.stderr and "phase 2:" not in group.stderr


def test_dictionaries_of_ones_own_go_through_phase_2_and_onto_the_page(finished, dataset, tmp_path):
    data = shutil.copytree(finished[0], tmp_path / "data")
    where = ["--preset", "demo", "--dataset", dataset, "--data-dir", data]
    small = ["--layers", "3", "--tokens", "60000", "--held-out", "2000", "--width", "4"]
    trained = command("run.py", "phase", "1.3", *where, *small)
    assert trained.returncode == 0, trained.stderr
    found = command("run.py", "phase", "2", *where, "--sae", "own", "--layers", "3", "--n-permutations", "100")
    assert found.returncode == 0, found.stderr
    told = command("run.py", "status", "--data-dir", data)
    assert re.search(r"phase 1\.3 +built +organism", told.stdout)
    manifest = json.loads(max((data / "phase2").glob("*/manifest.json")).read_text())
    assert manifest["experiment"]["sae"].startswith("own@") and "dictionaries" in manifest["inputs"]
    assert command("run.py", "report", *where, "--sae", "own").returncode == 0
    assert "Dictionaries of one" in (data / "report_organism_few_own.html").read_text()


def test_a_pipeline_goes_without_a_positive_control_where_there_are_no_pairs(tiny_gemma, tmp_path):
    words = ["run.py", "pipeline", "--preset", "demo", "--from", "3.7", "--dry-run", "--data-dir", tmp_path / "data"]
    done = command(*words, "--model", tiny_gemma)
    assert done.returncode == 0 and "phase 3.8: " not in done.stderr, done.stderr
    assert (
        f"left out, since it needs pairs of problems, of which none are known for {tiny_gemma}: phase 3.8"
        in done.stderr
    )
    done = command(*words, "--model", tiny_gemma, "--pairs", ROOT / "model_organism" / "control_pairs.jsonl")
    assert done.returncode == 0 and "phase 3.8: " in done.stderr, done.stderr


def test_a_model_without_saes_trains_its_own_in_the_pipeline(tiny_gemma, tmp_path):
    words = ["--preset", "demo", "--model", tiny_gemma, "--dry-run", "--data-dir", tmp_path / "data"]
    done = command("run.py", "pipeline", *words)
    assert done.returncode == 0, done.stderr
    assert "phase 1.3 trains some" in done.stderr
    assert done.stderr.index("phase 1.3: ") < done.stderr.index("phase 2: ")
    assert f"it begins a run in {tmp_path / 'data' / 'phase2'} after phase 1.3" in done.stdout


def test_validation_read_with_another_selection_is_refused_unless_again(finished, dataset, tmp_path):
    data = shutil.copytree(finished[0], tmp_path / "data")
    flags = [*SMALL, "--dataset", dataset, "--data-dir", data]
    assert command("run.py", "phase", "2", *flags_of("2", flags), "--layers", "1,2").returncode == 0
    refused = command("run.py", "phase", "3.1", *flags_of("3.1", flags))
    assert refused.returncode == 2 and "another selection" in refused.stderr
    assert "Traceback" not in refused.stderr


def flags_of(phase_id: str, flags: list) -> list[str]:
    """Those that one phase has, as the pipeline sorts them out."""
    return words_among(running.flags_of(CATALOGUE.phase(phase_id)), [str(flag) for flag in flags])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pipeline", "--from", "9"], "--from is '9'"),
        (["pipeline", "--presets", "demo"], "'pipeline' .*--presets"),
        (["phase", "3", "preset", "demo"], "'phase 3' .* preset"),
        (["phase", "3", "--n-controls", "0"], "--n-controls is 0"),
        (["pipeline", "--preset", "demo", "--max-new-tokens", "-3"], "--max-new-tokens is -3"),
    ],
)
def test_a_wrong_flag_is_found_before_anything_runs(words, message, tmp_path):
    done = command("run.py", *words, "--data-dir", tmp_path / "data")
    assert done.returncode == 2 and re.search(message, done.stderr) and "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_dry_run_says_what_each_phase_waits_for_and_writes_nothing(tmp_path):
    done = command("run.py", "pipeline", "--preset", "demo", "--dry-run", "--data-dir", tmp_path / "data")
    assert done.returncode == 0, done.stderr
    assert f"it would begin {tmp_path / 'data' / 'phase0'}" in done.stdout
    assert f"it begins a run in {tmp_path / 'data' / 'phase2'} after phase 0.1, phase 1 and phase 1.1" in done.stdout
    assert "Build it" not in done.stdout and done.stdout.count("expected: memory of each process up to") > 10
    assert not (tmp_path / "data").exists()
    later = ["run.py", "pipeline", "--preset", "demo", "--dry-run", "--from", "2", "--data-dir", tmp_path / "data"]
    waits = f"it would begin a run in {tmp_path / 'data' / 'phase2'}, once there is what it waits for:\n"
    assert f"{waits}  phase 0.1: no finished split of organism" in command(*later).stdout


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_file_that_a_later_phase_would_refuse_is_refused_before_the_first(tiny_gemma, tmp_path, dataset, more):
    """It was, once everything in front of that phase had been computed."""
    rows, texts, saes = tmp_path / "rows.jsonl", tmp_path / "texts", tmp_path / "saes"
    first = json.loads(dataset.read_text().splitlines()[0])
    rows.write_text(json.dumps(first) + "\n" + json.dumps({**first, "task_id": 7, "test_list": None}) + "\n")
    texts.mkdir()
    (texts / "one.txt").write_text("One document.")
    saved(saes, layer=0)
    base = ["run.py", "pipeline", *more, "--preset", "demo", "--model", tiny_gemma, "--data-dir", tmp_path / "data"]
    for words, message in (
        (["--dataset", rows], f"{rows}, line 2: field 'test_list'"),
        (["--text", texts], f"'{texts}' has 1 document, but --documents is 1000"),
        (["--sae", saes], f"the SAE in {saes / 'layer_0'} reads vectors of {D_IN} numbers; those of {tiny_gemma} have"),
    ):
        done = command(*base, *words)
        assert done.returncode == 2 and message in done.stderr, done.stderr
    assert not (tmp_path / "data").exists()


def test_a_pipeline_ends_where_it_is_told_and_says_how_to_go_on(tmp_path, dataset):
    words = ["--preset", "demo", "--dataset", dataset, "--data-dir", tmp_path / "data"]
    done = command("run.py", "pipeline", "--until", "0.1", *words)
    built = sorted(path.name for path in (tmp_path / "data").iterdir() if path.is_dir())
    assert done.returncode == 0 and built == ["phase0", "phase0_1"], done.stderr
    done = command("run.py", "pipeline", "--from", "2", "--until", "2", *words)
    assert done.returncode == 2 and "error: no finished generations" in done.stderr
    assert "phase 2 failed. Go on with: python3 run.py pipeline --from 2 --until 2 --preset demo" in done.stderr
    for wrong, message in ((["--until", "9"], "--until is '9'"), (["--from", "2", "--until", "1"], "before --from 2")):
        done = command("run.py", "pipeline", *wrong, *words)
        assert done.returncode == 2 and message in done.stderr


def test_everything_that_was_found_is_exported_for_datasets(finished, dataset, tmp_path):
    data, _ = finished
    words = ["--preset", "demo", "--dataset", dataset, "--data-dir", data]
    done = command("run.py", "export", "--to", "hf-dataset", tmp_path / "out", "--activations", *words)
    assert done.returncode == 0, done.stderr
    splits = {"sae", "hyperparams", "validation"}
    for name, expected in {"programs": splits, "resid_post": splits, "predictions": splits - {"sae"}}.items():
        assert {path.stem for path in (tmp_path / "out" / name).iterdir()} == expected
    programs = pandas.concat(map(pandas.read_parquet, (tmp_path / "out" / "programs").iterdir()))
    stored = pandas.read_parquet(next((data / "phase1_0").glob("*/dataset.parquet")))
    assert sorted(programs.task_id) == sorted(stored.task_id)
    cards = pandas.read_parquet(tmp_path / "out" / "cards" / "validation.parquet")
    detection = json.loads(next((data / "phase3_1").glob("*/detection.json")).read_text())
    headline = detection["directions"]["predict_incorrect"]["card"]["auroc"]["value"]
    assert headline in cards[(cards.score == "latent") & (cards.positive == "incorrect")].auroc.tolist()


@pytest.mark.sweep
@in_whole_sweeps
def test_phases_2_and_3_1_are_what_another_program_computes(finished, tmp_path):
    """docs/natural/check.py, which imports nothing of this project, on the organism; it sees a wrong number."""
    data, _ = finished
    words = [ROOT / "docs" / "natural" / "check.py", "--saes", ROOT / "model_organism" / "weights" / "saes"]
    said = subprocess.run([sys.executable, *words, data], capture_output=True, text=True)
    assert said.returncode == 0 and said.stdout.endswith("everything is equal\n"), said.stdout + said.stderr
    assert "DIFFERENT" not in said.stdout and said.stdout.count("chosen for") == 4
    other = shutil.copytree(data, tmp_path / "data")
    [path] = (other / "phase2").glob("*/latents.parquet")
    table = pandas.read_parquet(path)
    table.loc[table.layer == 3, "auroc"] += 0.01
    table.to_parquet(path)
    said = subprocess.run([sys.executable, *words, other], capture_output=True, text=True)
    assert said.returncode == 1 and said.stdout.count("DIFFERENT") == 1 and "DIFFERENT  layer 3, auroc" in said.stdout
