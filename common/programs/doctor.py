"""Does this machine label programs rightly? Reference solutions, which must all pass, are judged here."""

import itertools
import time
from dataclasses import dataclass

from common.cli import Parser, add_sandbox_flags, sandbox_settings
from common.errors import AssetError
from common.problems.datasets import ProblemSet, load_problems
from common.programs.references import judged_references
from common.runs.discovery import plain_name
from common.sandbox import Sandbox

SECONDS = 10.0  # for the quick check


@dataclass(frozen=True)
class Diagnosis:
    """What was found; `wrong` holds a line for each reference solution that did not pass."""

    lines: list[str]
    wrong: list[str]


def diagnose(dataset: str | None, isolation: str, workers: int, full: bool) -> Diagnosis:
    """Judge the reference solutions of a dataset, for ten seconds or all of them.

    Without `dataset`: MBPP where it is on this disk, else the organism's problems; a line says which.
    """
    problems, lines = _problems(dataset)
    with Sandbox(isolation=isolation, workers=workers) as sandbox:
        lines.append(sandbox.line)
        lines += [f"  missing layer {layer}: {why}" for layer, why in sandbox.describe()["missing_layers"].items()]
        began = time.monotonic()
        some = itertools.takewhile(lambda _: full or time.monotonic() - began <= SECONDS, problems.problems)
        judged = list(judged_references(some, sandbox))
        seconds = time.monotonic() - began
        near_limit = sandbox.describe()["near_limit_count"]
    wrong, n_judged = [str(failing) for failing in judged if failing is not None], len(judged)
    lines.append(
        f"{n_judged - len(wrong)} of {n_judged} reference solutions of {plain_name(problems.name)} pass "
        f"({len(problems.problems)} there are; {n_judged / seconds:.0f} per second, {near_limit} near a limit)"
    )
    return Diagnosis(lines, wrong)


def _problems(dataset: str | None) -> tuple[ProblemSet, list[str]]:
    if dataset is not None:
        return load_problems(dataset), []
    try:
        return load_problems("mbpp"), []
    except AssetError:
        return load_problems("organism"), ["mbpp is not on this disk: checked with the model organism's problems"]


def main(argv: list[str], _program: object) -> int:
    parser = Parser(prog="run.py doctor", description="Judge reference solutions here: all must pass.")
    parser.add_argument("--dataset", default=None, help="whose (default: mbpp where it is on this disk, else organism)")
    parser.add_argument("--full", action="store_true", help="all of them, instead of ten seconds' worth")
    add_sandbox_flags(parser)
    args = parser.parse_args(argv)
    settings = sandbox_settings(args)
    diagnosis = diagnose(args.dataset, settings["isolation"], settings["workers"], args.full)
    print("\n".join([*diagnosis.lines, *diagnosis.wrong]))
    return 1 if diagnosis.wrong else 0
