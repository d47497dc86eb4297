"""How fast activations are kept and found again, beside one npz for each problem and layer.

    python -m benchmarks store

The same vectors, of Gemma-2-2b's shape on MBPP (974 problems, 26 layers, 2,304 numbers), are written and read in two
ways:

1. As a phase does it: records in parts of 50, joined to one file for each layer, every file brought to the disk before
   the next, since a run may be killed at any time; then a layer at a time is read, its SHA-256 checked.
2. As the original project did it: one compressed npz for each problem and layer, which nothing checks and nothing
   brings to the disk; then all of a layer are opened one by one.
"""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rounds import Rounds, alternate, row_of
from benchmarks.rows import Row
from common.files import write_sealed_json
from common.handoffs import GENERATIONS
from common.npz.layout import npz_bytes, npz_path
from common.runs import discovery
from common.runs.artifacts import Artifact
from common.runs.records import RecordWriter
from common.stopping import StopRequest

NAME = "Activation store"
OURS, NPZ = "parts and artifact", "npz per vector"
BATCH = 64  # problems that a phase has in hand at a time
EMPTY = {"int64": 0, "float64": 0.0, "string": "", "bool": False}
LOG = logging.getLogger("benchmarks")


def measure(rounds: int, quick: bool) -> list[Row]:
    n, n_layers, d_model = (60, 3, 64) if quick else (974, 26, 2304)
    resid = np.random.default_rng(0).standard_normal((n, n_layers, d_model), dtype=np.float32)
    writers, readers = {OURS: write_run, NPZ: write_npz}, {OURS: read_run, NPZ: read_npz}
    seconds: dict[str, dict[str, list[float]]] = {verb: {name: [] for name in writers} for verb in ("write", "read")}
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder:  # a new one in each round; to remove the last one takes no time

            def write(name: str, folder: str = folder) -> None:
                writers[name](Path(folder, name), resid)

            def read(name: str, folder: str = folder) -> None:
                for layer, found in enumerate(readers[name](Path(folder, name), n_layers, n)):
                    assert np.array_equal(found[-1], resid[-1, layer]), f"{name}: another vector in layer {layer}"

            names = list(writers) if number % 2 == 0 else list(reversed(writers))
            for verb, act in (("write", write), ("read", read)):
                found = alternate({name: lambda _number, act=act, name=name: act(name) for name in names}, 1)
                for name, took in found.seconds.items():
                    seconds[verb][name] += took
            sizes = ", ".join(f"{name} {size_of(Path(folder, name))}" for name in writers)
    rows = []
    for verb, of_verb in seconds.items():
        found = Rounds(of_verb)
        text = f"{found.median(OURS):.3g} s beside {found.median(NPZ):.3g} s; {n:,} x {n_layers} vectors of {d_model:,}"
        text += f"; on disk: {sizes}" if verb == "write" else "; with the SHA-256 of every file, and without"
        what = f"activation store, {verb} all layers"
        npz = "one compressed npz per vector, as the original"
        rows.append(row_of(what, npz, found.times_as_fast(OURS, NPZ), text=text))
    return rows


def write_run(data: Path, resid: np.ndarray) -> None:
    """A finished run of phase 1, of whose rows only the numbers of the problems matter here."""
    experiment = {"model": "benchmark", "dataset": "benchmark"}
    identity = {"artifact": GENERATIONS.name, "phase": GENERATIONS.phase, "schema_version": GENERATIONS.version}
    identity |= {"experiment": experiment, "settings": {}, "inputs": {}, "lineage": {}, "n_records": len(resid)}
    details = {"command": "", "preset": "", "all_settings": {}}
    path = data / GENERATIONS.folder / discovery.new_run_name(GENERATIONS, data, experiment)
    write_sealed_json(path / discovery.STAMP, {**identity, **details})
    fields = GENERATIONS.tables["dataset.parquet"]
    blank: dict[str, Any] = {name: EMPTY.get(field.type, []) for name, field in fields.items()}
    with RecordWriter(GENERATIONS, path, identity, details, LOG, start=0, end=None, stop=StopRequest()) as out:
        for batch in out.batches(BATCH):
            for index in batch:
                vectors = {f"activations/layer_{layer:02d}/resid_post": v for layer, v in enumerate(resid[index])}
                out.append(index, {"dataset.parquet": {**blank, "task_id": index}}, vectors)


def read_run(data: Path, n_layers: int, _n: int) -> Iterator[np.ndarray]:
    """All vectors of each layer, [n, d_model]."""
    artifact = Artifact(GENERATIONS, discovery.list_runs(GENERATIONS, data)[0], rebuild="")
    for layer in range(n_layers):
        yield artifact.tensor(f"activations/layer_{layer:02d}.safetensors", "resid_post")


def write_npz(folder: Path, resid: np.ndarray) -> None:
    (folder / npz_path("correct", 0, 1)).parent.mkdir(parents=True)
    for index, layers in enumerate(resid):
        for layer, vector in enumerate(layers):
            (folder / npz_path("correct", index, layer + 1)).write_bytes(npz_bytes(layer + 1, vector))


def read_npz(folder: Path, n_layers: int, n: int) -> Iterator[np.ndarray]:
    """All vectors of each layer, [n, d_model]."""
    for layer in range(n_layers):
        yield np.stack([np.load(folder / npz_path("correct", i, layer + 1))[f"layer_{layer + 1}"][0] for i in range(n)])


def size_of(folder: Path) -> str:
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return f"{len(sizes):,} files of {sum(sizes) / 2**20:,.0f} MiB"
