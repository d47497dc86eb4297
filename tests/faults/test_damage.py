"""Covers damage: flipped bits and cut files of every kind are found, named, moved aside and computed again."""

import json
import logging
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support import command, swept
from toy_phases import NUMBERS, NUMBERS_PHASE, SUMS, SUMS_PHASE, Config, N, content, run_phase, stop_after

from common.errors import ArtifactMismatchError, ConfigError, DamagedRunError
from common.files import read_sealed_json
from common.programs.grading import Grading, _checked_line, _checked_rows, read_submissions
from common.runs import discovery
from common.runs.artifacts import Artifact, find_damage
from common.runs.checkpoints import PartStore
from common.runs.locks import lock_slice
from common.stopping import Stopped

pytestmark = pytest.mark.sweep
PLACES = swept(200, 20)


def damages(whole: bytes, n: int = PLACES) -> list[bytes]:
    """`whole` with one bit flipped, or cut short, at `n` random places."""
    chooser, found = random.Random(len(whole)), []
    for number in range(n):
        place = chooser.randrange(len(whole))
        flipped = bytearray(whole)
        flipped[place] ^= 1 << chooser.randrange(8)
        found.append(whole[:place] if number % 4 == 0 else bytes(flipped))
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A data folder with both toy phases finished."""
    data = tmp_path_factory.mktemp("finished")
    run_phase(NUMBERS_PHASE, data), run_phase(SUMS_PHASE, data)
    return data


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory, finished) -> Path:
    """A data folder where the second toy phase was stopped half-way."""
    data = tmp_path_factory.mktemp("unfinished")
    shutil.copytree(finished / "phase8", data / "phase8")
    with pytest.raises(Stopped):
        run_phase(SUMS_PHASE, data, stop=stop_after(5))
    return data


def is_found(act: Callable[[], object]) -> bool:
    try:
        act()
    except ArtifactMismatchError:
        return True
    return False


def read_everything(run: Path) -> None:
    """What a later phase does with a finished run. Raises: ArtifactMismatchError."""
    found = discovery.read_run(run, SUMS)
    if found.damage is not None:
        raise found.damage
    artifact = Artifact(SUMS, found, "rebuild")
    artifact.table("sums.parquet"), artifact.tensor("vectors/layer_00.safetensors", "twice")


@pytest.mark.parametrize("name", ["manifest.json", "sums.parquet", "vectors/layer_00.safetensors"])
def test_no_damaged_byte_of_a_finished_run_is_used(finished, tmp_path, name, figures):
    run = Path(shutil.copytree(discovery.list_runs(SUMS, finished)[0].path, tmp_path / "2026-01-01T00-00-00Z_left"))
    whole = (run / name).read_bytes()
    for damaged in damages(whole):
        (run / name).write_bytes(damaged)
        assert is_found(lambda: read_everything(run)), f"{name}: {len(damaged)} bytes"
    (run / name).write_bytes(whole)
    read_everything(run)
    figures.add("bytes flipped and files cut short", Path(name).name, n=PLACES)


def test_no_damaged_byte_of_a_part_is_used(unfinished, tmp_path, figures):
    run = Path(shutil.copytree(discovery.list_runs(SUMS, unfinished)[0].path, tmp_path / "run"))
    part = sorted((run / "parts").glob("part_*"))[2]
    whole = part.read_bytes()
    for damaged in damages(whole):
        part.write_bytes(damaged)
        store = PartStore(run, logging.getLogger("test"))
        assert len(store.rows) == 80 and not part.exists() and (run / "damaged" / part.name).read_bytes() == damaged
    part.write_bytes(whole)
    assert len(PartStore(run, logging.getLogger("test")).rows) == 100
    figures.add("bytes flipped and files cut short", "a part", n=PLACES)


@pytest.mark.parametrize("kind", ["stamp.json", "process_*.json", "*.owner"])
def test_no_damaged_byte_of_a_small_document_is_used(unfinished, tmp_path, kind, figures):
    run = Path(shutil.copytree(discovery.list_runs(SUMS, unfinished)[0].path, tmp_path / "run"))
    if kind == "*.owner":
        claim = lock_slice(run, 0, 9)
    [path] = run.rglob(kind)
    whole = read_sealed_json(path)
    for damaged in damages(path.read_bytes()):
        path.write_bytes(damaged)
        # The last of a number's seventeen digits may change without changing the number: nothing is damaged then.
        assert read_sealed_json(path) in (None, whole)
    if kind == "*.owner":
        claim.release()
    figures.add("bytes flipped and files cut short", kind, n=PLACES)


def test_no_damaged_verdict_is_used(tmp_path, figures):
    source = tmp_path / "in.jsonl"
    rows = [{"id": i, "code": f"def f(n): return n + {i}", "tests": ["assert f(1) == 2"]} for i in range(9)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out.jsonl"
    assert command("run.py", "grade", source, "--out", out).returncode == 0
    grading = Grading(source, out, read_submissions(source, None), "auto")
    for path in (grading.out, grading.meta):
        before = path.read_bytes()
        for damaged in damages(before):
            path.write_bytes(damaged)
            with pytest.raises(ConfigError, match="holds other verdicts"):
                grading.is_finished()
        path.write_bytes(before)
        assert grading.is_finished()
        figures.add("bytes flipped and files cut short", path.name, n=PLACES)


def unfinished_grading(folder: Path) -> tuple[Path, bytes]:
    """A .part file with nine verdicts, as a stopped grading leaves it."""
    source = folder / "in.jsonl"
    rows = [{"id": i, "code": f"def f(n): return n + {i % 2}", "tests": ["assert f(1) == 2"]} for i in range(12)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    grading = Grading(source, folder / "out.jsonl", read_submissions(source, None), "auto")
    verdict = {"error": None, "failed_test": None, "message": "", "cpu_s": 0.1, "wall_s": 0.1, "near_limit": False}
    lines = [grading.stamp, *({"id": i, "label": "correct" if i % 2 else "incorrect", **verdict} for i in range(9))]
    data = b"".join(map(_checked_line, lines))
    grading.part.write_bytes(data)
    return grading.part, data


def test_a_damaged_line_of_an_unfinished_grading_ends_what_is_kept(tmp_path, figures):
    _, whole = unfinished_grading(tmp_path)
    rows = _checked_rows(whole)
    assert len(rows) == 10
    for damaged in damages(whole):
        kept = _checked_rows(damaged)
        assert len(kept) < 10 and kept == rows[: len(kept)]
    figures.add("bytes flipped and files cut short", "out.jsonl.part", n=PLACES)


@pytest.mark.parametrize("place", [20, 400, 1200])
def test_an_unfinished_grading_with_damage_is_kept_aside_and_judged_again(tmp_path, place):
    part, whole = unfinished_grading(tmp_path)
    damaged = bytearray(whole)
    damaged[place] ^= 1
    part.write_bytes(damaged)
    done = command("run.py", "grade", tmp_path / "in.jsonl", "--out", tmp_path / "out.jsonl")
    assert done.returncode == 0 and "was damaged: kept as" in done.stderr
    assert (tmp_path / "out.jsonl.part.damaged").read_bytes() == damaged
    labels = [json.loads(line)["label"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert labels == ["incorrect", "correct"] * 6


@pytest.mark.parametrize("name", ["manifest.json", "sums.parquet", "vectors/layer_00.safetensors"])
def test_the_same_command_moves_a_damaged_run_aside_and_computes_it_again(finished, tmp_path, name):
    data = Path(shutil.copytree(finished, tmp_path / "data"))
    run = discovery.list_runs(SUMS, data)[0].path
    before = content(run)
    raw = bytearray((run / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (run / name).write_bytes(raw)
    assert find_damage(run) is not None if name != "manifest.json" else discovery.read_run(run, SUMS).damage
    again = run_phase(SUMS_PHASE, data)
    assert again != run and content(again) == before
    assert Path(f"{run}.damaged").is_dir() and len(discovery.list_runs(SUMS, data)) == 1


def test_a_damaged_stamp_costs_no_record(unfinished, finished, tmp_path, caplog):
    data = Path(shutil.copytree(unfinished, tmp_path / "data"))
    run = discovery.list_runs(SUMS, data)[0].path
    (run / "stamp.json").write_bytes((run / "stamp.json").read_bytes()[:100])
    assert run_phase(SUMS_PHASE, data) == run
    assert "its records say that they belong here" in caplog.text
    assert content(run) == content(discovery.list_runs(SUMS, finished)[0].path)
    [first, second] = json.loads((run / "manifest.json").read_text())["processes"]
    assert (first["n_records"], second["n_records"]) == (100, N - 100)


def test_a_damaged_note_of_a_process_costs_no_record(unfinished, finished, tmp_path, caplog):
    data = Path(shutil.copytree(unfinished, tmp_path / "data"))
    run = discovery.list_runs(SUMS, data)[0].path
    [note] = run.glob("parts/process_*.json")
    note.write_text("{")
    assert run_phase(SUMS_PHASE, data) == run
    assert f"{note.name} was damaged: moved to" in caplog.text
    shutil.rmtree(run / "damaged")
    assert content(run) == content(discovery.list_runs(SUMS, finished)[0].path)


def test_a_damaged_stamp_of_other_settings_does_not_lend_its_records(unfinished, tmp_path, caplog):
    data = Path(shutil.copytree(unfinished, tmp_path / "data"))
    run = discovery.list_runs(SUMS, data)[0].path
    (run / "stamp.json").write_text("{")
    other = run_phase(SUMS_PHASE, data, Config(power=3))
    assert other != run and "the run was moved to" in caplog.text


def test_damage_to_an_input_is_named_and_rebuilding_mends_it(finished, tmp_path):
    """Damage to an input is an error that names it and the rebuilding command mends it."""
    data = Path(shutil.copytree(finished, tmp_path / "data"))
    shutil.rmtree(data / "phase9")
    table = discovery.list_runs(NUMBERS, data)[0].path / "numbers.parquet"
    raw = bytearray(table.read_bytes())
    raw[100] ^= 4
    table.write_bytes(raw)
    with pytest.raises(ArtifactMismatchError, match=rf"{table} was changed.*\n.*phase 8"):
        run_phase(SUMS_PHASE, data)
    run_phase(NUMBERS_PHASE, data)
    assert run_phase(SUMS_PHASE, data).is_dir()


def test_a_damaged_run_that_is_in_use_is_left_alone(unfinished, tmp_path):
    data = Path(shutil.copytree(unfinished, tmp_path / "data"))
    run = discovery.list_runs(SUMS, data)[0].path
    (run / "stamp.json").write_text("{")
    claim = lock_slice(run, 0, 9)
    with pytest.raises(DamagedRunError):
        run_phase(SUMS_PHASE, data)
    claim.release()
    assert run_phase(SUMS_PHASE, data) == run
