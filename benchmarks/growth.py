"""How time and memory of phases 1, 2 and 3.3 grow: with the number of problems, and phase 2 with that of latents.

    python -m benchmarks growth

1. The same problems of the organism, 1, 2, 4 and 8 times over, are a dataset each; the same latents of its SAEs, 2, 4
   and 8 times over, are SAEs of their own.
2. Each run is a process of its own, forked from this one, which has imported the libraries and done nothing else: its
   seconds are those on the clock until it ends, without the libraries' imports, which would hide how the rest grows;
   its memory is the most that the process ever held, as the kernel counts it, libraries included.
3. Every size is run in every round, in alternating order. Memory is compared without what a process holds that does
   nothing. Batches are small enough for the smallest dataset to fill two: with one that is not full, memory would
   seem to grow. What must be there before a phase can run is made beforehand, by processes that nobody measures.
"""

import contextlib
import dataclasses
import json
import math
import os
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors.torch import load_file, save_file

import run
from benchmarks.rounds import row_of
from benchmarks.rows import Row
from common.model.registry import MODELS
from common.problems.datasets import ORGANISM_FILE
from common.provenance import ROOT

NAME = "Growth"
LAYERS = (0, 1, 2)  # of the SAEs whose latents are multiplied
SPLIT, QUICK_SPLIT = "0.6,0.1,0.3", "0.8,0.1,0.1"  # phase 2 compares ten problems of each label at least
N_DOCUMENTS, QUICK_DOCUMENTS = 128, 64  # of general text
MOST_TOKENS, QUICK_TOKENS = 120, 60  # some steered programs never end by themselves
CHOICE = ["--problems", "2", "--directions", "steer_incorrect", "--coefficients", "0.1"]  # has a control in each size
STEERED = ["--problems", "0", "--n-controls", "1"]


@dataclasses.dataclass
class Series:
    """One phase at several sizes: `words[size]` is what is typed after its name."""

    phase: str
    what: str
    words: dict[int, list[str]]
    counts: dict[int, int]
    before: list[tuple[str, list[str]]] = dataclasses.field(default_factory=list)  # phases run once, not measured
    seconds: dict[int, list[float]] = dataclasses.field(default_factory=dict)
    mib: dict[int, list[float]] = dataclasses.field(default_factory=dict)

    def run(self, sizes: Sequence[int]) -> None:
        for size in sizes:
            used = run_phase(self.phase, [*self.words[size], "--fresh"])
            self.seconds.setdefault(size, []).append(used.clock)
            self.mib.setdefault(size, []).append(used.mib)


def measure(rounds: int, quick: bool) -> list[Row]:
    import_libraries()
    with tempfile.TemporaryDirectory() as name:
        if quick:
            series = prepare(Path(name), 40, sizes=(1, 2), copies=(1, 2), batch_size=40, quick=True)
        else:
            series = prepare(Path(name), 64, sizes=(1, 2, 4, 8), copies=(2, 4, 8), batch_size=32)
        for number in range(1 if quick else rounds):
            for one in series:
                for phase, words in one.before if number == 0 else ():
                    run_phase(phase, words)
                one.run(sorted(one.words, reverse=number % 2 == 1))
        idle = run_phase("", []).mib
    return [row for one in series for row in rows_of(one, idle)]


def import_libraries() -> None:
    """All that the measured phases import: the processes that are forked from this one have it already."""
    import matplotlib.figure  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import sae_lens  # noqa: F401
    import scipy.stats  # noqa: F401
    import transformers  # noqa: F401

    import common.interventions.steered_programs  # noqa: F401

    for phase_id in run.PHASES:
        run.CATALOGUE.phase(phase_id)


class Used(NamedTuple):
    """What a process took: seconds of processors, seconds on the clock, the most memory that it held [MiB]."""

    processor: float
    clock: float
    mib: float


def run_phase(phase: str, words: list[str]) -> Used:
    """What one run of a phase of the demo takes in a process of its own; no phase: a list of all phases."""
    with tempfile.TemporaryFile("w+") as said:
        began = time.perf_counter()
        process = os.fork()
        if process == 0:
            flags = ["--preset", "demo", "--device", "cpu"] if phase else []
            _be_the_phase(["phase", *([phase] if phase else []), *flags, *words], said.fileno())
        _, status, usage = os.wait4(process, 0)
        seconds = time.perf_counter() - began
        if status:
            said.seek(0)
            raise RuntimeError(f"phase {phase} {' '.join(words)} failed:\n{said.read()[-3000:]}")
    per_mib = 2**20 if sys.platform == "darwin" else 2**10  # there the kernel counts bytes, elsewhere KiB
    return Used(usage.ru_utime + usage.ru_stime, seconds, usage.ru_maxrss / per_mib)


def _be_the_phase(argv: list[str], said: int) -> None:
    """In the forked process, which never comes back from here."""
    status = 1
    try:
        os.dup2(said, 1)
        os.dup2(said, 2)
        status = run.main(argv)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(status)


def prepare(
    folder: Path, n: int, sizes: Sequence[int], copies: Sequence[int], batch_size: int, quick: bool = False
) -> list[Series]:
    """Datasets of `n` problems and more, SAEs, and what the phases read besides, for runs in this order."""
    data, batches = ["--data-dir", str(folder / "data")], ["--batch-size", str(batch_size)]
    short = ["--max-new-tokens", str(QUICK_TOKENS if quick else MOST_TOKENS)]
    of_size, of_latents, n_latents = {}, {}, {}
    for size in sizes:
        of_size[size] = [*data, "--dataset", str(write_problems(folder, n, size))]
        run_phase("0", of_size[size])
        run_phase("0.1", [*of_size[size], "--fractions", QUICK_SPLIT if quick else SPLIT])
    run_phase("1.1", [*data, "--documents", str(QUICK_DOCUMENTS if quick else N_DOCUMENTS)])
    for k in copies:
        saes, n_latents[k] = write_saes(folder / f"saes_{k}", k)
        of_latents[k] = [*of_size[max(sizes)], "--sae", str(saes), "--layers", ",".join(map(str, LAYERS))]
    counts = {size: n * size for size in sizes}
    programs = {size: [*words, *batches] for size, words in of_size.items()}
    written = {size: [*words, *(short if quick else [])] for size, words in programs.items()}
    steered = {size: [*words, *short, *STEERED] for size, words in programs.items()}
    choices = [("3.2", [*words, *short, *CHOICE]) for words in programs.values()]
    return [
        Series("1", "problems", written, counts),
        Series("2", "problems", of_size, counts),
        Series("2", "latents", of_latents, n_latents),
        Series("3.3", "problems", steered, counts, choices),
    ]


def write_problems(folder: Path, n: int, times: int) -> Path:
    """`n` problems of the organism, `times` over: half of them easy, so that it solves some and fails others."""
    rows = [json.loads(line) for line in ORGANISM_FILE.read_text().splitlines()]
    groups = [[row for row in rows if (row["n_operations"] > 3) == is_hard] for is_hard in (False, True)]
    chosen = [group[i * len(group) // (n // 2)] for i in range(n // 2) for group in groups]
    path = folder / f"problems_{times}.jsonl"
    lines = (json.dumps({**row, "task_id": number}) for number, row in enumerate(chosen * times, start=1))
    path.write_text("\n".join(lines) + "\n")
    return path


def write_saes(folder: Path, times: int) -> tuple[Path, int]:
    """The organism's SAEs of some layers with every latent `times` over, each writing its share; and their latents."""
    n_latents = 0
    for layer in LAYERS:
        source, target = ROOT / str(MODELS["organism"].sae_folder) / f"layer_{layer}", folder / f"layer_{layer}"
        target.mkdir(parents=True)
        weights = load_file(source / "sae_weights.safetensors")
        repeated = {name: weights[name].tile(times) for name in ("W_enc", "b_enc", "threshold")}
        W_dec = weights["W_dec"].tile(times, 1) / times
        save_file({**weights, **repeated, "W_dec": W_dec}, target / "sae_weights.safetensors")
        config = json.loads((source / "cfg.json").read_text())
        (target / "cfg.json").write_text(json.dumps({**config, "d_sae": len(W_dec)}))
        n_latents += len(W_dec)
    return folder, n_latents


def rows_of(one: Series, idle: float) -> list[Row]:
    """The slope of time, and the peak memory of the largest size beside that of the smallest, without `idle` MiB."""
    sizes = sorted(one.words)
    first, last = sizes[0], sizes[-1]
    times = one.counts[last] / one.counts[first]
    counts = [math.log(one.counts[size]) for size in sizes]
    rounds = [[one.seconds[size][number] for size in sizes] for number in range(len(one.seconds[first]))]
    slopes = [float(np.polyfit(counts, np.log(seconds), 1)[0]) for seconds in rounds]
    memory = [(b - idle) / (a - idle) for a, b in zip(one.mib[first], one.mib[last], strict=True)]
    what = f"{one.counts[first]:,} to {one.counts[last]:,} {one.what}"
    medians = [statistics.median(one.seconds[size]) for size in sizes]
    seconds = ", ".join(f"{median:.3g}" for median in medians)
    doubling = math.log2(medians[-1] / medians[-2])
    mib = ", ".join(f"{statistics.median(one.mib[size]):.0f}" for size in sizes)
    took = f"{what}: {seconds} s; slope of the last doubling {doubling:.2f}"
    space = dict(goal="<= 1.1" if one.what == "problems" else "", text=f"{what}: {mib} MiB; idle {idle:.0f} MiB")
    at_most = f"phase {one.phase}, peak memory at {times:g}x {one.what}"
    log_n = f"log number of {one.what}"
    return [
        row_of(f"phase {one.phase}, slope of log time", log_n, slopes, goal="<= 1.1", text=took),
        row_of(at_most, "1x, both less an idle process", memory, **space),
    ]
