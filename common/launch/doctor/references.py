"""Does this machine label programs rightly? Reference solutions, which must all pass, are judged here."""

import itertools
import time

from common.errors import AssetError
from common.launch.doctor.finding import BAD, GOOD, WORTH_KNOWING, Finding
from common.problems.datasets import ProblemSet, load_problems
from common.programs.references import judged_references
from common.runs.discovery import plain_name
from common.sandbox import Sandbox

SECONDS = 10.0  # for the quick check


def judged_here(dataset: str | None, isolation: str, workers: int, full: bool) -> list[Finding]:
    """The sandbox's level, and what became of the reference solutions of a dataset: ten seconds' worth, or all of them.

    Without `dataset`: MBPP where it is on this disk, else the organism's problems; a finding says which.
    """
    problems, findings = _problems(dataset)
    with Sandbox(isolation=isolation, workers=workers) as sandbox:
        findings.append(_of_level(sandbox))
        began = time.monotonic()
        some = itertools.takewhile(lambda _: full or time.monotonic() - began <= SECONDS, problems.problems)
        judged = list(judged_references(some, sandbox))
        seconds = time.monotonic() - began
        near_limit = sandbox.describe()["near_limit_count"]
    wrong, n_judged = [str(failing) for failing in judged if failing is not None], len(judged)
    words = (
        f"{n_judged - len(wrong)} of {n_judged} reference solutions of {plain_name(problems.name)} pass "
        f"({len(problems.problems)} there are; {n_judged / seconds:.0f} per second, {near_limit} near a limit)"
    )
    if not wrong:
        return [*findings, Finding("labels", GOOD, words)]
    advice = "Labels made here would be wrong: try --sandbox none, and compare; or another Python"
    return [*findings, Finding("labels", BAD, words, advice), *(Finding("labels", BAD, line) for line in wrong)]


def _of_level(sandbox: Sandbox) -> Finding:
    missing = sandbox.describe()["missing_layers"]
    if not missing:
        return Finding("sandbox", GOOD, sandbox.line.removeprefix("sandbox: "))
    lacks = "; ".join(f"{layer}: {why}" for layer, why in missing.items())
    advice = "Programs are less confined: docs/sandbox.md says what each layer needs; --sandbox strict refuses to go on"
    return Finding("sandbox", WORTH_KNOWING, f"{sandbox.line.removeprefix('sandbox: ')}; missing {lacks}", advice)


def _problems(dataset: str | None) -> tuple[ProblemSet, list[Finding]]:
    if dataset is not None:
        return load_problems(dataset), []
    try:
        return load_problems("mbpp"), []
    except AssetError:
        words = "mbpp is not on this disk: checked with the model organism's problems"
        return load_problems("organism"), [
            Finding("problems", WORTH_KNOWING, words, "Fetch it: python3 run.py phase 0")
        ]
