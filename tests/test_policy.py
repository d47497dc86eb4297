"""Covers the rules of the architecture: who imports whom, sizes, prints, and that every setting has help."""

import ast
import dataclasses
import re
import subprocess
from pathlib import Path

import pytest
from support import ROOT

import run
from common.handoffs import HANDOFFS
from common.phases.settings import spec_of

ROOT_SCRIPTS = {"run.py", "multi_gpu_launcher.py", "clean_data.py"}
PHASE_FOLDERS = {module.split(".")[0] for module in run.PHASES.values()}
FILES = sorted(
    path.relative_to(ROOT)
    for path in ROOT.rglob("*.py")
    if not any(part.startswith(".") or part == "data" for part in path.relative_to(ROOT).parts)
)
COMMANDS = {Path(command.function.partition(":")[0].replace(".", "/") + ".py") for command in run.COMMANDS.values()}
COMMANDS.add(Path("common/launch/running.py"))  # what a dry run says
MOST_SKIPS = 50
LIBRARY = [path for path in FILES if path.parts[0] not in ("tests", "benchmarks") and str(path) not in ROOT_SCRIPTS]


def tree_of(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


def imports_of(path: Path) -> set[str]:
    """First part of every module name that a file imports, wherever it does so."""
    found = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


def test_there_are_files_to_check():
    assert len(LIBRARY) > 30 and {"common", "model_organism", "natural", *PHASE_FOLDERS} <= {
        p.parts[0] for p in LIBRARY
    }


@pytest.mark.parametrize("path", LIBRARY, ids=str)
def test_a_folder_imports_only_common_and_itself(path):
    own = path.parts[0]
    ours = {"run", "multi_gpu_launcher", "clean_data", "common", "model_organism", "natural", "tests", *PHASE_FOLDERS}
    assert imports_of(path) & ours <= {"common", own}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_file_has_at_most_400_lines(path):
    assert len((ROOT / path).read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", [*LIBRARY, *map(Path, sorted(ROOT_SCRIPTS))], ids=str)
def test_a_function_has_at_most_60_lines(path):
    functions = [n for n in ast.walk(tree_of(path)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    too_long = {n.name: n.end_lineno - n.lineno + 1 for n in functions if n.end_lineno - n.lineno + 1 > 60}
    assert not too_long


@pytest.mark.parametrize("path", LIBRARY, ids=str)
def test_only_the_scripts_that_users_type_and_their_commands_print(path):
    if path in COMMANDS:
        return
    calls = [n for n in ast.walk(tree_of(path)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    assert not [call.lineno for call in calls if call.func.id == "print"]


@pytest.mark.parametrize("path", LIBRARY, ids=str)
def test_nothing_unpickles(path):
    assert not imports_of(path) & {"pickle", "dill", "cloudpickle", "joblib", "shelve"}
    assert "torch.load(" not in (ROOT / path).read_text()


@pytest.mark.parametrize("path", LIBRARY, ids=str)
def test_every_module_says_what_it_is(path):
    source = (ROOT / path).read_text()
    assert not source.strip() or ast.get_docstring(ast.parse(source))


@pytest.mark.parametrize("phase_id", run.PHASES)
def test_every_setting_of_a_phase_has_help_and_two_complete_presets(phase_id):
    phase = run.PROGRAM.phase(phase_id)
    for field in dataclasses.fields(phase.config):
        assert len(spec_of(field).help) > 10, f"--{field.name} needs a help text"
        assert field.default is not dataclasses.MISSING
    assert phase.id == phase_id and phase.output.phase == phase_id


@pytest.mark.parametrize("module", run.PHASES.values())
def test_every_phase_has_its_settings_beside_it_and_its_folder_is_explained(module):
    path = ROOT / (module.replace(".", "/") + ".py")
    assert path.name.endswith("phase.py") and path.with_name("config.py").is_file()
    assert (ROOT / path.relative_to(ROOT).parts[0] / "README.md").is_file()


def test_every_artifact_of_a_phase_is_declared_among_the_handoffs():
    outputs = [run.PROGRAM.phase(phase_id).output for phase_id in run.PHASES]
    assert tuple(outputs) == HANDOFFS
    assert all(field.meaning for handoff in HANDOFFS for table in handoff.tables.values() for field in table.values())


@pytest.mark.parametrize("path", [p for p in FILES if p.parts[0] == "tests" and p.name.startswith("test_")], ids=str)
def test_test_files_say_what_they_cover(path):
    assert "overs" in (ast.get_docstring(tree_of(path)) or "").splitlines()[0]


@pytest.mark.parametrize("path", [path for path in LIBRARY if path.parts[:2] != ("common", "runs")], ids=str)
def test_documents_of_an_artifact_are_read_by_the_artifact(path):
    assert not re.search(r"json\.loads?\([^\n]*\.file\(", (ROOT / path).read_text())


def test_skips_of_the_formatter_only_fall():
    names = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    mark = "fmt: " + "skip"
    found = {name: (ROOT / name).read_text().count(mark) for name in names.split() if (ROOT / name).is_file()}
    assert sum(found.values()) <= MOST_SKIPS, {name: n for name, n in found.items() if n}
