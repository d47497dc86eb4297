"""Covers commits of hub repositories: asked for once, then by every slice, resume and later phase; never mixed."""

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_saes import cached_file, random_arrays, write_saelens
from runs import newest
from safetensors.torch import load_file, save_file
from support import ROOT, command, write_problems
from tiny_models import save_tiny_gemma

from common import handoffs
from common.errors import AssetError
from common.model.registry import model_identity
from common.phases.context import RunContext
from common.phases.hub import cached_revision, check_read_at, commit_of
from common.phases.phase import Phase
from common.phases.revisions import with_commits, words_as_settled
from common.saes.encoder import load_sae
from common.saes.sources import sae_source
from phase1_dataset_building.config import GenerationConfig
from phase3_validation.transfer.config import TransferConfig

MODEL = "owner/tiny"
A, B = "a" * 40, "b" * 40
WRITING = ["--max-new-tokens", "3", "--batch-size", "8", "--sandbox", "none"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub cache with two commits of one model; main is at the first, a tag at the second."""
    folder = tmp_path_factory.mktemp("hub")
    for commit in (A, B):
        save_tiny_gemma(snapshot(folder, commit), n_layers=2)
    weights = snapshot(folder, B) / "model.safetensors"
    save_file({name: 1.5 * weight for name, weight in load_file(weights).items()}, weights, metadata={"format": "pt"})
    point(folder, "main", A)
    point(folder, "v2", B)
    return folder


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, home: Path, small_problem_rows) -> Path:
    """Phases 0 and 0.1, and the first of three batches of phase 1, when main was at A."""
    data = tmp_path_factory.mktemp("begun") / "data"
    dataset = write_problems(data.parent / "small.jsonl", small_problem_rows[:24])
    for words in (["0"], ["0.1"], ["1", "--model", MODEL, "--end", 7, *WRITING]):
        done = command("run.py", "phase", *words, "--dataset", dataset, "--data-dir", data, home=home)
        assert done.returncode == 0, done.stderr
    return data


class Machine:
    """A copy of what was begun, with main at another commit since; `typed` is a phase of it."""

    def __init__(self, data: Path, dataset: Path, home: Path):
        self.data, self.dataset, self.home = data, dataset, home

    def typed(self, *words: object):
        model = [] if "--model" in words else ["--model", MODEL]
        own = ["--dataset", self.dataset, "--data-dir", self.data]
        return command("run.py", "phase", *words, *model, *own, home=self.home)

    def manifest(self, folder: str = "phase1_0") -> dict:
        return json.loads((newest(self.data / folder) / "manifest.json").read_text())


@pytest.fixture
def moved(tmp_path: Path, begun: Path, home: Path) -> Iterator[Machine]:
    shutil.copytree(begun, tmp_path / "data")
    point(home, "main", B)
    yield Machine(tmp_path / "data", begun.parent / "small.jsonl", home)
    point(home, "main", A)
    if (home / "elsewhere").exists():
        (home / "elsewhere").rename(snapshot(home, A))


def snapshot(home: Path, commit: str) -> Path:
    return home / "hub" / f"models--{MODEL.replace('/', '--')}" / "snapshots" / commit


def point(home: Path, ref: str, commit: str, repository: str = MODEL) -> None:
    path = home / "hub" / f"models--{repository.replace('/', '--')}" / "refs" / ref
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(commit)


def test_the_commit_is_in_the_identity_not_in_the_folder_name(moved):
    """The commit is part of the identity and not of the folder's name."""
    run = next((moved.data / "phase1_0").glob("*Z_tiny_small"))
    stamp = json.loads((run / "stamp.json").read_text())
    assert stamp["experiment"]["model"] == f"{MODEL}@{A[:8]}" and stamp["all_settings"]["revision"] == A
    assert run.name.endswith("Z_tiny_small") and "revision" not in stamp["changed_settings"]
    assert "--revision" not in stamp["command"]


def test_a_resume_keeps_the_commit_it_began_with(moved):
    """A resume goes on with the commit that it began with and says so."""
    done = moved.typed("1", *WRITING)
    assert done.returncode == 0, done.stderr
    assert f"moved on to commit {B}" in done.stderr and A in done.stderr and "--revision main" in done.stderr
    manifest = moved.manifest()
    assert manifest["experiment"]["model"] == f"{MODEL}@{A[:8]}"
    assert {process["model"]["revision"] for process in manifest["processes"] if "model" in process} == {A}


def test_without_that_commit_on_the_disk_it_is_one_error_that_names_both(moved):
    snapshot(moved.home, A).rename(moved.home / "elsewhere")
    done = moved.typed("1", *WRITING)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    error = done.stderr.partition("error: ")[2]
    assert A in error and B in error and f"hf download {MODEL} --revision {A}" in error and "--revision main" in error


def test_another_commit_is_a_run_of_its_own(moved):
    done = moved.typed("1", "--revision", "main", *WRITING)
    assert done.returncode == 0, done.stderr
    manifest = moved.manifest()
    assert (
        manifest["experiment"]["model"] == f"{MODEL}@{B[:8]}"
        and len(list((moved.data / "phase1_0").glob("*Z_tiny_small"))) == 2
    )
    assert f"--revision {B}" in manifest["command"]  # main may be anywhere tomorrow
    assert {process["model"]["revision"] for process in manifest["processes"] if "model" in process} == {B}


def test_starting_over_takes_the_head_of_today(moved):
    assert moved.typed("1", "--fresh", *WRITING).returncode == 0
    assert moved.manifest()["experiment"]["model"] == f"{MODEL}@{B[:8]}"


def test_a_later_phase_reads_the_model_at_the_commit_of_its_inputs(moved):
    for words in (["1", *WRITING], ["1.2", *WRITING, "--temperatures", "0.5", "--samples", "1"]):
        done = moved.typed(*words)
        assert done.returncode == 0, done.stderr
    assert moved.manifest("phase1_2")["experiment"]["model"] == f"{MODEL}@{A[:8]}"
    assert {p["model"]["revision"] for p in moved.manifest("phase1_2")["processes"] if "model" in p} == {A}


def test_the_commit_in_use_is_that_of_which_every_input_is_finished(moved, monkeypatch):
    """A run of B was begun beside a finished one of A: what reads finished runs belongs to A, what begins anew to B."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(moved.home / "hub"))
    assert moved.typed("1", *WRITING).returncode == 0
    assert moved.typed("1", "--revision", "v2", "--end", 7, *WRITING).returncode == 0
    for inputs, commit in (((handoffs.GENERATIONS,), A), ((), B)):
        phase = Phase(
            id="9", title="reads", config=GenerationConfig, inputs=inputs, output=handoffs.TEMPERATURE, run=print
        )
        ctx = RunContext(
            phase=phase,
            config=GenerationConfig(model=MODEL, dataset=str(moved.dataset)),
            preset="full",
            data_dir=moved.data,
            device="cpu",
            log=logging.getLogger("test"),
            command="python3 run.py phase 9",
        )
        ctx.settle(network=False)
        assert ctx.config.revision == commit


def test_slices_typed_by_hand_are_of_one_commit(moved):
    assert moved.typed("1", "--start", 8, "--end", 15, *WRITING).returncode == 0
    assert moved.typed("1", "--start", 16, *WRITING).returncode == 0
    models = [process["model"]["revision"] for process in moved.manifest()["processes"] if "model" in process]
    assert len(models) == 3 and set(models) == {A}


def test_a_dry_run_says_where_it_would_go_on(moved):
    done = moved.typed("1", "--dry-run", *WRITING)
    assert done.returncode == 0 and "it would continue" in done.stdout, done.stderr
    unknown = moved.typed("1", "--model", "owner/never-seen", "--dry-run", *WRITING)
    assert unknown.returncode == 0 and "settled when the run begins" in unknown.stdout, unknown.stderr


def test_a_revision_that_nobody_knows_is_one_message(moved):
    done = moved.typed("1", "--revision", "no-such-branch", *WRITING)
    assert done.returncode == 2 and "no-such-branch" in done.stderr and "Traceback" not in done.stderr


def test_the_launcher_s_workers_are_told_the_commit():
    typed = GenerationConfig(model=MODEL, revision="main", prompt="auto")
    settled = GenerationConfig(model=MODEL, revision=B, prompt="chat")
    words = words_as_settled(["--model", MODEL, "--revision", "main"], typed, settled)
    assert words == ["--model", MODEL, "--revision", B, "--prompt", "chat"]
    untyped = GenerationConfig(model=MODEL)
    assert words_as_settled(["--model", MODEL], untyped, GenerationConfig(model=MODEL, revision=B))[-2:] == [
        "--revision",
        B,
    ]
    assert with_commits(["--revision=main"], typed, settled) == [f"--revision={B}"]


def test_the_other_model_of_a_transfer_has_a_commit_of_its_own():
    config = TransferConfig(model="google/gemma-2-2b", revision=A, to_revision=B, sae_revision=A)
    assert config.experiment()["to"] == f"google/gemma-2-2b-it@{B[:8]}"
    assert config.revision_of("google/gemma-2-2b-it") == B and config.revision_of("google/gemma-2-2b") == A
    assert set(config.repositories()) == {"revision", "sae_revision", "to_revision"}


def test_a_commit_is_found_by_branch_tag_or_beginning(home, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / "hub"))
    assert commit_of(MODEL, network=False) == A and commit_of(MODEL, "v2", network=False) == B
    assert commit_of(MODEL, B[:9], network=False) == B and commit_of(MODEL, "b", network=False) is None
    assert commit_of(MODEL, "c" * 40, network=False) == "c" * 40
    assert cached_revision("owner/never-seen") is None
    assert model_identity(MODEL, A) == f"{MODEL}@{A[:8]}" and model_identity(MODEL) == MODEL


def test_an_sae_is_read_at_the_commit_of_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    source = sae_source("gemma-2b-res-jb", "gemma-2b")
    layer = min(source.ids)
    repository, path = source.release.repo_id, source.release.paths[source.ids[layer]]
    for number, commit in enumerate((A, B)):
        write_saelens(tmp_path, repository, path, random_arrays(8, 16, seed=number))
        made = cached_file(tmp_path, repository, "x").parent
        made.rename(made.parent / commit)
    point(tmp_path, "main", B, repository)
    at = {commit: load_sae(sae_source("gemma-2b-res-jb", "gemma-2b", commit), layer) for commit in (A, B)}
    assert at[A].revision == A and at[B].revision == B
    assert not (at[A].W_enc == at[B].W_enc).all()
    assert load_sae(source, layer).revision == B  # no commit asked for: main
    assert sae_source("gemma-2b-res-jb", "gemma-2b", A).identity == f"gemma-2b-res-jb@{A[:8]}"
    with pytest.raises(AssetError, match=f"(?s){'c' * 40}.*hf download {repository} --revision {'c' * 40}"):
        load_sae(sae_source("gemma-2b-res-jb", "gemma-2b", "c" * 40), layer)


def test_files_of_another_commit_are_noticed(home, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / "hub"))
    check_read_at(MODEL, A, [str(snapshot(home, A) / "config.json")])
    for files in ([str(snapshot(home, B) / "config.json")], []):
        with pytest.raises(AssetError, match=A):
            check_read_at(MODEL, A, files)


def test_without_a_network_a_commit_is_unknown_and_nothing_breaks(tmp_path):
    """Not told that it is offline: the name of the hub cannot be looked up."""
    code = (
        "import socket\n"
        "def unknown(*_, **__): raise socket.gaierror(-2, 'Name or service not known')\n"
        "socket.getaddrinfo = unknown\n"
        "from common.phases.hub import commit_of\n"
        "print(commit_of('owner/never-seen'))\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    environment |= {"HF_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "None\n"), done.stderr
