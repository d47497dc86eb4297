"""Covers phase4_anomaly_detection/commands.py: run.py discover, detect and serve as a user types them."""

import io
import json
import re
from pathlib import Path

import pytest
from small_detectors import LAYER, prompts, shared_detector
from support import WHOLE_SWEEPS, cold_command

import run
from common.errors import ArtifactMismatchError, ConfigError, MissingArtifactError
from phase4_anomaly_detection import AnomalyDetector, SAEAnomalyPipeline

TEXTS = list(prompts(30))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return shared_detector(tmp_path_factory)


@pytest.fixture(scope="module")
def expected(folder) -> dict[str, dict]:
    """What the API says of each text."""
    detections = SAEAnomalyPipeline.load(folder, "cpu", threads=1).detect(TEXTS)
    return dict(zip(TEXTS, (detection.as_json() for detection in detections), strict=True))


@pytest.fixture(scope="module")
def by_route(expected) -> dict[str, str]:
    """A text of each route: of those on which it abstains, one in the middle of the band, and not at its edge."""
    ordered = sorted(expected, key=lambda text: expected[text]["anomaly_score"])
    abstained = [text for text in ordered if expected[text]["route"] == "abstain"]
    return {"proceed": ordered[0], "abstain": abstained[len(abstained) // 2], "verify": ordered[-1]}


@pytest.fixture
def detect(folder):
    """The command in this process; returns its exit status."""
    return lambda *words: run.main(["detect", "--artifacts", str(folder), "--device", "cpu", *map(str, words)])


@pytest.mark.parametrize(("route", "status"), [("proceed", 0), ("verify", 3), ("abstain", 4)])
def test_the_exit_status_of_the_process_is_the_route(cli, folder, by_route, tmp_path, route, status):
    (tmp_path / "prompt.txt").write_text(by_route[route])
    typed = cold_command if route == "verify" else cli
    done = typed("run.py", "detect", "--artifacts", folder, "--file", tmp_path / "prompt.txt")
    assert (done.returncode, done.stderr) == (status, "")
    assert done.stdout.startswith(f"{route}: {tmp_path / 'prompt.txt'} (")


def test_an_error_has_status_2_and_says_what_to_give(cli, folder):
    done = cli("run.py", "detect", "--artifacts", folder)
    assert done.returncode == 2
    assert re.fullmatch(r"error: .*no text.*\n.*--input TEXT, --file FILE or --stdin\n", done.stderr)


def test_of_several_texts_one_to_verify_decides_then_one_to_abstain_on(detect, by_route, capsys):
    texts = {route: ["--input", text] for route, text in by_route.items()}
    assert detect(*texts["proceed"], *texts["abstain"], *texts["verify"]) == 3
    assert detect(*texts["abstain"], *texts["proceed"]) == 4
    assert detect(*texts["proceed"], *texts["proceed"]) == 0
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")] == [
        "proceed",
        "abstain",
        "verify",
        "abstain",
        "proceed",
        "proceed",
        "proceed",
    ]


def test_the_block_for_a_reader_holds_the_numbers_of_the_api(detect, expected, capsys):
    text = TEXTS[0]
    detect("--input", text)
    shown, found = capsys.readouterr().out, expected[text]
    assert f"P(incorrect) {found['probability']:.2f}: {found['level']}; score {found['anomaly_score']:.4f}" in shown
    first = found["top_features"][0]
    assert f"{first['contribution']:+.4f}  layer {LAYER} latent {first['latent']}: activation" in shown
    assert shown.endswith(f"  detector: {found['verdict']}\n")


def test_json_lines_come_out_in_order_with_the_scores_of_the_api(detect, expected, tmp_path, capsys):
    kinds = [
        lambda i, text: text,
        lambda i, text: {"text": text, "id": f"n{i}"},
        lambda i, text: {"prompt": text},
        lambda i, text: {"prompt": text[:20], "code": text[20:], "id": None},
    ]
    rows = [kinds[i % 4](i, text) for i, text in enumerate(TEXTS)]
    path = tmp_path / "texts.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    status = detect("--file", path, "--jsonl")
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(found) == len(TEXTS) and status == 3
    for i, (text, entry) in enumerate(zip(TEXTS, found, strict=True)):
        assert entry.pop("id", "absent") == ["absent", f"n{i}", "absent", None][i % 4]
        assert {*entry} == {*expected[text]}
        for key in ("anomaly_score", "probability", "threshold"):
            assert entry[key] == pytest.approx(expected[text][key], abs=1e-9)
        assert [e["latent"] for e in entry["top_features"]] == [e["latent"] for e in expected[text]["top_features"]]
        contributions = sum(feature["contribution"] for feature in entry["top_features"])
        assert contributions == pytest.approx(entry["anomaly_score"], abs=1e-9)


def test_standard_input_and_a_file_are_read_as_they_are(detect, expected, tmp_path, capsys, monkeypatch):
    """The text of standard input and of a file are read as they are."""
    text = TEXTS[3]
    (tmp_path / "a.txt").write_text(text)
    (tmp_path / "b.txt").write_text(text + "\n")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    detect("--stdin", "--file", tmp_path / "a.txt", "--file", tmp_path / "b.txt")
    out = capsys.readouterr().out
    assert re.findall(r"score (\S+),", out) == 2 * [f"{expected[text]['anomaly_score']:.4f}"]
    assert "b.txt\n  the text does not end in '# Solution:\\n'" in out  # another last token


def test_another_threshold_moves_the_route_and_drops_the_abstain_band(detect, expected, by_route, capsys):
    text = by_route["abstain"]
    score = expected[text]["anomaly_score"]
    assert detect("--input", text) == 4
    assert detect("--input", text, "--threshold", score + 1) == 0
    assert detect("--input", text, "--threshold", score - 1) == 3
    with pytest.raises(ConfigError, match=r"threshold is nan\n"):
        detect("--input", text, "--threshold", "nan")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--layer", "2"], rf"--layer is 2.* layer {LAYER}\b.*\n.*--layer"),
        (["--model", "google/gemma-2-2b"], r"google/gemma-2-2b is google/gemma-2-2b\b.*\n.*--model"),
        (["--model", "nowhere"], r"--model is 'nowhere'.*\n.*hub id"),
        (["--dtype", "int4"], "--dtype is 'int4'\n.*auto, float64"),
        (["--quantisation", "8bit"], r"--quantisation is 8bit.* none\b.*\n.*--quantisation"),
        (["--quantisation", "3bit"], "--quantisation is '3bit'\n.*none, 8bit, 4bit"),
        (["--long-input", "cut"], "--long-input is 'cut'\n.*refuse, windows"),
        (["--batch-size", "0"], "--batch-size is 0"),
    ],
)
def test_a_flag_that_contradicts_the_detector_or_the_machine_is_refused(detect, words, message):
    with pytest.raises((ConfigError, ArtifactMismatchError), match=message):
        detect("--input", "x = 1", *words)


def test_flags_that_fit_are_honoured(detect, expected, capsys):
    text = TEXTS[1]
    detect("--input", text, "--layer", LAYER, "--dtype", "float32", "--batch-size", 1)
    score = float(re.search(r"score (\S+),", capsys.readouterr().out)[1])
    assert score == pytest.approx(expected[text]["anomaly_score"], abs=1e-2)


def test_a_long_text_is_refused_or_read_in_windows_by_flag(detect, capsys):
    long = "x = 1\n" * 600 + TEXTS[0]
    with pytest.raises(ConfigError, match=r" 1024 tokens: text 1 .*\d{4} tokens.*\n.*--long-input windows"):
        detect("--input", long)
    assert detect("--input", long, "--long-input", "windows") in (0, 3, 4)
    assert re.search(r"\(\d{4} tokens, window \d of \d decides\)", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "texts.jsonl: no line "),
        (b'{"text": ""}\n', "texts.jsonl, line 1: 'text' is ''"),
        (b'"x"\n{"text": "a", "code": "b"}\n', "line 2: has text and code"),
        (b'"x"\n\n{"text": 5}\n', "line 3: 'text' is 5"),
        (b'"x"\n[1]\n', "line 2: is .*no object"),
        (b'"x"\n{"text": "a"\n', "line 2: is not JSON"),
        (b'"x"\n"\xff"\n', "line 2: .*0xff .*UTF-8"),
        (b'"\\ud800"\n', "surrogate pair"),
    ],
)
def test_a_line_that_holds_no_text_is_refused_with_its_number(detect, tmp_path, content, message):
    path = tmp_path / "texts.jsonl"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        detect("--file", path, "--jsonl")


def test_an_empty_text_a_missing_file_and_a_missing_detector_are_refused(detect, tmp_path):
    with pytest.raises(ConfigError, match=r"--input: .*empty\n"):
        detect("--input", " \n")
    with pytest.raises(ConfigError, match=r"--file .*/gone\.txt .*No such file.*\n"):
        detect("--file", tmp_path / "gone.txt")
    with pytest.raises(MissingArtifactError, match=rf"no detector in {tmp_path}.*\n.*python3 run\.py discover"):
        run.main(["detect", "--artifacts", str(tmp_path), "--input", "x"])


def test_discover_refuses_a_folder_that_holds_other_things_before_it_begins(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"--out .*notes\.txt\n.*new folder"):
        run.main(["discover", "--preset", "demo", "--data-dir", str(tmp_path / "data"), "--out", str(tmp_path)])


def test_discover_says_which_phase_is_missing(tmp_path):
    with pytest.raises(MissingArtifactError, match=r"python3 run\.py phase 0\.1 --preset demo"):
        run.main(["discover", "--preset", "demo", "--data-dir", str(tmp_path / "data"), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.mark.sweep
def test_the_whole_way_from_labelled_texts_to_a_route(cli, tmp_path):
    """With the general text that is the model's own in `make test-sweeps`, else with a few documents of it."""
    from small_detectors import few_documents, labels

    texts = prompts(120)
    rows = [{"prompt": text, "label": int(bad)} for text, bad in zip(texts, labels(texts), strict=True)]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["discover", "--preset", "demo", "--labelled", tmp_path / "own.jsonl", "--layer", LAYER]
    words += ["--general-text-limit", 1, "--data-dir", tmp_path / "data", "--out", tmp_path / "mine"]
    words += [] if WHOLE_SWEEPS else ["--text", few_documents(tmp_path / "text")]
    made = cold_command("run.py", *words)
    assert made.returncode == 0, made.stderr
    assert made.stdout.splitlines()[0].startswith(f"{tmp_path / 'mine'}: layer {LAYER} of organism, ")
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {
        "detector.json",
        "latents.safetensors",
        "README.md",
    }
    again = cli("run.py", *words)  # it is built, and handed over once more
    assert again.returncode == 0 and "already built" in again.stderr and again.stdout == made.stdout
    asked = cli("run.py", "detect", "--artifacts", tmp_path / "mine", "--input", texts[0])
    assert asked.returncode in (0, 3, 4), asked.stderr
    (run_folder,) = (path for path in (tmp_path / "data" / "phase4_1").iterdir() if path.is_dir())
    same = cli("run.py", "detect", "--artifacts", run_folder, "--input", texts[0])
    assert same.stdout == asked.stdout


def test_bits_that_the_detector_was_made_with_are_asked_of_the_machine(folder, tmp_path):
    detector = AnomalyDetector.load(folder)
    quantised = detector.having(model={**detector.document["model"], "quantisation": "8bit"}).save(tmp_path / "8bit")
    for words in ([], ["--quantisation", "8bit"]):
        with pytest.raises(ConfigError, match=r"--quantisation 8bit .*device cpu\b.*NVIDIA GPU.*\n.*--quantisation"):
            run.main(["detect", "--artifacts", str(quantised), "--device", "cpu", "--input", "x", *words])
    assert "its weights in 8bit" in (quantised / "README.md").read_text()


@pytest.mark.parametrize("identifier", ['"\\ud800"', '"é"', '[1, {"a": null}]', "-5e-3"])
def test_any_id_comes_out_as_it_went_in(detect, tmp_path, capsys, identifier):
    path = tmp_path / "texts.jsonl"
    path.write_text(f'{{"text": "x = 1", "id": {identifier}}}\n')
    detect("--file", path, "--jsonl")
    out = capsys.readouterr().out
    assert json.loads(out)["id"] == json.loads(identifier) and out.isascii()


@pytest.mark.parametrize("identifier", ["NaN", "-Infinity", "1e999", "[NaN]"])
def test_an_id_that_json_has_not_is_refused_with_its_line(detect, tmp_path, identifier):
    path = tmp_path / "texts.jsonl"
    path.write_text(f'"x"\n{{"text": "x = 1", "id": {identifier}}}\n')
    with pytest.raises(ConfigError, match=r"texts\.jsonl, line 2: 'id' .*number .*JSON.*\nGive"):
        detect("--file", path, "--jsonl")


def test_a_threshold_below_0_in_any_form_is_a_threshold(detect, capsys):
    for threshold in ("-1e-3", "-.5", "-2"):
        assert detect("--input", TEXTS[0], "--threshold", threshold) in (0, 3)
        assert f"threshold {float(threshold):.4f}" in capsys.readouterr().out
