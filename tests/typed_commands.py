"""What pages tell a reader to type, and whether it would be understood: for tests of READMEs and of the site."""

import functools
import re
import shlex

from support import ROOT, cold_command

import run
from common.launch.running import flags_of, phase_parser
from common.phases.settings import build_config

BLOCK = re.compile(r"```bash\n(.*?)```", re.DOTALL)
NOT_OURS = ("hf ", ". .venv/bin/activate")


def typed_in(text: str) -> list[str]:
    """Every line of the blocks of shell commands, without what is said beside it."""
    lines = [line for block in BLOCK.findall(text) for line in block.splitlines()]
    return [line.split(" #")[0].strip() for line in lines if line.split("#")[0].strip()]


def links_in(text: str) -> list[str]:
    """Where its links lead within this repository, without the place in the page."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    found = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    return [link.partition("#")[0] for link in found if not link.startswith("#")]


def check_understood(line: str) -> None:
    """A command's words are those that it takes: a phase's settings are read, of others the flags are known."""
    if line.startswith("make "):
        assert f"\n{line.split()[1]}:" in (ROOT / "Makefile").read_text(), line
        return
    if line.startswith(NOT_OURS):
        return
    program, *words = shlex.split(line)
    assert program.startswith("python"), line
    if words[0] == "-m":
        _check_module(line, words[1], words[2:])
    elif words[:2] == ["run.py", "phase"]:
        _check_phase(words[2], words[3:])
    elif words[0] == "multi_gpu_launcher.py":
        _check_flags(line, words, _flags_of_launcher() | _flags_of_phase(words[words.index("--phase") + 1]))
    elif words[:2] == ["run.py", "pipeline"]:
        _check_flags(line, words, {"--from"}.union(*map(_flags_of_phase, run.PHASES)))
    else:
        assert words[0] in ("run.py", "clean_data.py", "docs/natural/check.py"), line
        _check_flags(line, words, _flags_in_help(*(words[:2] if words[0] == "run.py" else words[:1])))


def _check_phase(phase_id: str, words: list[str]) -> None:
    if phase_id in run.CATALOGUE.groups:
        allowed = set[str]().union(*map(_flags_of_phase, run.CATALOGUE.groups[phase_id]))
        _check_flags(f"phase {phase_id}", words, allowed)
        return
    phase = run.CATALOGUE.phase(phase_id)
    args = phase_parser(phase).parse_args([word for word in words if word != "--help"])
    build_config(phase.config, args.preset, vars(args))


def _check_module(line: str, module: str, words: list[str]) -> None:
    path = ROOT / (module.replace(".", "/") + ".py")
    assert path.is_file(), line
    texts = "".join(other.read_text() for other in path.parent.glob("*.py"))  # where some declare what all have
    assert not [flag for flag in _flags(words) if f'"{flag}"' not in texts], line


def _check_flags(line: str, words: list[str], known: set[str]) -> None:
    assert not _flags(words) - known, f"{line}: {_flags(words) - known}"


def _flags(words: list[str]) -> set[str]:
    return {word.partition("=")[0] for word in words if word.startswith("--")}


@functools.cache
def _flags_of_phase(phase_id: str) -> set[str]:
    ids = run.CATALOGUE.groups.get(phase_id, (phase_id,))
    return set[str]().union(*(flags_of(run.CATALOGUE.phase(one)) for one in ids))


@functools.cache
def _flags_of_launcher() -> set[str]:
    return _flags_in_help("multi_gpu_launcher.py")


@functools.cache
def _flags_in_help(*words: str) -> set[str]:
    done = cold_command(*words, "--help")  # which needs no libraries
    assert done.returncode == 0, done.stderr
    return {"--help", *re.findall(r"--[a-z][a-z-]*", done.stdout)}
