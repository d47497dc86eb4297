"""Covers README.md: every command in it runs, and every file it names is there."""

import re
import shlex
import subprocess

import pytest
from support import ROOT

TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = [line.split("#")[0].strip() for block in BLOCKS for line in block.splitlines() if line.strip()]


def test_the_readme_shows_the_main_commands():
    assert {"make demo", "make test", "python3 run.py phase 1 --model google/gemma-2-2b"} <= set(COMMANDS)
    assert "python3 multi_gpu_launcher.py --phase 1 --start 0 --end 973" in COMMANDS


@pytest.mark.parametrize("line", [c for c in COMMANDS if c.startswith("python3")])
def test_each_command_of_the_readme_runs(line, cli, tmp_path):
    words = shlex.split(line)[1:]
    needs_gpu_or_download = words[:2] in (["run.py", "phase"], ["multi_gpu_launcher.py", "--phase"])
    if needs_gpu_or_download and not {"--dry-run", "--help"} & set(words):
        words.append("--dry-run")
    if "test-gpu" not in words:
        words += ["--data-dir", tmp_path]
    done = cli(*words)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line", [c for c in COMMANDS if c.startswith("make")])
def test_each_target_of_the_readme_is_in_the_makefile(line):
    done = subprocess.run(["make", "--dry-run", *line.split()[1:]], cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0 and ".venv/bin/python" in done.stdout


def test_every_linked_file_and_every_folder_of_the_tree_exists():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", TEXT) if not link.startswith("http")]
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
