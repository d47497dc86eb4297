"""Covers pyproject.toml, CITATION.cff, CHANGELOG.md and CONTRIBUTING.md: one version, one list of packages."""

import re
import tomllib
from fnmatch import fnmatchcase

import pytest
import yaml
from support import ROOT, command

from common.provenance import version

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PLACEHOLDERS = {"repository-code": "https://example.org/pva-sae"}  # what nobody has settled yet


def ranges(file: str) -> list[str]:
    """The packages of a requirements file that are needed beyond tests."""
    text = (ROOT / file).read_text().partition("# tests")[0]
    return [line for line in text.splitlines() if line and not line.startswith(("-c", "#"))]


def test_the_package_needs_what_the_requirements_list():
    assert PROJECT["project"]["dependencies"] == ranges("requirements.txt")
    assert PROJECT["project"]["optional-dependencies"]["serve"] == ranges("requirements-serve.txt")


def test_every_package_and_root_script_is_installed():
    patterns = PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert not [name for name in packages if not any(fnmatchcase(name, pattern) for pattern in patterns)]
    assert {path.stem for path in ROOT.glob("*.py")} == {*PROJECT["tool"]["setuptools"]["py-modules"]}


def test_every_file_says_the_same_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert version() == PROJECT["project"]["version"] == citation["version"]
    assert f"## {version()}" in (ROOT / "CHANGELOG.md").read_text()
    assert command("run.py", "--version").stdout.startswith(f"pva-sae {version()} (")


def test_what_is_not_settled_is_a_known_placeholder():
    text = (ROOT / "CITATION.cff").read_text()
    assert yaml.safe_load(text)["license"] == PROJECT["project"]["license"]["text"]
    assert {key: yaml.safe_load(text)[key] for key in PLACEHOLDERS} == PLACEHOLDERS
    assert len(re.findall("placeholder|example.org", text)) == 2 * len(PLACEHOLDERS)


def test_what_contributors_are_told_of_where_it_happens_is_so():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| [^|]+\? \| `(\w+)` in `([\w/]+\.py)`", text, re.MULTILINE)
    assert len(rows) >= 9
    for name, path in rows:
        assert re.search(rf"^(def|class) {name}\b", (ROOT / path).read_text(), re.MULTILINE), f"{name} in {path}"


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "CHANGELOG.md", "pva_sae/README.md"])
def test_every_path_that_a_page_names_is_there(page):
    names = set(re.findall(r"`([\w./]+/[\w./]*)`", (ROOT / page).read_text())) - {"phaseN_subject/"}
    assert not [name for name in names if not (ROOT / name).exists()]
