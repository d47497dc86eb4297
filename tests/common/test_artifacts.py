"""Covers artifacts, discovery, records and phase: what is found, resumed, refused and joined."""

import dataclasses
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from common import discovery
from common.artifacts import Artifact
from common.config import PhaseConfig, setting
from common.errors import ArtifactMismatchError, ConfigError, MissingArtifactError, PipelineError
from common.files import write_atomic
from common.handoffs import Field, Handoff
from common.phase import AlreadyBuilt, Phase, RunContext
from common.records import Stopped

N = 230
NUMBERS = Handoff(
    name="numbers", phase="8", folder="phase8", version=3, scope=("dataset",),
    tables={"numbers.parquet": {"task_id": Field("int64", "id"), "square": Field("int64", "its square")}},
)  # fmt: skip
SUMS = Handoff(
    name="sums", phase="9", folder="phase9", version=1, scope=("dataset",),
    tables={"sums.parquet": {"task_id": Field("int64", "id"), "text": Field("string", "any text")}},
    tensors={"twice": "[n, 2] float32"},
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(PhaseConfig):
    dataset: str = setting("left", "which")
    power: int = setting(2, "which power")

    def experiment(self) -> dict[str, str]:
        return {"dataset": self.dataset}


def build_numbers(ctx: RunContext, config: Config) -> None:
    with ctx.write() as out:
        out.table("numbers.parquet", [{"task_id": i, "square": i**config.power} for i in range(N)])
        out.summary = {"n": N}


def build_sums(ctx: RunContext, config: Config) -> None:
    numbers = ctx.read(NUMBERS).table("numbers.parquet")
    with ctx.write() as out:
        for batch in out.batches(20):
            for i in batch:
                row = {"task_id": numbers[i]["task_id"], "text": f"näme \U0001f600 \ud83d {i}" if i % 7 else "\x00"}
                twice = np.array([i, numbers[i]["square"]], dtype=np.float32) * 2
                out.append(i, {"sums.parquet": row}, {"vectors/layer_00/twice": twice})


NUMBERS_PHASE = Phase(id="8", title="numbers", config=Config, inputs=(), output=NUMBERS, run=build_numbers)
SUMS_PHASE = Phase(
    id="9", title="sums", config=Config, inputs=(NUMBERS,), output=SUMS, run=build_sums, n_records=lambda ctx: N
)


def run_phase(phase: Phase, data: Path, config: Config | None = None, **options) -> Path:
    """Run a phase; returns its newest folder."""
    ctx = RunContext(
        phase=phase, config=config or Config(), preset="full", data_dir=data, device="cpu",
        log=logging.getLogger("test"), command=f"python3 run.py phase {phase.id}", **options,
    )  # fmt: skip
    ctx.pick_inputs()
    phase.run(ctx, ctx.config)
    return discovery.list_runs(phase.output, data)[0].path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    run_phase(NUMBERS_PHASE, tmp_path)
    return tmp_path


def stop_after(n_batches: int):
    asked = iter([False] * n_batches + [True] * 1000)
    return lambda: next(asked)


def content(folder: Path) -> dict[str, bytes]:
    """Every file that must not depend on when or how often the run was stopped."""
    skipped = {"manifest.json", "log.txt"}
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name not in skipped
    }


def test_a_finished_run_holds_what_was_written_and_nothing_else(data):
    folder = run_phase(SUMS_PHASE, data)
    assert sorted(p.name for p in folder.iterdir()) == ["log.txt", "manifest.json", "sums.parquet", "vectors"]
    artifact = Artifact(SUMS, discovery.read_run(folder, SUMS), "rebuild")
    rows = artifact.table("sums.parquet")
    assert [row["task_id"] for row in rows] == list(range(N))
    assert rows[7]["text"] == "\x00" and rows[8]["text"] == "näme \U0001f600 \\ud83d 8"
    twice = artifact.tensor("vectors/layer_00.safetensors", "twice")
    assert twice.shape == (N, 2) and twice[13].tolist() == [26, 338]
    assert artifact.tensor("vectors/layer_00.safetensors", "task_id").tolist() == list(range(N))


def test_the_manifest_says_what_made_the_artifact(data):
    manifest = json.loads((run_phase(SUMS_PHASE, data) / "manifest.json").read_text())
    assert manifest["schema_version"] == 1 and manifest["settings"] == {"power": 2}
    assert manifest["fields"]["sums.parquet"]["task_id"] == {"type": "int64", "meaning": "id"}
    assert set(manifest["inputs"]) == {"numbers"} == set(manifest["lineage"])
    assert set(manifest["files"]) == {"sums.parquet", "vectors/layer_00.safetensors"}
    assert manifest["files"]["sums.parquet"]["rows"] == N
    session = manifest["sessions"][0]
    assert session["libraries"]["numpy"] == np.__version__ and "commit" in session["code"]


@pytest.mark.parametrize("n_batches", [0, 1, 5, 11])
def test_a_stopped_run_goes_on_to_the_same_bytes(data, tmp_path_factory, n_batches):
    whole = run_phase(SUMS_PHASE, data)
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(data / "phase8", other / "phase8")
    with pytest.raises(Stopped):
        run_phase(SUMS_PHASE, other, should_stop=stop_after(n_batches))
    unfinished = discovery.list_runs(SUMS, other)[0]
    assert not unfinished.finished and discovery.n_saved(unfinished.path) == 20 * n_batches
    assert content(run_phase(SUMS_PHASE, other)) == content(whole)


def test_slices_in_any_order_join_to_the_same_bytes(data, tmp_path_factory):
    whole = run_phase(SUMS_PHASE, data)
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(data / "phase8", other / "phase8")
    for start, end in ((150, 229), (0, 33), (34, 149)):
        folder = run_phase(SUMS_PHASE, other, start=start, end=end)
    assert len(discovery.list_runs(SUMS, other)) == 1
    assert content(folder) == content(whole)


def test_a_slice_that_leaves_records_to_others_finishes_nothing(data):
    folder = run_phase(SUMS_PHASE, data, start=10, end=19)
    assert not (folder / "manifest.json").exists()
    assert discovery.n_saved(folder) == 10


def test_the_same_command_on_a_finished_run_does_nothing(data):
    folder = run_phase(SUMS_PHASE, data)
    with pytest.raises(AlreadyBuilt, match=folder.name):
        run_phase(SUMS_PHASE, data)
    assert run_phase(SUMS_PHASE, data, fresh=True) != folder


def test_other_settings_cannot_continue_an_unfinished_run(data):
    with pytest.raises(Stopped):
        run_phase(SUMS_PHASE, data, should_stop=stop_after(2))
    with pytest.raises(ArtifactMismatchError, match=r"cannot resume .*: power was 2, is 3\n.*--fresh"):
        run_phase(SUMS_PHASE, data, Config(power=3))
    assert run_phase(SUMS_PHASE, data, Config(power=3), fresh=True).is_dir()


def test_another_input_cannot_continue_an_unfinished_run(data):
    with pytest.raises(Stopped):
        run_phase(SUMS_PHASE, data, should_stop=stop_after(2))
    run_phase(NUMBERS_PHASE, data, Config(power=5))
    with pytest.raises(ArtifactMismatchError, match="input numbers was"):
        run_phase(SUMS_PHASE, data)


def test_experiments_are_never_mixed(data):
    with pytest.raises(MissingArtifactError, match=r"no finished numbers of right: .*holds left\nBuild it with"):
        run_phase(SUMS_PHASE, data, Config(dataset="right"))


def test_the_newest_finished_input_is_taken_and_input_overrides_it(data):
    old = discovery.list_runs(NUMBERS, data)[0].path
    run_phase(NUMBERS_PHASE, data, Config(power=3))
    newest = json.loads((run_phase(SUMS_PHASE, data) / "manifest.json").read_text())
    chosen = run_phase(SUMS_PHASE, data, fresh=True, given_inputs=(old / "numbers.parquet",))
    assert newest["input_paths"]["numbers"] != str(old)
    assert Path(json.loads((chosen / "manifest.json").read_text())["input_paths"]["numbers"]) == old


def test_a_new_run_is_later_than_every_other_even_if_the_clock_goes_back(data):
    future = data / "phase8" / "2999-12-31T23-59-59Z_left"
    shutil.copytree(discovery.list_runs(NUMBERS, data)[0].path, future)
    assert run_phase(NUMBERS_PHASE, data, Config(power=4)).name == "3000-01-01T00-00-00Z_left"


def test_an_unfinished_input_is_reported_with_its_count(data):
    with pytest.raises(Stopped):
        run_phase(SUMS_PHASE, data, should_stop=stop_after(2))
    with pytest.raises(MissingArtifactError, match=r"1 unfinished run \(40 of 230 records\)\nFinish it with: go"):
        discovery.find_input(SUMS, data, {"dataset": "left"}, {}, "go")


def test_a_changed_file_is_detected_before_it_is_used(data):
    path = discovery.list_runs(NUMBERS, data)[0].path / "numbers.parquet"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ArtifactMismatchError, match=r"numbers\.parquet was changed after it was built.*\nRebuild"):
        run_phase(SUMS_PHASE, data)


def test_a_foreign_schema_version_is_refused(data):
    path = discovery.list_runs(NUMBERS, data)[0].path / "manifest.json"
    path.write_text(path.read_text().replace('"schema_version": 3', '"schema_version": 2'))
    with pytest.raises(ArtifactMismatchError, match="schema version 2, this code reads version 3"):
        run_phase(SUMS_PHASE, data)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"artifact": "sums", "schema_version": 3, "experiment": {}}'])
def test_a_damaged_manifest_is_an_error_that_says_what_to_do(data, text):
    path = discovery.list_runs(NUMBERS, data)[0].path / "manifest.json"
    path.write_text(text)
    with pytest.raises(ArtifactMismatchError, match=r"manifest\.json .*\nSet the run aside with: mv"):
        run_phase(SUMS_PHASE, data)


def test_a_damaged_part_is_moved_aside_and_computed_again(data, tmp_path_factory):
    whole = run_phase(SUMS_PHASE, data)
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(data / "phase8", other / "phase8")
    with pytest.raises(Stopped):
        run_phase(SUMS_PHASE, other, should_stop=stop_after(6))
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


def test_artifacts_made_from_another_ancestor_are_not_used_together(data):
    run_phase(SUMS_PHASE, data)
    run_phase(NUMBERS_PHASE, data, Config(power=3))
    both = Phase(id="7", title="both", config=Config, inputs=(NUMBERS, SUMS), output=NUMBERS, run=build_numbers)
    with pytest.raises(ArtifactMismatchError, match="the newest sums of left was made from another numbers"):
        run_phase(both, data)


def test_autosaves_appear_while_it_runs_and_go_when_it_ends(data):
    with pytest.raises(Stopped):
        run_phase(SUMS_PHASE, data, should_stop=stop_after(11))
    folder = discovery.list_runs(SUMS, data)[0].path
    assert [p.name for p in sorted(folder.glob("autosave_*"))] == ["autosave_000100.parquet", "autosave_000200.parquet"]
    run_phase(SUMS_PHASE, data)
    assert not list(folder.glob("autosave_*"))


def test_a_slice_that_another_process_computes_is_refused_with_its_owner(data):
    folder = run_phase(SUMS_PHASE, data, start=0, end=9)
    holder = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
    holder += "from pathlib import Path; from common.locks import lock_slice\n"
    holder += f"lock = lock_slice(Path({str(folder)!r}), 5, 60); print('held', flush=True); sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(PipelineError, match=rf"records 5 to 60 are being computed by process {process.pid} on"):
        run_phase(SUMS_PHASE, data, start=40, end=90)
    assert discovery.n_saved(run_phase(SUMS_PHASE, data, start=61, end=70)) == 20
    process.kill()
    process.wait()
    assert discovery.n_saved(run_phase(SUMS_PHASE, data, start=40, end=60)) == 41


@pytest.mark.parametrize(("start", "end"), [(-1, 5), (5, 4), (0, N), (N, None)])
def test_an_impossible_slice_is_refused(data, start, end):
    with pytest.raises(ConfigError, match="is no slice of 230 records"):
        run_phase(SUMS_PHASE, data, start=start, end=end)


@pytest.mark.parametrize(("what", "message"), [("nowhere", "does not exist"), ("phase8", "is in no finished run")])
def test_an_input_that_is_no_run_is_refused(data, what, message):
    with pytest.raises(ConfigError, match=message):
        run_phase(SUMS_PHASE, data, given_inputs=(data / what,))


def test_an_input_of_another_kind_or_experiment_is_refused(data):
    sums = run_phase(SUMS_PHASE, data)
    with pytest.raises(ConfigError, match="holds 'sums'; this phase reads numbers"):
        run_phase(SUMS_PHASE, data, given_inputs=(sums,))
    numbers = discovery.list_runs(NUMBERS, data)[0].path
    with pytest.raises(ArtifactMismatchError, match="is of dataset 'left', this run is of 'right'"):
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


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    import resource

    path = tmp_path / "file"
    write_atomic(path, b"old")
    script = f"""
import resource, signal, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from common.files import write_atomic
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
write_atomic(Path({str(path)!r}), b"x" * 1000)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "File too large" in done.stderr and resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100
    assert os.listdir(tmp_path) == ["file"] and path.read_bytes() == b"old"
