"""Covers phases 6.1 to 6.5 as they are typed for models of the hub: right releases and layers, chat, warnings, memory.

Caches are those of tests/test_production_commands.py: gemma-2-2b-it and gemma-2-9b in their real names, configs and
width of the residual stream, cut to their first layers; Gemma Scope at its real paths, of the real width.
"""

import dataclasses
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pyarrow.parquet
import pytest
from hub_models import GEMMA_CHAT, d_model_of, write_model
from hub_saes import COMMIT, cached_file, mostly_zero_arrays, write_gemma_scope
from runs import newest
from support import ROOT, command, in_whole_sweeps, offline

from common.saes.sources import SaeSource, sae_source

TUNED, BASE = "google/gemma-2-2b-it", "google/gemma-2-9b"
MODELS = [TUNED, BASE]
pytestmark = [pytest.mark.sweep, in_whole_sweeps]
N_LAYERS = {TUNED: 2, BASE: 1}  # the SAE of a layer takes 0.3 and 0.5 GB
RELEASES = {TUNED: "gemma-scope-2b-pt-res-canonical", BASE: "gemma-scope-9b-pt-res-canonical"}
OF_THE_BASE_MODEL = "SAEs of the base model google/gemma-2-2b"
CONTRAST, WIDTH = "IndexError/KeyError", 16384
FOLDERS = {phase: f"phase{phase.replace('.', '_')}" for phase in ("6.1", "6.1b", "6.2", "6.3", "6.4", "6.4b", "6.5")}
FEW = ["--n-pairs", 2, "--n-resamples", 1000]
NODES = "--sizes 20 --errors nodes --ablations resample --n-random 1 --one-layer 10 --n-others 1 --other-sizes 20"
EDGES = "--mask-steps 0 --edge-nodes 3 --edge-pairs 1 --edge-points 1 --edge-sizes 5 --n-exact 1"
SMALL = {
    "6.1": f"--contrasts {CONTRAST} --formats seed,chat --n-pairs 16 --fewest 8 --n-draws 300 --n-shapes 1".split(),
    "6.1b": ["--force"],  # the models have learnt nothing
    "6.2": [*FEW, "--force", "--n-heads", 1, "--other-shapes", 0],
    "6.3": [*FEW, "--n-shapes", 1, "--n-exact", 1, "--n-points", 2],
    "6.4": [*FEW, *NODES.split(), *EDGES.split()],
    "6.4b": [*FEW, "--n-pairs", 4, "--force", "--sizes", "10,100", "--n-random", 1, "--midpoints", 1],
    "6.5": [*FEW, "--n-shapes", 1, "--n-points", 1, "--n-nodes", 4],
}
PEAK = """
import sys
sys.path.insert(0, {root!r})
import run
status = run.main({words!r})
known = open("/proc/self/status").read()  # ru_maxrss would count what the process was that started this one
print(known.partition("VmHWM:")[2].split()[0])
sys.exit(status)
"""


@dataclass(frozen=True)
class Row:
    """What was typed for one model, and what came of it."""

    model: str
    data: Path
    source: SaeSource
    said: dict[str, CompletedProcess] = field(default_factory=dict)

    @property
    def layers(self) -> list[int]:
        return [*range(N_LAYERS[self.model])]

    def output(self, phase: str) -> Path:
        return newest(self.data / FOLDERS[phase])

    def document(self, phase: str, name: str) -> dict:
        return json.loads((self.output(phase) / name).read_text())

    def manifest(self, phase: str) -> dict:
        return self.document(phase, "manifest.json")

    def log(self, phase: str) -> str:
        return self.said[phase].stderr


class Machine:
    """One disk of caches. The commands of a row are typed when it is first asked for."""

    def __init__(self, folder: Path):
        self.folder, self.home = folder, folder / "hub"
        self.home.mkdir()
        self._rows: dict[str, Row] = {}

    def finished(self, model: str) -> Row:
        """After the last of its phases."""
        if model not in self._rows:
            row = Row(model, self.folder / model.replace("/", "_"), sae_source("auto", model))
            write_model(self.home, model, N_LAYERS[model], GEMMA_CHAT if model.endswith("-it") else "")
            for layer in row.layers:
                write_sae(self.home, row, layer)
            for phase in SMALL:
                row.said[phase] = self.typed(row, phase, *SMALL[phase])
            self._rows[model] = row
        return self._rows[model]

    def typed(self, row: Row, phase: str, *words: object) -> CompletedProcess:
        words = ("run.py", "phase", phase, "--model", row.model, *words, "--data-dir", row.data)
        done = command(*words, home=self.home)
        assert done.returncode == 0, f"{done.args}\n{done.stderr}"
        return done

    def peak_of(self, row: Row, phase: str, *words: object) -> int:
        """The most memory that a command held [bytes]."""
        typed = ["phase", phase, "--model", row.model, *words, "--fresh", "--data-dir", row.data]
        done = offline(self.home, PEAK.format(root=str(ROOT), words=[*map(str, typed)]))
        assert done.returncode == 0, done.stderr
        return 1024 * int(done.stdout.split()[-1])


def write_sae(home: Path, row: Row, layer: int) -> None:
    """Few of its latents fire, and what they write leaves nearly all to the errors."""
    arrays = mostly_zero_arrays(d_model_of(row.model), WIDTH)
    arrays |= {"b_enc": np.zeros(WIDTH, "f4"), "threshold": np.full(WIDTH, 3.0, "f4")}
    release = row.source.release
    write_gemma_scope(home, release.repo_id, release.paths[row.source.ids[layer]], arrays)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("errors")
    yield Machine(folder)
    shutil.rmtree(folder)


@pytest.mark.parametrize("model", MODELS)
def test_every_phase_finishes_and_names_the_model_and_its_saes_by_their_commit(machine, model):
    row = machine.finished(model)
    known = {"model": f"{model}@{COMMIT[:8]}"}
    assert all(known.items() <= row.manifest(phase)["experiment"].items() for phase in SMALL)
    for phase in ("6.3", "6.4"):
        assert row.manifest(phase)["experiment"]["sae"] == f"{RELEASES[model]}@{COMMIT[:8]}"
        [process] = row.manifest(phase)["processes"]
        assert process["model"]["d_model"] == d_model_of(model)


@pytest.mark.parametrize("model", MODELS)
def test_latents_are_those_of_the_residual_stream_of_every_layer_that_has_an_sae(machine, model):
    row = machine.finished(model)
    told = row.document("6.3", "attribution.json")
    assert told["site"] == "hook_resid_post"
    assert [layer["layer"] for layer in told["shapes"][0]["layers"]] == row.layers
    nodes = pyarrow.parquet.read_table(row.output("6.3") / "nodes.parquet")
    assert set(nodes["layer"].to_pylist()) == set(row.layers) and max(nodes["latent"].to_pylist()) < WIDTH
    edges = row.document("6.4", "circuits.json")["edges"]
    assert (edges is None) == (len(row.layers) < 2)  # edges run between layers


@pytest.mark.parametrize("model", MODELS)
def test_the_strongest_latents_come_with_their_pages(machine, model):
    row = machine.finished(model)
    [tops] = row.document("6.3", "top_latents.json")["contrasts"].values()
    assert tops
    for top in tops:
        page = row.source.release.neuronpedia[row.source.ids[top["layer"]]]
        assert top["url"] == f"https://www.neuronpedia.org/{page}/{top['latent']}"


@in_whole_sweeps
def test_the_log_and_the_document_say_that_saes_of_the_base_model_leave_much_to_the_error_nodes(machine):
    row, base = machine.finished(TUNED), machine.finished(BASE)
    words = f"{RELEASES[TUNED]}: {OF_THE_BASE_MODEL}; much may be left to the error nodes"
    for phase in ("6.3", "6.4"):
        assert len(re.findall(re.escape(words), row.log(phase))) == 1
        assert "error nodes" not in base.log(phase)
    assert row.document("6.3", "attribution.json")["note"] == OF_THE_BASE_MODEL
    assert base.document("6.3", "attribution.json")["note"] == ""


def test_an_instruction_tuned_model_is_asked_in_its_chat_template(machine):
    row = machine.finished(TUNED)
    pairs = pyarrow.parquet.read_table(row.output("6.1") / "pairs.parquet").to_pylist()
    assert {pair["format"] for pair in pairs} == {"seed", "chat"}
    names = dict.fromkeys(pair["pair"] for pair in pairs)
    assert len(names) > 1
    form = row.document("6.1", "pairs.json")["formats"]["chat"]
    assert "<start_of_turn>user\n" in json.dumps(form).encode().decode("unicode_escape")
    begin, ends = (tokens_of(machine.home, TUNED, text) for text in ("<start_of_turn>", "<end_of_turn>"))
    for pair in (pair for pair in pairs if pair["format"] == "chat"):
        ids = pair["clean_ids"]
        assert ids[0] == 2 and ids.count(2) == 1  # BOS, once
        assert ids.count(begin) == 2 and ids.count(ends) == 1


@in_whole_sweeps
def test_a_base_model_is_told_to_have_no_chat_template(machine):
    row = machine.finished(BASE)
    pairs = pyarrow.parquet.read_table(row.output("6.1") / "pairs.parquet").to_pylist()
    assert {pair["format"] for pair in pairs} == {"seed"}
    assert "has no chat template" in json.dumps(row.document("6.1", "pairs.json")["formats"]["chat"])


def test_more_pairs_take_memory_for_the_latents_that_fire(machine):
    """The latents of a pair are kept where they fire, not in all of the dictionary's width.

    Beside them stand the streams around a block, and errors, each as wide as the model. Measured, in widths of the
    model: 5.6 to 7.1 for a pair more; in full width the latents alone are 7.1, and all of it is 10.1.
    """
    row = machine.finished(TUNED)
    row = dataclasses.replace(row, data=machine.folder / "many_pairs", said={})
    machine.typed(row, "6.1", *SMALL["6.1"], "--n-pairs", 64, "--n-draws", 900)
    for phase in ("6.1b", "6.2"):
        machine.typed(row, phase, *SMALL[phase])
    peaks, n_pairs, shapes = [], [], set()
    for n in (2, 32):
        peaks.append(machine.peak_of(row, "6.3", *SMALL["6.3"], "--n-pairs", n, "--batch-size", 2))
        shape = row.document("6.3", "attribution.json")["shapes"][0]
        n_pairs.append(shape["n"] + shape["null_pairs"]["n"])  # those that are held at a time
        shapes.add((shape["template"], shape["shape"], shape["n_tokens"]))
    assert n_pairs[1] > 10 * n_pairs[0] and len(shapes) == 1
    values = 2 * shape["n_tokens"] * len(row.layers) * (n_pairs[1] - n_pairs[0])  # of as many floats as there are wide
    assert peaks[1] - peaks[0] < 0.9 * 4 * values * (WIDTH + 3 * d_model_of(TUNED))


def tokens_of(home: Path, model: str, text: str) -> int:
    """The token of a special word."""
    from transformers import AutoTokenizer

    [token] = AutoTokenizer.from_pretrained(cached_file(home, model, "config.json").parent).encode(
        text, add_special_tokens=False
    )
    return token
