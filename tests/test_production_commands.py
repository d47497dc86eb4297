"""Covers the production commands for every row of common/model/registry.py: phases 0 to 2 on hub caches of the real
shape. `make test` types them for a row of every kind, `make test-sweeps` for all.

Models have the real family, config, names and width of the residual stream; the rest of them is tiny, and they are
cut behind the first layers that have an SAE. SAEs have the real files, at the real paths, in the real formats. They
fit, so no command has a flag that accepts a bad fit. Gemma Scope's width is the real one, since SAELens holds the file
to it; so is that of one release of Gemma Scope 2, whose other files, and Llama Scope's, have fewer latents.
The default row is typed with nothing but flags that make it small, phase 2 in an interpreter of its own. All else runs
in processes forked from one that has the libraries, which writes the same bytes.
An SAE of Gemma-2-27b takes 4.8 GB, and its commands three minutes and 10 GB of memory: set LARGE_SAES=1 to run them.
"""

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pyarrow.parquet
import pytest
from hub_models import config_of, d_model_of, write_model
from hub_saes import COMMIT, WRITERS, fitting_arrays, random_arrays
from runs import content, newest
from safetensors.numpy import load_file
from support import WHOLE_SWEEPS, cold_command, command, prepare_datasets_cache, write_problems

from common.files import text_sha256
from common.model.registry import MODELS
from common.saes.sources import SaeSource, sae_source

DEFAULT, LARGE, SOME_LAYERS, SMALLEST = (
    "google/gemma-2-2b",
    "google/gemma-2-27b",
    "google/gemma-2-9b-it",
    "google/gemma-3-270m",
)
TRANSCODERS = [model for model in MODELS if model.startswith("Qwen/")]
SAES = [model for model, entry in MODELS.items() if entry.sae_release and model not in (*TRANSCODERS, LARGE)]
SAMPLE = [  # one of every kind; `make test-sweeps` types the commands for all
    DEFAULT,
    SOME_LAYERS,
    SMALLEST,
    "google/gemma-3-4b-it",
    "meta-llama/Llama-3.1-8B-Instruct",
]
TRANSCODER_SAMPLE = ["Qwen/Qwen3-0.6B", "Qwen/Qwen3-8B"]
ASKED = "LARGE_SAES" in os.environ
NEEDS_ASKING = pytest.mark.skipif(not ASKED, reason="LARGE_SAES is not set")
EVERY_SAE = [*(SAES if WHOLE_SWEEPS else SAMPLE), pytest.param(LARGE, marks=NEEDS_ASKING)]
OF_A_BASE_MODEL = {
    "google/gemma-2-2b-it": "gemma-scope-2b-pt-res-canonical: SAEs of the base model google/gemma-2-2b",
    "meta-llama/Llama-3.1-8B-Instruct": "llama_scope_lxr_8x: SAEs of the base model meta-llama/Llama-3.1-8B",
}
N_DOCUMENTS = 16
WRITING, READING, COMPARING = (
    ["--max-new-tokens", 4, "--batch-size", 8],
    ["--documents", N_DOCUMENTS],
    ["--n-permutations", 100, "--general-text-limit", 1],  # of sixteen documents one is more than two in a hundred
)


@dataclass(frozen=True)
class Row:
    """What was typed for one model, and what came of it; `layers` are those whose SAEs are on the disk."""

    model: str
    data: Path
    source: SaeSource
    n_layers: int
    layers: list[int]
    width: int
    said: dict[str, CompletedProcess] = field(default_factory=dict)

    def output(self, folder: str) -> Path:
        return newest(self.data / folder)

    def manifest(self, folder: str) -> dict:
        return json.loads((self.output(folder) / "manifest.json").read_text())

    def shown(self, layer: int) -> str:
        """An SAE's name with what it stands for."""
        sae_id = self.source.ids[layer]
        path = self.source.release.paths[sae_id]
        return f"{self.source.release.name} {sae_id}" + ("" if path == sae_id else f" = {path}")


class Machine:
    """One disk of caches. The commands of a row are typed when it is first asked for."""

    def __init__(self, folder: Path):
        self.folder, self.home = folder, folder / "hub"
        self.dataset = write_problems(folder / "small.jsonl", problem_rows(26))
        self.texts = folder / "texts"
        self.texts.mkdir()
        for number, text in enumerate(documents()):
            (self.texts / f"{number}.txt").write_text(text)
        self._finished: dict[str, Row | None] = {}

    def typed(self, row: Row, phase: str, *words: object) -> CompletedProcess:
        words = ("run.py", "phase", phase, "--model", row.model, *words, "--data-dir", row.data)
        return command(*words, home=self.home)

    def with_solutions(self, model: str) -> Row:
        """After phase 1."""
        row = new_row(model, self.folder / model.replace("/", "_"))
        if not (self.folder / "begun").is_dir():
            for words in (["0"], ["0.1", "--fractions", "0.9,0.05,0.05"]):
                data = ["--dataset", self.dataset, "--data-dir", self.folder / "begun"]
                finished(command("run.py", "phase", *words, *data, home=self.home))
        shutil.copytree(self.folder / "begun", row.data)
        write_model(self.home, model, row.n_layers)
        row.said["1"] = finished(self.typed(row, "1", "--dataset", self.dataset, *WRITING))
        return row

    def finished(self, model: str) -> Row:
        """After phase 2."""
        if model not in self._finished:
            self._finished[model] = None
            self._finished[model] = self._default() if model == DEFAULT else self._finish(model)
        assert self._finished[model], f"the first test of {model} shows which command failed"
        return self._finished[model]

    def _finish(self, model: str) -> Row:
        row = self.with_solutions(model)
        row.said["1.1"] = finished(self.typed(row, "1.1", "--text", self.texts, *READING))
        write_saes(self.home, row)
        layers = [] if len(row.layers) == row.n_layers else ["--layers", ",".join(map(str, row.layers))]
        row.said["2"] = finished(self.typed(row, "2", "--dataset", self.dataset, *COMPARING, *layers))
        return row

    def _default(self) -> Row:
        """Typed in full, with nothing but the flags that make it small."""
        own = {"test_setup_code": "", "challenge_test_list": []}
        mbpp = [{**problem, **own} for problem in problem_rows(48)]
        prepare_datasets_cache(self.home, "google-research-datasets/mbpp", "full", {"train": mbpp})
        pile = [{"text": text, "meta": {"pile_set_name": "Pile-CC"}} for text in documents()]
        prepare_datasets_cache(self.home, "NeelNanda/pile-10k", "default", {"train": pile})
        row = new_row(DEFAULT, self.folder / "default")
        write_model(self.home, DEFAULT, row.n_layers)
        for phase, words in (("0", []), ("0.1", []), ("1", WRITING), ("1.1", READING), ("2", COMPARING)):
            typed = cold_command if phase == "2" else command
            done = typed("run.py", "phase", phase, *words, "--data-dir", row.data, home=self.home)
            row.said[phase] = finished(done)
            if phase == "1.1":
                write_saes(self.home, row)
        return row


def finished(done: CompletedProcess) -> CompletedProcess:
    assert done.returncode == 0, f"{done.args}\n{done.stderr}"
    return done


def new_row(model: str, data: Path) -> Row:
    source = sae_source("auto", model)
    full_size = source.release.conversion == "gemma_2"  # a layer takes seconds: the first alone, but for the default
    n_layers = min(source.ids) + (1 if full_size and model != DEFAULT else 2)
    width = 131072 if model == LARGE else 16384 if full_size or model == SMALLEST else 512
    return Row(model, data, source, n_layers, [layer for layer in source.ids if layer < n_layers], width)


def write_saes(home: Path, row: Row) -> None:
    """SAEs that fit what phase 1.1 has stored of their layers."""
    for layer in row.layers:
        write_sae(home, row, layer, fitting_arrays(stored(row, layer), row.width, seed=layer))


def stored(row: Row, layer: int) -> np.ndarray:
    """What phase 1.1 has kept of a layer, [n, d_model]."""
    return load_file(row.output("phase1_1") / "activations" / f"layer_{layer:02d}.safetensors")["resid_post"]


def write_sae(home: Path, row: Row, layer: int, arrays: dict[str, np.ndarray]) -> None:
    release = row.source.release
    WRITERS[release.conversion](home, release.repo_id, release.paths[row.source.ids[layer]], arrays)


def problem_rows(n: int) -> list[dict]:
    """Problems that one and the same program solves, and as many that it does not."""
    rows = []
    for k in range(n):
        digits, more = text_sha256(str(k)), k % 2
        text = " ".join(["Write a function.", *(digits[i : i + 6] for i in range(0, 36, 6))])  # no near duplicates
        tests = [f"assert same({n}) == {n + more}" for n in (3, k)]
        rows.append({"task_id": k, "text": text, "code": f"def same(n):\n    return n + {k + more} - {k}"})
        rows[-1]["test_list"] = tests
    return rows


def documents() -> list[str]:
    """Enough for the site check to tell a layer from its neighbours."""
    letters = "abcdefghijklmnop"[:N_DOCUMENTS]
    return [
        f"Document {i} is about {letter * 5} and other things, said at length. " * 3 for i, letter in enumerate(letters)
    ]


@pytest.fixture(scope="module")
def machine(tmp_path_factory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("production")
    (folder / "hub").mkdir()
    yield Machine(folder)
    shutil.rmtree(folder)


def kind_of(model: str) -> tuple:
    """What the code may treat otherwise: architecture, tied embeddings, files of its SAEs, whose SAEs they are."""
    config, source = config_of(model), sae_source("auto", model)
    tied = config.get("tie_word_embeddings")
    return config["architectures"][0], tied, source.release.conversion, source.note is None


def test_the_sample_has_a_row_of_every_kind():
    for sample, every in ((SAMPLE, SAES), (TRANSCODER_SAMPLE, TRANSCODERS)):
        assert {*sample} < {*every} and {*map(kind_of, sample)} == {*map(kind_of, every)}


@pytest.mark.sweep
@pytest.mark.parametrize("model", EVERY_SAE)
def test_every_phase_of_every_row_finishes(machine, model):
    row = machine.finished(model)
    assert {"1", "1.1", "2"} <= set(row.said)
    assert row.manifest("phase1_0")["summary"]["pass_rate"] == 0.5


@pytest.mark.sweep
@pytest.mark.parametrize("model", EVERY_SAE)
def test_the_log_shows_how_well_each_sae_fits(machine, model):
    """The log shows how well each SAE fits and what its id stands for."""
    row = machine.finished(model)
    pattern = r"(.*): FVU (\d\.\d\d), mean L0 (\d+\.\d) over (\d+) activations of (\S+)"
    lines = re.findall(rf"^\S+ {pattern}", row.said["2"].stderr, re.MULTILINE)
    n = str(row.manifest("phase1_1")["summary"]["documents"])
    assert [line[0] for line in lines] == [row.shown(layer) for layer in row.layers]
    assert [line[3:] for line in lines] == [(n, f"blocks.{layer}.hook_resid_post") for layer in row.layers]
    log = (row.output("phase2") / "log.txt").read_text()
    assert all(line[0] in log for line in lines)
    assert all(float(fvu) < 0.2 and float(l0) > 0 for _, fvu, l0, *_ in lines)
    assert "fits badly" not in row.said["2"].stderr


@pytest.mark.sweep
@pytest.mark.parametrize("model", EVERY_SAE)
def test_every_latent_of_every_layer_is_in_the_table(machine, model):
    row = machine.finished(model)
    table = pyarrow.parquet.read_table(row.output("phase2") / "latents.parquet")
    assert np.array_equal(table["layer"].to_numpy(), np.repeat(row.layers, row.width))
    assert np.array_equal(table["latent"].to_numpy(), np.tile(np.arange(row.width), len(row.layers)))


@pytest.mark.sweep
@pytest.mark.parametrize("model", EVERY_SAE)
def test_what_is_written_names_the_model_its_width_and_its_saes(machine, model):
    row = machine.finished(model)
    [process] = row.manifest("phase1_0")["processes"]
    loaded = {"name": model, "n_layers": row.n_layers, "d_model": d_model_of(model)}
    assert loaded.items() <= process["model"].items()
    names = {"model": f"{model}@{COMMIT[:8]}", "sae": f"{MODELS[model].sae_release}@{COMMIT[:8]}"}
    assert names.items() <= row.manifest("phase2")["experiment"].items()
    assert row.manifest("phase1_1")["experiment"] == {"model": names["model"]}
    sites = json.loads((row.output("phase2") / "selected.json").read_text())["sites"]
    assert [(site["layer"], site["sae_id"]) for site in sites] == [(layer, row.shown(layer)) for layer in row.layers]


@pytest.mark.sweep
@pytest.mark.parametrize("model", EVERY_SAE)
def test_latents_are_selected_with_their_page_where_there_is_one(machine, model):
    row = machine.finished(model)
    directions = json.loads((row.output("phase2") / "selected.json").read_text())["directions"]
    chosen = [latent for entry in directions.values() for latent in entry["latents"]]
    assert chosen
    for latent in chosen:
        page = row.source.release.neuronpedia[row.source.ids[latent["layer"]]]
        assert latent["neuronpedia"] == (page and f"https://www.neuronpedia.org/{page}/{latent['latent']}")


@pytest.mark.sweep
@pytest.mark.parametrize("model", EVERY_SAE)
def test_the_log_says_when_saes_are_those_of_the_base_model(machine, model):
    notes = re.findall(r"\S+: SAEs of .*", machine.finished(model).said["2"].stderr)
    assert notes == [note for tuned, note in OF_A_BASE_MODEL.items() if tuned == model]


@pytest.mark.sweep
def test_the_default_row_is_gemma_2_2b_on_mbpp_with_pile_10k(machine):
    row = machine.finished(DEFAULT)
    canonical = "gemma-scope-2b-pt-res-canonical layer_0/width_16k/canonical"
    assert row.shown(0) == f"{canonical} = layer_0/width_16k/average_l0_105"
    assert row.manifest("phase2")["experiment"]["dataset"] == "mbpp"
    assert row.manifest("phase1_1")["text"]["source"].startswith("NeelNanda/pile-10k, revision ")
    changed = [done.stderr.splitlines()[1].partition("the full preset")[2] for done in row.said.values()]
    assert changed == [
        "",
        "",
        ", but max_new_tokens 4, batch_size 8",
        ", but documents 16",
        ", but general_text_limit 1.0, n_permutations 100",
    ]


@pytest.mark.sweep
def test_the_revisions_of_model_and_saes_of_the_hub_are_kept(machine):
    row = machine.finished(DEFAULT)
    [process] = row.manifest("phase1_0")["processes"]
    assert process["model"]["revision"] == COMMIT
    sites = json.loads((row.output("phase2") / "selected.json").read_text())["sites"]
    assert sites and {site["sae_revision"] for site in sites} == {COMMIT}


@pytest.mark.sweep
def test_a_forked_command_writes_the_bytes_of_a_typed_one(machine):
    row = machine.finished(DEFAULT)
    typed = row.output("phase2")
    write_saes(machine.home, row)  # gemma-2-2b-it has the same
    finished(command("run.py", "phase", "2", *COMPARING, "--fresh", "--data-dir", row.data, home=machine.home))
    assert row.output("phase2") != typed and content(row.output("phase2")) == content(typed)


@pytest.mark.sweep
def test_a_release_of_some_layers_is_read_at_those(machine):
    row = machine.finished(SOME_LAYERS)
    done = finished(machine.typed(row, "2", "--dataset", machine.dataset, *COMPARING, "--fresh"))
    assert row.layers == [9] and " layers 9\n" in done.stderr
    done = machine.typed(row, "2", "--dataset", machine.dataset, "--layers", "8,9")
    assert done.returncode == 2 and re.search(r"no SAE for layer 8; .*layers 9\n.*--layers 9\n", done.stderr)


@pytest.mark.sweep
@pytest.mark.skipif(ASKED, reason="LARGE_SAES is set, so they are there")
def test_saes_too_large_for_this_test_are_looked_for_where_they_lie(machine):
    row = machine.with_solutions(LARGE)
    row.said["1.1"] = finished(machine.typed(row, "1.1", "--text", machine.texts, *READING))
    done = machine.typed(row, "2", "--dataset", machine.dataset, "--sae-revision", COMMIT)
    assert done.returncode == 2 and row.layers == [10] and "cannot be fetched" in done.stderr
    assert "layer_10/width_131k/canonical = layer_10/width_131k/average_l0_106" in row.shown(10)
    assert f"SAE {row.shown(10)} (hub repository google/gemma-scope-27b-pt-res, commit {COMMIT})" in done.stderr
    shutil.rmtree(row.data)


@pytest.mark.sweep
@pytest.mark.parametrize("model", TRANSCODERS if WHOLE_SWEEPS else TRANSCODER_SAMPLE)
def test_transcoders_are_refused_in_words_once_the_model_has_written_its_programs(machine, model):
    row = machine.with_solutions(model)
    assert row.manifest("phase1_0")["processes"][0]["model"]["d_model"] == d_model_of(model)
    words = ("2", "--dataset", machine.dataset, "--sae-revision", COMMIT)
    done = machine.typed(row, *words)
    assert done.returncode == 2 and f"python3 run.py phase 1.1 --model {model}" in done.stderr
    finished(machine.typed(row, "1.1", "--text", machine.texts, *READING))
    done = machine.typed(row, *words)
    assert done.returncode == 2 and re.search(r"--sae \S+ names transcoders.*\n.*--sae", done.stderr)


@pytest.mark.sweep
@pytest.mark.parametrize("kind", ["noise", "those of another layer"])
def test_saes_that_do_not_fit_are_refused_unless_that_is_accepted(machine, kind, tmp_path):
    row = machine.finished(SMALLEST)
    row = dataclasses.replace(row, data=shutil.copytree(row.data, tmp_path / "data"))
    arrays = (
        random_arrays(d_model_of(SMALLEST), row.width) if kind == "noise" else fitting_arrays(stored(row, 1), row.width)
    )
    words = ["--dataset", machine.dataset, *COMPARING, "--fresh"]
    try:
        write_sae(machine.home, row, 0, arrays)
        refused, accepted = (machine.typed(row, "2", *words, *more) for more in ([], ["--accept-bad-fit"]))
    finally:
        write_saes(machine.home, row)
    assert refused.returncode == 2 and re.search(rf"error: {re.escape(row.shown(0))} .*layer 0: FVU ", refused.stderr)
    assert "Traceback" not in refused.stderr
    if kind == "those of another layer":
        assert accepted.returncode == 2 and re.search("layer 1, .*better", accepted.stderr)
        return
    assert "with --accept-bad-fit" in refused.stderr
    assert f"{row.shown(0)} fits badly: FVU " in finished(accepted).stderr
    assert row.manifest("phase2")["settings"]["accept_bad_fit"] is True
