"""How long a command takes to answer, each in a process of its own, as a user types it.

    python -m benchmarks startup

Measured are `run.py --help`, `run.py status` on a folder of 200 finished runs (every kind of artifact, of as many
models and datasets as that takes, made here, with empty tables) and the import of each phase's module. Beside them: a
process that imports torch and transformers, which is what every command would take if it imported at its top what
some of them need; and `run.py status` on a folder without a run. All find their bytecode where an earlier process
left it, as anybody's second command does.
"""

import itertools
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.rounds import Contender, Rounds, alternate, row_of
from benchmarks.rows import Row
from common.handoffs import GENERATIONS, HANDOFFS, Handoff
from common.provenance import ROOT
from common.runs import discovery
from common.runs.artifacts import ArtifactWriter
from run import PHASES

NAME = "Start-up"
HEAVY, ALONE = "import torch, transformers", "Python alone"
LOG = logging.getLogger("benchmarks")
notes: list[str] = []


def measure(rounds: int, quick: bool) -> list[Row]:
    n_runs = len(HANDOFFS) if quick else 200
    modules = dict(list(PHASES.items())[:: 6 if quick else 1])
    status = f"run.py status, {n_runs} finished runs"
    with tempfile.TemporaryDirectory() as folder:
        full, empty = Path(folder, "full"), Path(folder, "empty")
        make_runs(full, n_runs)
        commands = {
            "run.py --help": ["run.py", "--help"],
            status: ["run.py", "status", "--data-dir", str(full)],
            "no run": ["run.py", "status", "--data-dir", str(empty)],
            HEAVY: ["-c", HEAVY],
            ALONE: ["-c", "pass"],
            **{module: ["-c", f"import {module}"] for module in modules.values()},
        }
        assert answer(commands[status]).count(" built ") == n_runs
        own = {**os.environ, "PYTHONPYCACHEPREFIX": str(Path(folder, "bytecode"))}
        own.pop("PYTHONDONTWRITEBYTECODE", None)  # installed packages have theirs in any case
        usual = (HEAVY, ALONE)
        contenders = {name: contender(words, None if name in usual else own) for name, words in commands.items()}
        if not quick:  # the first process of each finds nothing in the file cache
            alternate(contenders, 1)
        found = alternate(contenders, rounds)
    slowest = max(modules.values(), key=found.median)
    notes[:] = [_imports(found, modules)]
    text = f"{found.median('no run'):.2f} s where there is no run"
    return [
        _row("run.py --help", found, "run.py --help", f"{found.median(ALONE):.2f} s is Python alone"),
        _row(status, found, status, text),
        _row(f"import of a phase's module, the slowest of {len(modules)} ({slowest})", found, slowest, "all are below"),
    ]


def answer(words: list[str], environment: dict[str, str] | None = None) -> str:
    """What a process of this Python prints."""
    done = subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE)
    return done.stdout.decode()


def contender(words: list[str], environment: dict[str, str] | None) -> Contender:
    def take_part(_number: int) -> None:
        answer(words, environment)

    return take_part


def make_runs(data: Path, n: int) -> None:
    """Finished runs of every kind of artifact, one after the other, each set of another model and dataset."""
    endless = ((number, handoff) for number in itertools.count() for handoff in HANDOFFS)
    for number, handoff in itertools.islice(endless, n):
        known = {"model": f"owner/model-{number}", "dataset": f"dataset-{number}@01234567", "sae": f"saes-{number}"}
        if handoff == HANDOFFS[0]:
            lineage: dict[str, str] = {}
        lineage[handoff.name] = make_run(data, handoff, known, lineage)


def make_run(data: Path, handoff: Handoff, known: dict[str, str], lineage: dict[str, str]) -> str:
    """A finished run that was made from the artifacts in `lineage`; the hash of its content."""
    experiment = {key: known[key] for key in handoff.scope}
    path = data / handoff.folder / discovery.new_run_name(handoff, data, experiment)
    identity = {"artifact": handoff.name, "phase": handoff.phase, "schema_version": handoff.version}
    identity |= {"experiment": experiment, "settings": {"seed": 42}, "inputs": {}, "lineage": dict(lineage)}
    command = f"python3 run.py phase {handoff.phase}"
    details = {"preset": "full", "changed_settings": {}, "all_settings": known, "command": command}
    with ArtifactWriter(handoff, path, identity, details, LOG) as out:
        for name in handoff.tables:
            out.table(name.replace("*", "0"), [])
        for layer in range(26 if handoff == GENERATIONS else 0):
            out.tensors(f"activations/layer_{layer:02d}.safetensors", {"resid_post": np.zeros((0, 1))})
        out.summary = {"records": 974, "share": 0.5}
    return discovery.run_at(path, (handoff,))[1].document["content_sha256"]


def _row(name: str, found: Rounds, ours: str, text: str) -> Row:
    seconds = f"{found.median(ours):.2f} s beside {found.median(HEAVY):.2f} s"
    ratios = found.times_as_fast(ours, HEAVY)
    return row_of(name, f"a process that does `{HEAVY}`", ratios, text=f"{seconds}; {text}")


def _imports(found: Rounds, modules: dict[str, str]) -> str:
    lines = [f"| {phase} | {module} | {found.median(module):.3f} |" for phase, module in modules.items()]
    header = f"A process that imports the module of a phase (Python alone takes {found.median(ALONE):.3f} s):"
    return "\n".join([header, "", "| phase | module | seconds, median |", "|---|---|---|", *lines])
