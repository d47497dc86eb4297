"""Circuits of errors (phase 6): time and memory that each phase takes for one contrast.

    python -m benchmarks errors
    NATURAL=folder python -m benchmarks errors      # qwen-coder of that folder too, where no dictionary is needed

Pairs and the gate are made beforehand. Then each phase runs in a process of its own, as in growth.py, with the settings
of the demo: seconds are the processor's, so that what else runs on the machine does not count; memory is the most that
the process ever held, beside one that does nothing.
"""

import os
import statistics
import tempfile
from pathlib import Path

from benchmarks.growth import Used, import_libraries, run_phase
from benchmarks.rows import Row

NAME = "Circuits of errors (phase 6)"
QWEN_CODER, CONTRAST = "qwen-coder", "IndexError/KeyError"
OF_LATENTS, OF_MODELS = ("6.3", "6.4"), ("6.2", "6.4b")  # the others need no dictionary
QUICK = {  # what is typed after a phase
    "6.2": ["--n-pairs", "2", "--n-heads", "1", "--other-shapes", "0"],
    "6.3": ["--n-pairs", "2", "--n-exact", "1", "--n-points", "2"],
    "6.4": "--n-pairs 2 --sizes 20 --ablations resample --mask-steps 0 --n-others 1 --edge-nodes 2".split(),
    "6.4b": ["--n-pairs", "4", "--sizes", "30", "--midpoints", "1"],
}
notes: list[str] = []


def measure(rounds: int, quick: bool) -> list[Row]:
    import_libraries()
    idle = run_phase("", []).mib
    rows = rows_of("the organism", [], [], sorted((*OF_LATENTS, *OF_MODELS)), rounds, quick, idle)
    if folder := os.environ.get("NATURAL"):
        model = ["--model", str(Path(folder) / QWEN_CODER)]
        rows += rows_of(QWEN_CODER, model, ["--contrasts", CONTRAST], OF_MODELS, rounds, quick, idle)
    notes[:] = [f"A process that imports the libraries and does nothing holds {idle:.0f} MiB."]
    return rows


def rows_of(
    name: str,
    model: list[str],
    pairs: list[str],
    phases: list[str] | tuple[str, ...],
    rounds: int,
    quick: bool,
    idle: float,
) -> list[Row]:
    """A row for each phase, on the pairs that phase 6.1 makes of one contrast; `idle` in MiB."""
    used: dict[str, list[Used]] = {phase: [] for phase in phases}
    with tempfile.TemporaryDirectory() as folder:
        known = [*model, "--data-dir", folder, "--fresh"]
        run_phase("6.1", [*known, *pairs])
        run_phase("6.1b", known)
        for _ in range(rounds):
            for phase in phases:  # 6.4 reads the 6.3 before it
                used[phase].append(run_phase(phase, [*known, *(QUICK[phase] if quick else [])]))
    return [row_of(f"phase {phase}, one contrast of {name}", runs, idle) for phase, runs in used.items()]


def row_of(name: str, used: list[Used], idle: float) -> Row:
    """Text alone: there is nothing to hold it against. Memory in MiB."""
    processor, clock, mib = (statistics.median(values) for values in zip(*used, strict=True))
    rounds = f"; median of {len(used)} rounds" if len(used) > 1 else ""
    text = (
        f"{processor:.1f} s of processor time, {clock:.1f} s on the clock; at most {mib:.0f} MiB, "
        f"{mib - idle:.0f} more than a process that does nothing{rounds}"
    )
    return Row(name, text=text, n_rounds=len(used))
