"""Covers README.md: every command in it runs, and every file it names is there."""

import re
import shlex
import subprocess

import pytest
from support import ROOT, command, prepare_datasets_cache
from typed_commands import links_in, typed_in

from common.files import text_sha256

TEXT = (ROOT / "README.md").read_text()
COMMANDS = typed_in(TEXT)


def test_the_readme_shows_the_main_commands():
    assert {"make demo", "make test", "python3 run.py phase 1 --model google/gemma-2-2b"} <= set(COMMANDS)
    assert "python3 multi_gpu_launcher.py --phase 1 --start 0 --end 973" in COMMANDS


@pytest.fixture(scope="module")
def home(tmp_path_factory, small_problem_rows):
    """The hub's cache on the disk of somebody who has fetched MBPP; the 974 problems are made here."""
    folder = tmp_path_factory.mktemp("hub")
    own = {"test_setup_code": "", "challenge_test_list": []}
    rows = []
    for i in range(974):
        like, digits = small_problem_rows[i % 100], text_sha256(str(i))
        text = " ".join(digits[k : k + 6] for k in range(0, 60, 6))  # no near duplicates
        rows.append({**like, **own, "task_id": i, "text": text, "code": f"{like['code']}\nNUMBER = {i}"})
    prepare_datasets_cache(folder, "google-research-datasets/mbpp", "full", {"train": rows})
    documents = [{"text": f"document {i}", "meta": {}} for i in range(10_000)]
    prepare_datasets_cache(folder, "NeelNanda/pile-10k", "default", {"train": documents})
    return folder


@pytest.fixture(scope="module")
def data(home, tmp_path_factory):
    """A data folder after the README's first command for a real model, and phase 0 of the demo."""
    folder = tmp_path_factory.mktemp("data")
    for words in (["phase", "0"], ["phase", "0", "--preset", "demo"]):
        done = command("run.py", *words, "--data-dir", folder, home=home)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("line", [c for c in COMMANDS if c.startswith("python3")])
def test_each_command_of_the_readme_runs(line, home, data):
    words = shlex.split(line)[1:]
    needs_a_model = words[1:2] == ["pipeline"] or (words[1:2] == ["phase"] and words[2] not in ("0", "0.1"))
    if words[0] == "multi_gpu_launcher.py" or needs_a_model:  # they need a GPU and a download
        words += [] if {"--dry-run", "--help"} & set(words) else ["--dry-run"]
    if not {"test-gpu", "doctor"} & set(words):
        words += ["--data-dir", data]
    done = command(*words, home=home)
    if words[1:2] in (["report"], ["latent"]):  # of what a model has written, which is not here
        assert done.returncode == 2 and re.search(r"\n(Build it|Build).*python3 run.py", done.stderr), done.stderr
    else:
        assert done.returncode == 0, done.stderr
        waits = words[1:3] in (["phase", "2"], ["phase", "3.6"])
        assert not waits or re.search(r"waits for:\n.*\n *Build it with: python3 run.py", done.stdout)


@pytest.mark.parametrize("line", [c for c in COMMANDS if c.startswith("make")])
def test_each_target_of_the_readme_is_in_the_makefile(line):
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", *line.split()[1:]], cwd=ROOT, text=True, capture_output=True
    )
    assert done.returncode == 0 and ".venv/bin/python" in done.stdout


def test_every_linked_file_and_every_folder_of_the_tree_exists():
    links = links_in(TEXT)
    assert links and not [link for link in links if not (ROOT / link).exists()]
    tree = TEXT.split("## Where things are")[1].split("```")[1]
    top = [
        word for line in tree.splitlines() for word in re.findall(r"^[a-z0-9_]+(?:\.py|/)|  [a-z0-9_]+/(?=  |$)", line)
    ]
    names = {word.strip() for word in top}
    assert {"common/", "phase0_1_split/", "phase1_dataset_building/", "run.py"} <= names
    inside = {name for name in names if not (ROOT / name).exists()}
    assert all((ROOT / "common" / name).exists() for name in inside), inside


def test_the_figures_were_filled_in():
    assert "@" not in TEXT
