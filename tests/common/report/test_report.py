"""Covers common/report without a browser: which runs it shows, what it says of the others, sentences, escaping."""

import datetime
import html
import json
import shutil
import time
from pathlib import Path

import pytest
import report_data
from pages import Reader, words
from report_data import HOSTILE, USUAL, build, collect, interval, write_report, write_run
from support import command

from common.errors import ConfigError, MissingArtifactError, PipelineError
from common.files import write_sealed_json
from common.handoffs import DETECTION, GENERATIONS, LATENTS, POSITIVE_CONTROL, SCHEMAS, SPLIT, STEERING, TRANSFER
from common.report.collect import APART, DAMAGED, FINISHED, MISSING, NOT_USED, STALE, UNFINISHED
from common.report.status import status_lines
from common.runs import discovery
from run import CATALOGUE

NAMES = [schema.name for schema in USUAL]
NOW = datetime.datetime(2001, 11, 20, 9, 0, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A finished run of every phase; tests only read it."""
    return build(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def data(whole, tmp_path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(whole, tmp_path / "data"))


def page(data: Path, tmp_path: Path, **given) -> str:
    return write_report(CATALOGUE, data, out=tmp_path / "report.html", now=NOW, **given).path.read_text()


def states(data: Path) -> dict[str, str]:
    return {name: phase.state for name, phase in collect(data, {}).phases.items()}


def sentences(data: Path, tmp_path: Path) -> list[str]:
    return write_report(CATALOGUE, data, out=tmp_path / "report.html").sentences


@pytest.mark.parametrize("n", [3, 4, 6, 7, 9, len(NAMES)])
def test_a_report_needs_no_more_than_phase_1_and_names_every_missing_phase_with_its_command(n, tmp_path):
    source = page(build(tmp_path / "data", NAMES[:n]), tmp_path)
    for schema in USUAL[n:]:
        to = " --to OTHER_MODEL" if schema == TRANSFER else ""
        command = f"python3 run.py phase {schema.phase} --preset demo{to} --data-dir {tmp_path / 'data'}"
        assert html.escape(command) in source
    assert ("Not begun" in source) == (n < len(NAMES))


def test_a_second_model_is_not_missing_where_none_is_known(tmp_path):
    data = build(tmp_path / "data", [name for name in NAMES if name != TRANSFER.name])
    assert states(data)[TRANSFER.name] == APART
    assert "not finished" not in sentences(data, tmp_path)[2] and "Not begun" not in page(data, tmp_path)
    other = build(tmp_path / "other", NAMES[:3], model="google/gemma-2-2b", preset="full")
    command = collect(other, {}).phases[TRANSFER.name].command
    assert states(other)[TRANSFER.name] == MISSING and command.startswith("python3 run.py phase 3.6 --dataset organism")


def test_what_a_yes_looks_like_stands_beside_what_steering_found(whole, tmp_path):
    source = page(whole, tmp_path)
    start = source.index('<section id="steering"')
    text = words(source[start : source.index("</section>", start)])
    assert text.index("no measurable effect") < text.index("Positive control") < text.index("What a “yes” looks like")
    assert "Steered 83.3 %" in text and "at most 1 by one; rank 1 of 20" in text
    told = "turns 10 of 12 programs of one into programs of the other (the best of 19 random directions: 1)"
    assert told in sentences(whole, tmp_path)[1]


def test_a_positive_control_is_not_missing_where_there_are_no_pairs(tmp_path):
    data = build(tmp_path / "data", NAMES[:3], model="google/gemma-2-2b", preset="full")
    assert states(data)[POSITIVE_CONTROL.name] == NOT_USED
    lines = status_lines(SCHEMAS, data)
    assert POSITIVE_CONTROL.phase not in {line.phase for line in lines}
    organism = status_lines(SCHEMAS, build(tmp_path / "organism", NAMES[:3]))
    assert [line.state for line in organism if line.phase == POSITIVE_CONTROL.phase] == ["missing"]


def test_phases_that_are_missing_in_between_leave_the_others_as_they_are(tmp_path):
    source = page(build(tmp_path / "data", ["generations", "detection", "prompt_ablation"]), tmp_path)
    assert 'id="detection"' in source and 'id="prompt-ablation"' in source and 'id="steering"' not in source


def test_every_section_is_there_when_every_phase_is(whole, tmp_path):
    ids = [a["id"] for tag, a in Reader(page(whole, tmp_path)).elements if tag == "section"]
    assert ids == ["result", "warnings", "detection", "dose", "steering", "attention", "orthogonalisation", "transfer",
                   "prompt-ablation", "detector", "circuits", "errors", "examples", "selection", "programs", "problems",
                   "runs", "latents"]  # fmt: skip


def test_every_link_to_a_latent_leads_to_its_part_of_the_page(whole, tmp_path):
    found = Reader(page(whole, tmp_path)).elements
    links = [a["href"] for tag, a in found if tag == "a" and a["href"].startswith("#latent-")]
    assert ("a", {"href": "https://www.neuronpedia.org/small/0-res/100", "rel": "noreferrer"}) in found
    assert len(links) > 8 and {link[1:] for link in links} <= {a.get("id") for _, a in found}


def test_without_a_run_from_phase_1_on_there_is_nothing_to_report(tmp_path):
    with pytest.raises(MissingArtifactError, match=r"holds none\nBuild one with: python3 run.py phase 1 --preset demo"):
        write_report(CATALOGUE, build(tmp_path / "data", ["difficulty", "split"]), "demo")


def test_an_unfinished_phase_is_shown_with_its_progress_and_what_continues_it(data, tmp_path):
    run = next((data / STEERING.folder).iterdir())
    stamp = {key: value for key, value in json.loads((run / "manifest.json").read_text()).items()
             if key in ("artifact", "phase", "schema_version", "experiment", "settings", "inputs", "lineage", "preset",
                        "all_settings", "command")}  # fmt: skip
    shutil.rmtree(run)
    (run / "parts").mkdir(parents=True)
    (run / "parts" / "part_000000_50_0123456789abcdef.safetensors").touch()
    write_sealed_json(run / "stamp.json", {**stamp, "n_records": 388})
    known = {"steering": UNFINISHED, "dictionaries": NOT_USED}
    assert states(data) == dict.fromkeys(NAMES, FINISHED) | known
    text = words(page(data, tmp_path))
    assert "Phase 3.3: 50 of 388 records." in text and "python3 run.py phase 3.3 --preset demo --data-dir" in text
    assert "Does it cause? Not measured: phase 3.3 is unfinished." in sentences(data, tmp_path)[1]


def test_a_newer_run_that_is_not_finished_is_named_beside_the_one_that_is_shown(data, tmp_path):
    manifest = json.loads(next((data / DETECTION.folder).glob("*/manifest.json")).read_text())
    newer = data / DETECTION.folder / discovery.new_run_name(DETECTION, data, manifest["experiment"])
    newer.mkdir()
    write_sealed_json(newer / "stamp.json", {key: value for key, value in manifest.items() if "sha256" not in key})
    assert states(data)["detection"] == FINISHED
    assert f"a newer run, {newer.name}, is not finished" in words(page(data, tmp_path))


def test_what_was_made_from_other_programs_is_out_of_date_and_not_shown(data, tmp_path):
    split = discovery.list_runs(SPLIT, data)[0].document
    lineage = {**split["lineage"], "split": split["content_sha256"]}
    run = write_run(data, GENERATIONS, {key: lineage[key] for key in ("difficulty",)})
    manifest = json.loads((run / "manifest.json").read_text())
    del manifest["sha256_of_all_other_entries"]
    write_sealed_json(run / "manifest.json", {**manifest, "content_sha256": "0" * 64})
    found = states(data)
    assert found["generations"] == FINISHED and found["detection"] == found["latents"] == STALE
    text = words(page(data, tmp_path))
    assert "was made from another generations than the one picked" in text and "AUROC within strata" not in text


def test_a_damaged_file_takes_its_phase_out_of_the_report(data, tmp_path):
    path = next((data / DETECTION.folder).glob("*/detection.json"))
    path.write_bytes(path.read_bytes().replace(b"ranks", b"RANKS"))
    assert states(data)["detection"] == DAMAGED
    source = page(data, tmp_path)
    assert "DETECTOR" not in source and "was changed after it was built" in words(source)
    assert "python3 run.py phase 3.1 --preset demo" in source and "--fresh" in source


def test_only_runs_of_one_experiment_are_shown_the_newest_by_default(data, tmp_path):
    time.sleep(1)  # the names of runs count whole seconds, and the other experiment's were made just now
    write_run(data, GENERATIONS, {}, model="google/gemma-2-2b", preset="full")
    newest = collect(data, {})
    assert newest.name == "google/gemma-2-2b on organism" and newest.finished(GENERATIONS) is not None
    assert newest.finished(DETECTION) is None and newest.experiment["sae"] is None
    assert collect(data, {"model": "organism"}).finished(DETECTION) is not None
    assert write_report(CATALOGUE, data, "demo", out=tmp_path / "r.html").sentences == sentences_of_demo(data, tmp_path)


def sentences_of_demo(data: Path, tmp_path: Path) -> list[str]:
    return write_report(CATALOGUE, data, given={"model": "organism"}, out=tmp_path / "r.html").sentences


@pytest.mark.parametrize("given", [{"model": "google/gemma-2-2b"}, {"dataset": "mbpp"}, {"sae": "others"}])
def test_an_experiment_that_is_not_there_is_refused_with_those_that_are(whole, given):
    with pytest.raises(MissingArtifactError, match="holds organism on organism on saes") as refused:
        write_report(CATALOGUE, whole, None, given)
    assert next(iter(given.values())) in str(refused.value)


def test_an_unknown_preset_is_refused(whole):
    with pytest.raises(ConfigError, match="there is no preset 'demos'"):
        write_report(CATALOGUE, whole, "demos")


def test_a_model_may_be_named_by_its_folder(whole):
    assert collect(whole, {"model": "/somewhere/organism", "dataset": "elsewhere/organism.jsonl"}).experiment["sae"]


def test_the_sentences_say_what_the_files_say(tmp_path):
    def change(result):
        entry = result["directions"]["predict_correct"]
        entry["card"]["auroc"] = {"value": 0.876, "low": 0.812, "high": 0.934, "delong_low": 0.8, "delong_high": 0.9}
        entry["verdict"] = "ranks no better than random latents"
        entry["latent"]["t"] = -9.87
        entry["baselines"]["full probe"]["auroc"] = interval(0.913, 0.02)
        entry["differences"]["full probe"]["auroc"] = interval(-0.037, 0.03)

    def weaken(result):
        result["directions"]["steer_correct"]["latents"][0]["significant"] = False
        result["directions"]["steer_correct"]["significant"] = False

    data = build(tmp_path / "data", changes={"detection.json": change, "selected.json": weaken})
    knows, causes, trust = sentences(data, tmp_path)
    assert knows.startswith(
        "Does it know? Predict-correct (layer 1, latent 101), chosen on the selection split (|t| = 9.87,"
    )
    for part in (
        "AUROC of 0.88 (0.81 to 0.93) for correct programs",
        "verdict “ranks no better than random latents” (with 4 positive and 8 negative problems an AUROC of 0.71 would",
        "Verdict “beyond difficulty”: it changes the AUROC of a regression on prompt length and complexity",
        "by +0.040 (+0.010 to +0.070), partial z +3.1; the full probe changes it by +0.080",
        "−0.04 (−0.07 to −0.01) to the full probe (layer 5, chosen on the selection split) with 0.91 (0.89 to 0.93)",
        "to the strongest of these alone, prompt length, with 0.57 (0.52 to 0.62), known before a token is written",
        "to the mean log-probability with 0.70 (0.65 to 0.75), known only after the program is written",
        "equal complexity its AUROC is 0.53 (0.48 to 0.58)",
        "Of 10 other draws of the problems for selection 7 choose the same latent.",
    ):
        assert part in knows
    assert "steer-correct (layer 3, latent 103) changes the pass rate by +4.1 points (−0.9 to +9.1)" in causes
    assert "−8.2 points" in causes and "“raises the pass rate”" in causes and "nearest latents: 10.0 %" in causes
    assert "3 of the 4 selected directions are significant among 5,225 ranked latents" in trust
    assert (
        "nothing was chosen on the held-out problems: one selection was made before, and every phase reports on it;"
        in trust
        and "nothing about natural models" in trust
    )
    source = page(data, tmp_path)
    assert all(sentence.partition("? ")[2][:60] in words(source) for sentence in (knows, causes, trust))
    assert "Selection by chance" in source


def test_what_the_filter_took_away_is_a_warning_and_its_cost_a_table(data, tmp_path):
    source = words(page(data, tmp_path))
    for part in (
        "A stronger latent was left out",
        "layer 4, latent 1276 was left out, because it fires on 5.2 % of general text (the limit there is 4.4 %",
        "what fires on much ordinary text is not specific to code",
        "the selected one, the first that passes this filter, has",
        "a cross-validated AUROC of 0.79 (0.74 to 0.84), without a limit one of 0.79",
        "31 latents lie within the interval of the limit",
        "0.76 (0.71 to 0.81) of 1 latent and 0.76 (0.71 to 0.81) of 4 latents, and 0.78 (0.73 to 0.83) of the whole",
    ):
        assert part in source, part


def test_a_validation_split_that_was_read_again_is_a_warning_and_the_log_counts(data, tmp_path):
    assert "Validation read again" not in page(data, tmp_path)
    split = discovery.list_runs(SPLIT, data)[0].document["content_sha256"]
    entry = {"model": report_data.MODEL, "dataset": report_data.DATASET, "split": split}
    entry["steering"] = None
    others = [{**entry, "selection": "a"}, {**entry, "selection": "b"}, {**entry, "selection": "c", "split": "other"}]
    write_sealed_json(data / "validation_readings.json", {"readings": others})
    assert "Validation read again" in page(data, tmp_path)
    assert "used for 2 selections, and each further use weakens them: what is shown" in sentences(data, tmp_path)[2]


def test_a_log_that_was_changed_is_refused(data):
    (data / "validation_readings.json").write_text('{"readings": []}')
    with pytest.raises(PipelineError, match="how often the validation split was read is not known"):
        write_report(CATALOGUE, data)


def test_a_natural_model_has_no_warning_of_an_organism(tmp_path):
    data = build(tmp_path / "data", model="google/gemma-2-2b")
    assert (
        "no evidence about natural models" not in page(data, tmp_path) and "natural" not in sentences(data, tmp_path)[2]
    )


def test_the_warnings_name_what_came_near_a_limit_was_left_out_or_differs(whole, tmp_path):
    text = words(page(whole, tmp_path))
    for warning in (
        "Near a limit. Phase 1: 1 of 36 (2.8 %) programs",
        "In selection: 1 not run",
        "In detection, of samples: 2 not run",
        "Phase 3.3: 1 of 12 (8.3 %) unsteered outputs are not those of phase 1",
        "Steering with steer-correct breaks 5.0 % (0.0 to 10.0) of the outputs",
    ):
        assert warning in text


def test_what_no_direction_could_do_is_said(tmp_path):
    def nothing(result):
        for entry in result["directions"].values():
            for key in {*entry} - {"latent", "wanted", "verdict"}:
                del entry[key]
            entry["verdict"] = "cannot be steered: every point breaks the output"

    def none_chosen(result):
        for entry in result["directions"].values():
            entry["chosen"] = None

    data = build(tmp_path / "data", changes={"steering.json": nothing, "coefficients.json": none_chosen})
    text = words(page(data, tmp_path))
    assert "steer-correct: “cannot be steered: every point breaks the output”" in text
    assert "Every one tried breaks the output of steer-incorrect and steer-correct." in text


def test_hostile_text_is_text(whole, tmp_path):
    source = page(whole, tmp_path)
    assert HOSTILE not in source and "<img src=x" not in source
    found = Reader(source)
    assert [tag for tag, _ in found.elements].count("script") == 1
    assert not [tag for tag, attributes in found.elements if any(name.startswith("on") for name in attributes)]
    links = [
        a.get("src") or a.get("href")
        for tag, a in found.elements
        if tag not in ("use",) and ("src" in a or "href" in a)
    ]
    assert all(link.startswith(("data:", "#", "https://www.neuronpedia.org/")) for link in links)
    assert HOSTILE.split(">")[0] in words(source)  # a reader still sees it


def test_the_same_data_give_the_same_bytes_and_another_day_changes_the_date_alone(whole, tmp_path):
    first, second = page(whole, tmp_path), page(whole, tmp_path)
    later = write_report(
        CATALOGUE, whole, out=tmp_path / "r.html", now=NOW + datetime.timedelta(days=1)
    ).path.read_text()
    assert first == second and later.replace("2001-11-21", "2001-11-20") == first and later != first


def test_the_page_is_one_file_below_five_megabytes_that_asks_for_nothing(whole, tmp_path):
    result = write_report(CATALOGUE, whole, out=tmp_path / "report.html")
    source = result.path.read_text()
    assert result.n_bytes == result.path.stat().st_size < 5_000_000
    policy = next(
        a["content"] for tag, a in Reader(source).elements if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; ") and "http" not in policy and "script-src 'sha256-" in policy
    assert not {"link", "iframe", "object", "base", "form"} & {
        tag for tag, a in Reader(source).elements if a.get("href") != "data:,"
    }


def test_the_report_lies_in_the_data_folder_unless_told_otherwise(data):
    assert write_report(CATALOGUE, data).path == data / "report.html"


def test_a_place_that_cannot_be_written_is_refused(whole, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PipelineError, match="cannot write"):
        write_report(CATALOGUE, whole, out=tmp_path / "file" / "report.html")
    assert states(whole)["latents"] == FINISHED and MISSING not in states(whole).values()


def report_command(data: Path, *words: object) -> list[str]:
    """What `run.py report` printed, as lines."""
    done = command("run.py", "report", "--data-dir", data, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_one_experiment_needs_no_flag_whatever_the_preset(data):
    *_, where = report_command(data)
    assert where == f"Report: {data / 'report.html'}" and (data / "report.html").is_file()


def test_several_experiments_have_a_report_each_which_none_of_the_others_replaces(data, tmp_path):
    write_run(data, GENERATIONS, {}, model="google/gemma-2-2b", preset="full")
    files = [data / "report_gemma-2-2b_organism.html", data / "report_organism_organism.html"]
    lines = report_command(data)
    assert [line for line in lines if line.startswith("Report: ")] == [f"Report: {file}" for file in files]
    assert "google/gemma-2-2b on organism:" in lines and all(file.is_file() for file in files)
    assert not (data / "report.html").exists()
    assert report_command(data, "--model", "organism")[-1] == f"Report: {files[1]}"
    assert report_command(data, "--preset", "demo")[-1] == f"Report: {files[1]}"
    assert report_command(data, "--out", tmp_path / "one.html")[-1] == f"Report: {tmp_path / 'one.html'}"
    assert "gemma-2-2b" in (tmp_path / "one.html").read_text()


def test_an_sae_that_only_an_unfinished_run_has_may_be_asked_for(tmp_path):
    data = tmp_path / "data"
    write_run(data, GENERATIONS, {})
    begun = write_run(data, LATENTS, {}, sae="others@33333333")
    (begun / "manifest.json").rename(begun / "stamp.json")
    write_run(data, LATENTS, {})
    assert [write_report(CATALOGUE, data, given={"sae": sae}).path.name for sae in ("others", "saes")] == [
        "report_organism_organism_others.html",
        "report.html",
    ]


def test_a_report_of_a_folder_that_may_only_be_read_is_written_elsewhere(data, tmp_path):
    closed = [data, *data.rglob("*")]
    for path in closed:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        out = tmp_path / "report.html"
        words = ("run.py", "report", "--data-dir", data)
        done = command(*words, "--out", out, is_root=False)
        assert done.returncode == 0 and out.is_file(), done.stderr
        refused = command(*words, is_root=False)
        assert refused.returncode == 2 and "cannot write" in refused.stderr and "Traceback" not in refused.stderr
    finally:
        for path in closed:
            path.chmod(0o755)
