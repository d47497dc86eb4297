"""Covers that a constant has one definition and a formula one function: a change is made in one place."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from support import ROOT

FOLDERS = ("common", "model_organism", "natural", "benchmarks", "pva_sae", *(p.name for p in ROOT.glob("phase*/")))
FILES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
SHORT_WORD, SMALL_BODY = 20, 160  # equal words and one-liners may mean different things
SHORT_HELP = 31  # "seed of the random directions"
OF_EACH_FILE = {"HERE"}  # the folder that a file lies in


@cache
def trees() -> dict[Path, ast.Module]:
    """Every file's; not at import, which each process of the tests would pay for."""
    return {path: ast.parse(path.read_text()) for path in FILES}


def constants(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Names in capitals with what they are: those of one assignment to several, each with its own."""
    for node in tree.body:
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            several = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
            pairs = zip(target.elts, node.value.elts, strict=True) if several else [(target, node.value)]
            yield from (
                (one.id, value) for one, value in pairs if isinstance(one, ast.Name) and one.id.lstrip("_").isupper()
            )


def says_something(value: ast.expr) -> bool:
    """Not a number, a short word, or another name: equal ones of those are chance."""
    if isinstance(value, ast.Constant):
        return isinstance(value.value, str) and len(value.value) > SHORT_WORD
    return not isinstance(value, ast.Name | ast.Attribute | ast.UnaryOp | ast.BinOp)


def defined_more_than_once(places: dict[str, list[str]]) -> dict[str, list[str]]:
    return {what: found for what, found in places.items() if len(found) > 1}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_a_constant_is_defined_once():
    places = defaultdict(list)
    for path, tree in trees().items():
        for name, value in constants(tree):
            if says_something(value) and name not in OF_EACH_FILE:
                places[f"{name.lstrip('_')} = {ast.unparse(value)}"].append(name_of(path))
    assert len(places) > 300
    assert defined_more_than_once(places) == {}


def test_an_alias_of_a_type_is_defined_once():
    places = defaultdict(list)
    for path, tree in trees().items():
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript):
                name = ast.unparse(node.targets[0]).lstrip("_")
                if not name.isupper():
                    places[f"{name} = {ast.unparse(node.value)}"].append(name_of(path))
    assert len(places) > 50
    assert defined_more_than_once(places) == {}


def test_no_two_functions_have_the_same_body():
    places = defaultdict(list)
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = "\n".join(ast.unparse(part) for part in node.body if not is_docstring(part))
                if len(body) > SMALL_BODY:
                    places[body].append(f"{name_of(path)}:{node.name}")
    assert len(places) > 1000
    assert defined_more_than_once(places) == {}


def test_a_setting_is_declared_once():
    """What several phases ask for in the same words is declared by one function, as `resamples` is."""
    places = defaultdict(list)
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "setting":
                if len(words := ast.unparse(node.args[1])) > SHORT_HELP:
                    places[words].append(f"{name_of(path)}:{node.lineno}")
    assert len(places) > 150
    assert defined_more_than_once(places) == {}


def test_what_holds_a_program_has_a_name_of_its_own():
    """What is asked, what is written, what is judged, what judges it, what a user hands in, what a part file holds."""
    names = {"Request", "Generation", "Draft", "Solution", "Program", "Submission", "SavedRecord"}
    classes = [node.name for tree in trees().values() for node in tree.body if isinstance(node, ast.ClassDef)]
    assert sorted(name for name in classes if name in names) == sorted(names)


def is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
