"""Covers artifacts, checkpoints, records, locks and files: what is written, resumed, joined and refused."""

import dataclasses
import json
import logging
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from support import ROOT
from toy_phases import NUMBERS_PHASE, SUMS, SUMS_PHASE, N, content, run_phase, stop_after

from common.files import write_atomic
from common.handoffs import Field
from common.runs import discovery
from common.runs.artifacts import AlreadyBuilt, Artifact
from common.runs.records import RecordWriter
from common.stopping import Stopped, StopRequest
from common.tables import columns_from_parquet, columns_to_parquet, rows_where, to_parquet


@pytest.fixture
def data(tmp_path: Path) -> Path:
    run_phase(NUMBERS_PHASE, tmp_path)
    return tmp_path


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
    session = manifest["processes"][0]
    assert session["libraries"]["numpy"] == np.__version__ and "commit" in session["code"]


@pytest.mark.parametrize("n_batches", [0, 1, 5, 11])
def test_a_stopped_run_goes_on_to_the_same_bytes(data, tmp_path_factory, n_batches):
    whole = run_phase(SUMS_PHASE, data)
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(data / "phase8", other / "phase8")
    with pytest.raises(Stopped):
        run_phase(SUMS_PHASE, other, stop=stop_after(n_batches))
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


def test_a_run_that_another_process_finished_meanwhile_is_left_as_it_is(data):
    folder = run_phase(SUMS_PHASE, data)
    before = content(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    identity = {key: manifest[key] for key in ("artifact", "experiment", "n_records")}
    with pytest.raises(AlreadyBuilt):
        RecordWriter(SUMS, folder, identity, {}, logging.getLogger("t"), start=0, end=None, stop=StopRequest())
    assert content(folder) == before


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path):

    path = tmp_path / "file"
    write_atomic(path, b"old")
    script = f"""
import resource, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from common.files import write_atomic
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
write_atomic(Path({str(path)!r}), b"x" * 1000)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "File too large" in done.stderr and resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100
    assert os.listdir(tmp_path) == ["file"] and path.read_bytes() == b"old"


def test_every_record_has_a_process_that_accounts_for_it_even_after_a_kill(data):
    writer = f"""
import os, sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
from pathlib import Path
import toy_phases
from common.runs.records import RecordWriter
save = RecordWriter.save
def save_and_die(self):
    save(self)
    if self._n_appended >= 60:
        os.kill(os.getpid(), 9)
RecordWriter.save = save_and_die
toy_phases.run_phase(toy_phases.SUMS_PHASE, Path({str(data)!r}))
"""
    assert subprocess.run([sys.executable, "-c", writer]).returncode == -9
    manifest = json.loads((run_phase(SUMS_PHASE, data) / "manifest.json").read_text())
    assert sorted(process["n_records"] for process in manifest["processes"]) == [60, N - 60]


def test_a_table_of_arrays_is_the_table_of_its_rows():
    fields = {"layer": Field("int64", "which"), "rate": Field("float64", "share")}
    rows = [{"layer": layer, "rate": layer / 7} for layer in range(20)]
    columns = {"layer": np.arange(20), "rate": np.arange(20) / 7}
    assert columns_to_parquet(columns, fields) == to_parquet(rows, fields)
    assert columns_from_parquet(to_parquet(rows, fields))["rate"].tolist() == columns["rate"].tolist()
    with pytest.raises(KeyError, match="rate"):
        columns_to_parquet({"layer": np.arange(20)}, fields)


def test_rows_of_one_value_are_read_from_every_group_of_rows(tmp_path):
    layer, latent = np.repeat(np.arange(3), 400), np.tile(np.arange(400), 3)
    table = pyarrow.table({"layer": layer, "latent": latent, "rate": latent / 7, "kept": latent % 2 == 0})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet", row_group_size=300)
    found = rows_where(tmp_path / "t.parquet", "layer", 1)
    assert {name: values.dtype.kind for name, values in found.items()} == dict(
        layer="i", latent="i", rate="f", kept="b"
    )
    assert found["latent"].tolist() == list(range(400)) and set(found["layer"]) == {1}
    assert found["rate"].tolist() == (np.arange(400) / 7).tolist()
    assert {len(values) for values in rows_where(tmp_path / "t.parquet", "layer", 9).values()} == {0}


def test_whoever_joins_writes_what_follows_from_all_records(data):
    """What follows from all records is written at the join by whichever process joins."""
    schema = dataclasses.replace(
        SUMS,
        name="halves",
        folder="phase6",
        tables={"half_*.parquet": SUMS.tables["sums.parquet"], "total.parquet": {"total": Field("int64", "sum")}},
    )

    def run(ctx, config):
        with ctx.write() as out:
            out.conclude = lambda: out.table("total.parquet", [{"total": total_of(out)}])
            for batch in out.batches(20):
                for i in batch:
                    row = {"task_id": i, "text": str(i)}
                    out.append(i, {f"half_{i % 2}.parquet": row}, {"v/twice": np.array([2.0 * i])})

    def total_of(out):
        assert [row["task_id"] for row in out.joined_rows()] == list(range(N))
        return int(out.joined_tensor("v/twice").sum())

    phase = dataclasses.replace(SUMS_PHASE, output=schema, run=run)
    whole = run_phase(phase, data)
    artifact = Artifact(schema, discovery.read_run(whole, schema), "rebuild")
    assert [row["task_id"] for row in artifact.table("half_1.parquet")] == list(range(1, N, 2))
    assert artifact.n_rows("half_0.parquet") == N // 2
    assert artifact.table("total.parquet") == [{"total": N * (N - 1)}]
    expected = content(whole)
    for start, end in ((100, 229), (0, 99)):
        folder = run_phase(phase, data, start=start, end=end, fresh=start == 100)
    assert folder != whole and content(folder) == expected
