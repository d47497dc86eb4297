"""What this machine has: Python and libraries beside the tested ones, GPUs, memory and disk, the hub."""

import importlib.metadata
import platform
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from packaging.version import Version

from common.launch.doctor.finding import BAD, GOOD, WORTH_KNOWING, Finding
from common.model.devices import gpu_report
from common.model.memory import free_bytes
from common.phases.hub import cached_snapshot, client_error
from common.provenance import ROOT

CONSTRAINTS, REQUIREMENTS = ROOT / "constraints.txt", ROOT / "requirements.txt"
OLDEST_PYTHON, TESTED_PYTHON = (3, 11), "3.11"
LITTLE_DISK = 10e9  # bytes: less than the activations of one model
_PIN = re.compile(r"^([\w.-]+)==([\w.]+)$", re.MULTILINE)


def libraries() -> Iterator[Finding]:
    """Whether the packages that requirements.txt names are there, in the tested versions."""
    python = platform.python_version()
    if Version(python).release < OLDEST_PYTHON:
        yield Finding("python", BAD, f"Python {python}", "Python 3.11 or later is needed")
    tested = dict(_PIN.findall(CONSTRAINTS.read_text()))
    others, missing = [], []
    for name in _required():
        try:
            here = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if name in tested and Version(here).public != Version(tested[name]).public:
            others.append(f"{name} {here} (tested: {tested[name]})")
    if missing:
        yield Finding("libraries", BAD, f"missing: {', '.join(missing)}", "Type: pip install -r requirements.txt")
    if others:
        advice = "Numbers may differ in their last digits; the tested ones: pip install -r requirements.txt"
        yield Finding("libraries", WORTH_KNOWING, ", ".join(others), advice)
    if not missing and not others:
        words = f"Python {python}; all {len(_required())} packages in the versions tested on Python {TESTED_PYTHON}"
        yield Finding("libraries", GOOD, words)


def devices() -> Finding:
    """GPUs, or that there is none."""
    _, *lines = gpu_report(detailed=False)
    return Finding("devices", GOOD, "; ".join(line.strip() for line in lines))


def room(data_dir: Path) -> Finding:
    """Memory and disk that are free."""
    place = next(folder for folder in [data_dir.absolute(), *data_dir.absolute().parents] if folder.is_dir())
    disk, memory = shutil.disk_usage(place).free, free_bytes("cpu")
    known = "" if memory is None else f", {memory / 1e9:.0f} GB of memory"
    words = f"{disk / 1e9:.0f} GB free on the disk of {data_dir}{known}"
    if disk < LITTLE_DISK:
        return Finding("room", WORTH_KNOWING, words, "Activations take gigabytes: give --data-dir on another disk")
    return Finding("room", GOOD, words)


def on_the_hub(model: str) -> Finding:
    """Whether a model of the hub is on this disk, or may be fetched."""
    if (folder := cached_snapshot(model)) is not None:
        return Finding("hub", GOOD, f"{model} is on this disk, at commit {folder.name[:12]}")
    from huggingface_hub import auth_check
    from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled, RepositoryNotFoundError

    try:
        auth_check(model)
    except GatedRepoError:
        advice = f"Accept it at https://huggingface.co/{model}, then type: hf auth login"
        return Finding("hub", BAD, f"the licence of {model} was not accepted by this account", advice)
    except RepositoryNotFoundError:
        return Finding("hub", BAD, f"there is no {model} on the hub, or it is private", "Type: hf auth login")
    except (OfflineModeIsEnabled, client_error(), OSError) as error:
        words = f"{model} is not on this disk, and the hub does not answer ({type(error).__name__})"
        return Finding("hub", BAD, words, "Fetch it where there is a network, or give a folder with --model")
    return Finding("hub", GOOD, f"{model} is not on this disk; the hub gives it to this account")


def _required() -> list[str]:
    """Names of the packages in requirements.txt, without those of tests."""
    lines = REQUIREMENTS.read_text().partition("# tests")[0].splitlines()
    return [re.split(r"[<>=!~ ]", line)[0] for line in lines if line and not line.startswith(("-", "#"))]
