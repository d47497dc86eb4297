"""Covers the rules of the architecture: who imports whom, sizes, prints, and that every setting has help."""

import ast
import dataclasses
import functools
import re
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from support import ROOT

import run
from common.handoffs import SCHEMAS
from common.phases.settings import spec_of

ROOT_SCRIPTS = {"run.py", "multi_gpu_launcher.py", "clean_data.py"}
DOOR = "pva_sae"  # for who uses Python: it opens every room, and nothing inside needs it
PHASE_FOLDERS = {module.split(".")[0] for module in run.PHASES.values()}
FILES = sorted(
    path.relative_to(ROOT)
    for path in ROOT.rglob("*.py")
    if not any(part.startswith(".") or part == "data" for part in path.relative_to(ROOT).parts)
)
COMMANDS = {Path(command.function.partition(":")[0].replace(".", "/") + ".py") for command in run.COMMANDS.values()}
COMMANDS.add(Path("common/launch/running.py"))  # what a dry run says
COMMANDS.add(Path("common/launch/side_by_side.py"))  # what phases at the same time have printed
COMMANDS.add(Path("docs/natural/check.py"))  # a script, which knows nothing of this project
MOST_SKIPS = 50
LIBRARY = [path for path in FILES if path.parts[0] not in ("tests", "benchmarks") and str(path) not in ROOT_SCRIPTS]


@dataclasses.dataclass(frozen=True)
class Source:
    """What the rules ask of one file: for one, the first parts of the modules that it imports, wherever it does so."""

    text: str
    says: str
    imports: frozenset[str]
    too_long: dict[str, int]
    prints: list[int]


@functools.cache
def read(path: Path) -> Source:
    """Each file is parsed once, for all rules."""
    text = (ROOT / path).read_text()
    tree = ast.parse(text)
    imports, too_long, prints = set(), {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            imports.add(node.module.split(".")[0])
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            n_lines = node.end_lineno - node.lineno + 1
            too_long |= {node.name: n_lines} if n_lines > 60 else {}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            prints.append(node.lineno)
    return Source(text, ast.get_docstring(tree) or "", frozenset(imports), too_long, prints)


def broken(rule: Callable[[Path], object], paths: Iterable[Path]) -> dict[str, object]:
    """By file, what it has against a rule."""
    return {str(path): found for path in paths if (found := rule(path))}


def test_there_are_files_to_check():
    assert len(LIBRARY) > 30 and {"common", "model_organism", "natural", *PHASE_FOLDERS} <= {
        p.parts[0] for p in LIBRARY
    }


def test_a_folder_imports_only_common_and_itself():
    ours = {
        DOOR,
        "common",
        "model_organism",
        "natural",
        "run",
        "multi_gpu_launcher",
        "clean_data",
        "tests",
        *PHASE_FOLDERS,
    }
    inside = [path for path in LIBRARY if path.parts[0] != DOOR]
    more = {"natural": {"run"}}  # it carries out phases as whoever types them
    assert not broken(
        lambda path: read(path).imports & ours - {"common", path.parts[0]} - more.get(path.parts[0], set()), inside
    )


def test_a_file_has_at_most_400_lines():
    lengths = {path: len(read(path).text.splitlines()) for path in FILES}
    assert not broken(lambda path: lengths[path] > 400 and lengths[path], FILES)


def test_a_function_has_at_most_60_lines():
    assert not broken(lambda path: read(path).too_long, [*LIBRARY, *map(Path, ROOT_SCRIPTS)])


def test_only_the_scripts_that_users_type_and_their_commands_print():
    assert not broken(lambda path: path not in COMMANDS and read(path).prints, LIBRARY)


def test_nothing_unpickles():
    pickles = {"pickle", "dill", "cloudpickle", "joblib", "shelve"}
    assert not broken(lambda path: read(path).imports & pickles or "torch.load(" in read(path).text, LIBRARY)


def test_every_module_says_what_it_is():
    assert not broken(lambda path: read(path).text.strip() and not read(path).says, LIBRARY)


@pytest.mark.parametrize("phase_id", run.PHASES)
def test_every_setting_of_a_phase_has_help_and_two_complete_presets(phase_id):
    phase = run.CATALOGUE.phase(phase_id)
    for field in dataclasses.fields(phase.config):
        assert len(spec_of(field).help) > 10, f"--{field.name} needs a help text"
        assert field.default is not dataclasses.MISSING
    assert phase.id == phase_id and phase.output.phase == phase_id


@pytest.mark.parametrize("module", run.PHASES.values())
def test_every_phase_has_its_settings_beside_it_and_its_folder_is_explained(module):
    path = ROOT / (module.replace(".", "/") + ".py")
    assert path.name.endswith("phase.py") and path.with_name("config.py").is_file()
    assert (ROOT / path.relative_to(ROOT).parts[0] / "README.md").is_file()


def test_every_artifact_of_a_phase_is_declared_among_the_schemas():
    outputs = [run.CATALOGUE.phase(phase_id).output for phase_id in run.PHASES]
    assert tuple(outputs) == SCHEMAS
    assert all(field.meaning for schema in SCHEMAS for table in schema.tables.values() for field in table.values())


def test_test_files_say_what_they_cover():
    files = [path for path in FILES if path.parts[0] == "tests" and path.name.startswith("test_")]
    assert not broken(lambda path: "overs" not in read(path).says.partition("\n")[0], files)


def test_documents_of_an_artifact_are_read_by_the_artifact():
    others = [path for path in LIBRARY if path.parts[:2] != ("common", "runs")]
    assert not broken(lambda path: re.findall(r"json\.loads?\([^\n]*\.file\(", read(path).text), others)


def test_skips_of_the_formatter_only_fall():
    names = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    mark = "fmt: " + "skip"
    found = {name: read(Path(name)).text.count(mark) for name in names.split() if (ROOT / name).is_file()}
    assert sum(found.values()) <= MOST_SKIPS, {name: n for name, n in found.items() if n}
