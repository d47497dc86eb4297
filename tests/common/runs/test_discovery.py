"""Covers discovery and the choices of phase.py: which runs are read, continued, passed over and refused."""

import contextlib
import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import ROOT
from toy_phases import NUMBERS, NUMBERS_PHASE, OTHER, SUMS, SUMS_PHASE, Config, N, content, run_phase, stop_after

from common.errors import ArtifactMismatchError, ConfigError, MissingArtifactError, PipelineError
from common.phases.phase import Phase
from common.report.status import status_lines
from common.runs import discovery
from common.stopping import Stopped


@pytest.fixture
def data(tmp_path: Path) -> Path:
    run_phase(NUMBERS_PHASE, tmp_path)
    return tmp_path


def test_a_run_that_somebody_works_on_is_running_and_not_to_be_continued(data):
    with pytest.raises(Stopped):
        run_phase(SUMS_PHASE, data, stop=stop_after(2))
    [unfinished] = [line for line in status_lines((NUMBERS, SUMS), data) if line.state == "unfinished"]
    assert unfinished.command
    words = (
        "import sys, pathlib, common.runs.locks as l; l.lock_slice(pathlib.Path(sys.argv[1]), 0, 9); print(); input()"
    )
    typed = [sys.executable, "-c", words, str(unfinished.path)]
    with subprocess.Popen(typed, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout and owner.stdout.readline() == "\n"
        [running] = [line for line in status_lines((NUMBERS, SUMS), data) if line.state == "running"]
        assert f"process {owner.pid} on " in running.detail and running.command is None
        owner.communicate("\n")


def test_other_settings_cannot_continue_an_unfinished_run(data):
    with pytest.raises(Stopped):
        run_phase(SUMS_PHASE, data, stop=stop_after(2))
    with pytest.raises(ArtifactMismatchError, match=r"cannot resume .*: power was 2, is 3\n.*--fresh"):
        run_phase(SUMS_PHASE, data, Config(power=3))
    assert run_phase(SUMS_PHASE, data, Config(power=3), fresh=True).is_dir()


def test_another_input_cannot_continue_an_unfinished_run(data):
    with pytest.raises(Stopped):
        run_phase(SUMS_PHASE, data, stop=stop_after(2))
    run_phase(NUMBERS_PHASE, data, Config(power=5))
    with pytest.raises(ArtifactMismatchError, match="input numbers was"):
        run_phase(SUMS_PHASE, data)


def test_experiments_are_never_mixed(data):
    with pytest.raises(MissingArtifactError, match=r"no finished numbers of right\b.*\bleft\n.*python3 run\.py"):
        run_phase(SUMS_PHASE, data, Config(dataset="right"))


def test_the_newest_finished_input_is_taken_and_input_overrides_it(data):
    old = discovery.list_runs(NUMBERS, data)[0].path
    run_phase(NUMBERS_PHASE, data, Config(power=3))
    newest = json.loads((run_phase(SUMS_PHASE, data) / "manifest.json").read_text())
    chosen = run_phase(SUMS_PHASE, data, fresh=True, given_inputs=(old / "numbers.parquet",))
    assert newest["input_paths"]["numbers"] != str(old)
    assert Path(json.loads((chosen / "manifest.json").read_text())["input_paths"]["numbers"]) == old


def test_a_new_run_is_later_even_if_the_clock_goes_back(data):
    """A new run is later than every other even if the clock goes back."""
    future = data / "phase8" / "2999-12-31T23-59-59Z_left"
    shutil.copytree(discovery.list_runs(NUMBERS, data)[0].path, future)
    assert run_phase(NUMBERS_PHASE, data, Config(power=4)).name == "3000-01-01T00-00-00Z_left"


def test_an_unfinished_input_is_reported_with_its_count(data):
    with pytest.raises(Stopped):
        run_phase(SUMS_PHASE, data, stop=stop_after(2))
    with pytest.raises(
        MissingArtifactError, match=r"1 unfinished run \(40 of 230 records\)\n.*python3 run\.py phase 9"
    ):
        discovery.find_input(SUMS, data, {"dataset": "left"}, {}, "go")


def test_a_changed_file_is_detected_before_it_is_used(data):
    path = discovery.list_runs(NUMBERS, data)[0].path / "numbers.parquet"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ArtifactMismatchError, match=r"numbers\.parquet was changed.*\n.*--fresh"):
        run_phase(SUMS_PHASE, data)


def test_a_foreign_schema_version_is_refused(data):
    path = discovery.list_runs(NUMBERS, data)[0].path / "manifest.json"
    path.write_text(path.read_text().replace('"schema_version": 3', '"schema_version": 2'))
    with pytest.raises(ArtifactMismatchError, match=r"schema version 2, .*version 3\b.*\n.*--fresh"):
        run_phase(SUMS_PHASE, data)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"artifact": "sums", "schema_version": 3, "experiment": {}}'])
def test_a_damaged_manifest_is_an_error_that_says_what_to_do(data, text):
    path = discovery.list_runs(NUMBERS, data)[0].path / "manifest.json"
    path.write_text(text)
    with pytest.raises(ArtifactMismatchError, match=r"manifest\.json .*\n.*: mv "):
        run_phase(SUMS_PHASE, data)


def test_a_damaged_part_is_moved_aside_and_computed_again(data, tmp_path_factory):
    whole = run_phase(SUMS_PHASE, data)
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(data / "phase8", other / "phase8")
    with pytest.raises(Stopped):
        run_phase(SUMS_PHASE, other, stop=stop_after(6))
    parts = sorted(discovery.list_runs(SUMS, other)[0].path.glob("parts/part_*"))
    parts[0].write_bytes(parts[0].read_bytes()[:-9])
    raw = bytearray(parts[1].read_bytes())
    raw[-1] ^= 64
    parts[1].write_bytes(raw)
    folder = run_phase(SUMS_PHASE, other)
    damaged = folder / "damaged"
    assert {p.name for p in damaged.iterdir()} == {parts[0].name, parts[1].name}
    shutil.rmtree(damaged)
    assert content(folder) == content(whole)


@pytest.mark.parametrize("inputs", [(NUMBERS, SUMS), (SUMS, NUMBERS)], ids=["numbers first", "sums first"])
def test_artifacts_made_from_another_ancestor_are_not_used_together(data, inputs):
    run_phase(SUMS_PHASE, data)
    run_phase(NUMBERS_PHASE, data, Config(power=3))
    taken = []
    both = Phase(id="7", title="both", config=Config, inputs=inputs, output=OTHER, run=lambda ctx, _: taken.append(ctx))
    if inputs[0] is SUMS:  # then the numbers that the sums were made from are found, though newer ones exist
        with contextlib.suppress(IndexError):
            run_phase(both, data)
        old = discovery.list_runs(NUMBERS, data)[-1]
        assert taken[0].artifacts["numbers"].path == old.path
        assert "made from the same artifacts" in taken[0].reasons["numbers"]
    else:
        with pytest.raises(ArtifactMismatchError, match=r"sums of left .*another numbers .*\n.*--fresh"):
            run_phase(both, data)


def test_named_inputs_of_different_ancestry_are_refused(data):
    sums = run_phase(SUMS_PHASE, data)
    newer = run_phase(NUMBERS_PHASE, data, Config(power=3))
    for inputs in ((NUMBERS, SUMS), (SUMS, NUMBERS)):
        both = Phase(id="7", title="both", config=Config, inputs=inputs, output=OTHER, run=lambda ctx, config: None)
        with pytest.raises(ArtifactMismatchError, match=r"from another numbers .*\n.*--fresh"):
            run_phase(both, data, given_inputs=(sums, newer))


def test_an_unfinished_run_that_is_older_than_a_finished_one_is_not_resumed(data):
    with pytest.raises(Stopped):
        run_phase(SUMS_PHASE, data, stop=stop_after(2))
    abandoned = discovery.list_runs(SUMS, data)[0].path
    other = run_phase(SUMS_PHASE, data, Config(power=3), fresh=True)
    again = run_phase(SUMS_PHASE, data)
    assert again not in (abandoned, other) and again.name > other.name


def test_an_attempt_that_saved_nothing_is_not_in_the_way(data):
    with pytest.raises(Stopped):
        run_phase(SUMS_PHASE, data, Config(power=3), stop=stop_after(0))
    assert len(discovery.list_runs(SUMS, data)) == 1
    run_phase(SUMS_PHASE, data)
    assert [run.finished for run in discovery.list_runs(SUMS, data)] == [True]


def test_a_damaged_run_of_another_experiment_is_not_in_the_way(data):
    """A damaged run of another experiment is not in the way and the advice helps."""
    other = run_phase(NUMBERS_PHASE, data, Config(dataset="right"))
    (other / "manifest.json").write_text("{")
    assert run_phase(SUMS_PHASE, data).is_dir()
    with pytest.raises(ArtifactMismatchError) as caught:
        run_phase(SUMS_PHASE, data, Config(dataset="right"))
    subprocess.run(str(caught.value).split("aside with: ")[1], shell=True, check=True)
    with pytest.raises(MissingArtifactError, match="no finished numbers of right"):
        run_phase(SUMS_PHASE, data, Config(dataset="right"))


@pytest.mark.parametrize("key", ["experiment", "lineage", "settings", "files", "content_sha256", "command"])
def test_a_manifest_with_a_missing_entry_is_damaged(data, key):
    path = discovery.list_runs(NUMBERS, data)[0].path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: None}))
    with pytest.raises(ArtifactMismatchError, match=rf"manifest\.json .*'{key}'.*\n.*: mv "):
        run_phase(SUMS_PHASE, data)


def test_a_folder_whose_name_is_no_time_is_ignored(data):
    (data / "phase8" / "2026-13-45T99-99-99Z_left").mkdir()
    assert run_phase(SUMS_PHASE, data).is_dir()


def test_half_a_file_of_a_killed_join_does_not_stay_in_the_artifact(data):
    with pytest.raises(Stopped):
        run_phase(SUMS_PHASE, data, stop=stop_after(2))
    folder = discovery.list_runs(SUMS, data)[0].path
    (folder / "vectors").mkdir()
    (folder / "vectors" / ".layer_00.safetensors.4711.tmp").write_bytes(b"half")
    assert not list(run_phase(SUMS_PHASE, data).rglob("*.tmp"))


def test_autosaves_appear_while_it_runs_and_go_when_it_ends(data):
    with pytest.raises(Stopped):
        run_phase(SUMS_PHASE, data, stop=stop_after(11))
    folder = discovery.list_runs(SUMS, data)[0].path
    assert [p.name for p in sorted(folder.glob("autosave_*"))] == ["autosave_000100.parquet", "autosave_000200.parquet"]
    run_phase(SUMS_PHASE, data)
    assert not list(folder.glob("autosave_*"))


def test_a_slice_that_another_process_computes_is_refused_with_its_owner(data):
    folder = run_phase(SUMS_PHASE, data, start=0, end=9)
    holder = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    holder += "from pathlib import Path; from common.runs.locks import lock_slice\n"
    holder += f"lock = lock_slice(Path({str(folder)!r}), 5, 60); print('held', flush=True); sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(PipelineError, match=rf"records 5 to 60 .*process {process.pid} on"):
        run_phase(SUMS_PHASE, data, start=40, end=90)
    assert discovery.n_saved(run_phase(SUMS_PHASE, data, start=61, end=70)) == 20
    process.kill()
    process.wait()
    assert discovery.n_saved(run_phase(SUMS_PHASE, data, start=40, end=60)) == 41


@pytest.mark.parametrize(("start", "end"), [(-1, 5), (5, 4), (0, N), (N, None)])
def test_an_impossible_slice_is_refused(data, start, end):
    with pytest.raises(ConfigError, match=rf"--start {start} --end .* 230 records\n.*229"):
        run_phase(SUMS_PHASE, data, start=start, end=end)


@pytest.mark.parametrize(("what", "message"), [("nowhere", "does not exist"), ("phase8", "no finished run")])
def test_an_input_that_is_no_run_is_refused(data, what, message):
    with pytest.raises(ConfigError, match=rf"--input .*/{what} .*{message}.*\n.*numbers"):
        run_phase(SUMS_PHASE, data, given_inputs=(data / what,))


def test_an_input_of_another_kind_or_experiment_is_refused(data):
    sums = run_phase(SUMS_PHASE, data)
    with pytest.raises(ConfigError, match=r"--input .*'sums'.* numbers\n"):
        run_phase(SUMS_PHASE, data, given_inputs=(sums,))
    numbers = discovery.list_runs(NUMBERS, data)[0].path
    with pytest.raises(ArtifactMismatchError, match=r"dataset 'left'.*'right'\n.*--dataset"):
        run_phase(SUMS_PHASE, data, Config(dataset="right"), given_inputs=(numbers,))


def test_a_failing_phase_leaves_an_unfinished_run_and_its_records(data):
    def broken(ctx, config):
        with ctx.write() as out:
            out.append(
                3, {"sums.parquet": {"task_id": 3, "text": ""}}, {"vectors/layer_00/twice": np.zeros(2, np.float32)}
            )
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_phase(dataclasses.replace(SUMS_PHASE, run=broken), data)
    run = discovery.list_runs(SUMS, data)[0]
    assert not run.finished and discovery.n_saved(run.path) == 1


def test_a_run_that_lost_its_manifest_is_not_invisible(data):
    (discovery.list_runs(NUMBERS, data)[0].path / "manifest.json").unlink()
    with pytest.raises(ArtifactMismatchError, match=r"lost its manifest\.json\n.*: mv "):
        run_phase(SUMS_PHASE, data)


def test_a_file_that_is_gone_or_shorter_is_noticed_before_it_is_read(data):
    table = discovery.list_runs(NUMBERS, data)[0].path / "numbers.parquet"
    table.write_bytes(table.read_bytes()[:-1])
    with pytest.raises(ArtifactMismatchError, match=r"numbers\.parquet was changed.* \d+ bytes.* \d+\n.*: mv "):
        run_phase(SUMS_PHASE, data)
    table.unlink()
    with pytest.raises(ArtifactMismatchError, match=r"numbers\.parquet is gone.*\n.*: mv "):
        run_phase(SUMS_PHASE, data)


def test_a_stranger_among_the_parts_is_left_alone(data):
    with pytest.raises(Stopped):
        run_phase(SUMS_PHASE, data, stop=stop_after(2))
    (discovery.list_runs(SUMS, data)[0].path / "parts" / "part_junk.safetensors").write_bytes(b"junk")
    assert discovery.n_saved(discovery.list_runs(SUMS, data)[0].path) == 40
    assert run_phase(SUMS_PHASE, data).is_dir()


def test_a_manifest_of_another_version_may_lack_everything_else(data):
    path = discovery.list_runs(NUMBERS, data)[0].path / "manifest.json"
    kept = {key: json.loads(path.read_text())[key] for key in ("artifact", "experiment", "command")}
    path.write_text(json.dumps({**kept, "schema_version": 2}))
    with pytest.raises(ArtifactMismatchError, match=r"schema version 2, .*version 3\b.*\n.*--fresh"):
        run_phase(SUMS_PHASE, data)
    line = status_lines((NUMBERS, SUMS), data)[0]
    assert (line.state, line.detail) == ("stale", "schema version 2, the code has 3")
