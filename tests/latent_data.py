"""The model organism's phases 0 to 2 on few problems and documents; some of their text would run in a browser.

What the pages of latents are tested on: real activations, labels, tokens and statistics.
"""

import json
from pathlib import Path

import pandas
import pytest
from report_data import HOSTILE
from support import ROOT, built_once, command

N_PROBLEMS, N_DOCUMENTS = 120, 150
PHASES = {
    "0": [],
    "0.1": ["--fractions", "0.4,0.25,0.35"],
    "1": ["--max-new-tokens", "60", "--batch-size", "128"],
    "1.1": ["--documents", str(N_DOCUMENTS)],
    "2": ["--n-permutations", "100"],
}


def latent_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data folder `data`, the problems and the text; tests only read it."""
    return built_once(tmp_path_factory, "latents", _build)


def densest(folder: Path, layer: int) -> int:
    """The latent of a layer that fires on most of the general text."""
    latents = pandas.read_parquet(next((folder / "data" / "phase2").glob("*/latents.parquet")))
    own = latents[latents.layer == layer]
    return int(own.latent[own.general_text_rate.idxmax()])


def run_phase(folder: Path, phase: str) -> None:
    inputs = {"0": ["--dataset"], "0.1": ["--dataset"], "1": ["--dataset"], "1.1": ["--text"], "2": ["--dataset"]}
    files = {"--dataset": folder / "few.jsonl", "--text": folder / "text"}
    given = [word for flag in inputs[phase] for word in (flag, files[flag])]
    words = ["--preset", "demo", *PHASES[phase], *given, "--data-dir", folder / "data"]
    done = command("run.py", "phase", phase, *words)
    assert done.returncode == 0, done.stderr


def _build(folder: Path) -> None:
    (folder / "text").mkdir(parents=True)
    problems = (ROOT / "model_organism" / "problems_974.jsonl").read_text().splitlines()[:N_PROBLEMS]
    (folder / "few.jsonl").write_text("".join(f"{_hostile(line, number)}\n" for number, line in enumerate(problems)))
    documents = (ROOT / "model_organism" / "general_text.jsonl").read_text().splitlines()[:N_DOCUMENTS]
    for number, line in enumerate(documents):
        (folder / "text" / f"{number:03d}.txt").write_text(f"{HOSTILE}\n{json.loads(line)['text']}\n")
    for phase in PHASES:
        run_phase(folder, phase)


def _hostile(line: str, number: int) -> str:
    problem = json.loads(line)
    return json.dumps({**problem, "text": f"{problem['text']} {HOSTILE}"} if number % 4 == 0 else problem)
