"""Covers the order of common/: rooms stand on each other, the ground floor is small, no imports run in a circle."""

import ast
import functools
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from support import ROOT

ROOMS = tuple(
    "handoffs sandbox evaluation runs phases problems model saes programs interventions launch report exchange".split()
)
GROUND_FLOOR = -1
OURS = [
    path
    for path in ROOT.rglob("*.py")
    if not any(part.startswith(".") or part in ("data", "tests") for part in path.relative_to(ROOT).parts)
]
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in OURS}
COMMON = sorted(name for name in MODULES if name.startswith("common."))


@functools.cache
def imports_of(module: str) -> frozenset[str]:
    """Every module of ours that one imports, wherever it does so: in functions and for types alone, too."""
    return frozenset(_imports(module))


def _imports(module: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                deeper = f"{node.module}.{alias.name}"
                yield from {deeper if deeper in MODULES else node.module} & MODULES.keys() - {module}
        elif isinstance(node, ast.Import):
            yield from {alias.name for alias in node.names} & MODULES.keys() - {module}


def floor_of(module: str) -> int:
    room = module.split(".")[1]
    return ROOMS.index(room) if room in ROOMS else GROUND_FLOOR


def test_there_are_rooms_and_each_says_what_is_in_it():
    folders = {path.name for path in (ROOT / "common").iterdir() if path.is_dir() and not path.name.startswith("_")}
    assert folders == {*ROOMS}
    lengths = {room: len((ROOT / "common" / room / "README.md").read_text().splitlines()) for room in ROOMS}
    assert max(lengths.values()) <= 25, lengths


def test_at_most_ten_files_lie_on_the_ground_floor():
    flat = [path for path in (ROOT / "common").glob("*.py") if path.name != "__init__.py"]
    assert 0 < len(flat) <= 10


def test_a_room_imports_only_rooms_before_it_and_the_ground_floor():
    pairs = [(module, other) for module in COMMON for other in imports_of(module) & {*COMMON}]
    assert not [f"{module} imports {other}" for module, other in pairs if floor_of(other) > floor_of(module)]


def test_no_imports_run_in_a_circle():
    graph = {module: imports_of(module) for module in MODULES}
    assert sum(map(len, graph.values())) > 1000
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_run_py_is_two_tables():
    assert len((ROOT / "run.py").read_text().splitlines()) < 150
    assert Path(ROOT / "run.py").read_text().count("def ") == 2
