"""What a manifest says of the code, the libraries and the machine that made an artifact."""

import functools
import platform
import subprocess
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

_LIBRARIES = (
    *("torch", "transformers", "tokenizers", "sae-lens", "transformer-lens", "datasets", "numpy", "pandas", "pyarrow"),
    *("scikit-learn", "scipy", "statsmodels", "radon", "safetensors"),
)


def version() -> str:
    """That of the project, as its pyproject.toml says."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


@functools.cache  # what this process imported does not change with the files
def code_state() -> dict[str, Any]:
    """Commit, and whether the tree had uncommitted changes; both None outside a git checkout."""
    status = _git("status", "--porcelain")
    return {"commit": _git("rev-parse", "HEAD"), "dirty": None if status is None else bool(status)}


def code_words(code: dict[str, Any]) -> str:
    """'8f254fd with changes', of what `code_state` told."""
    if code["commit"] is None:
        return "outside of git"
    return code["commit"][:7] + (" with changes" if code["dirty"] else "")


@functools.cache  # the metadata of fourteen packages, for each of a pipeline's artifacts
def library_versions() -> dict[str, str]:
    """Versions of the libraries that numbers can depend on, without importing them."""
    import importlib.metadata

    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # a phase that does not need it may run without it
    return versions


def machine() -> dict[str, str]:
    return {"system": platform.platform(), "processor": platform.machine()}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:  # git is not installed
        return None
    return done.stdout.strip() if done.returncode == 0 else None
