"""The problems that phase 3.6 works on, where they are another dataset's.

1. Left out is what selected the latents, or tuned their thresholds and coefficients: problems of `sae` and
   `hyperparams` in another edition (MBPP+ holds those of MBPP), and near duplicates of them.
2. A fifth of the others tunes the refitted threshold (`hyperparams`), the rest judges (`validation`). Nothing is
   selected here, so that there is no `sae`. Near duplicates stay together.
3. Each has the complexity of its reference solution, as phase 0 measures it.
"""

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from common.errors import ArtifactMismatchError, ConfigError
from common.evaluation.label_counts import MIN_TO_EVALUATE
from common.problems.datasets import PILOT, ProblemSet, dataset_name, drawn, load_problems
from common.problems.difficulty import measure_difficulty
from common.problems.near_duplicates import group_near_duplicates
from common.problems.problem import Problem
from common.runs.artifacts import Artifact
from common.runs.discovery import plain_name
from common.tables import TableRow

SEEN, TUNING, JUDGING = ("sae", "hyperparams"), "hyperparams", "validation"
TUNING_SHARE = 0.2
TELLING_NAME = 5  # letters of a name that stands in another: `f` and `sum` stand in many


@dataclass(frozen=True)
class OtherProblems:
    """Rows of both splits, as phase 0.1 has them; `used` are their problems, of `n` that the dataset has."""

    splits: dict[str, list[TableRow]]
    used: ProblemSet
    n: int

    @property
    def n_seen(self) -> int:
        """How many were left out."""
        return self.n - len(self.used.problems)


def other_problems(dataset: str, seen: Iterable[TableRow]) -> OtherProblems:
    """The problems of `dataset`, a name or a file; `seen` are rows of the splits that selected and tuned.

    Raises: ConfigError when there are too few; else as `load_problems`.
    """
    return _shared_out(dataset, dataset_name(dataset), tuple(map(Problem.of_row, seen)))


def check_not_trained_on(dictionaries: Artifact, first: str, other: str) -> None:
    """Hold that dictionaries of one's own have not seen the prompts of the other dataset; names are identities.

    Of the first one they may have: on its split `sae` alone, which is left out. Raises: ArtifactMismatchError.
    """
    trained_on = dictionaries.manifest["settings"].get("dataset", "")  # nothing where it was general text alone
    whole = {name: plain_name(name).partition(PILOT)[0] for name in (first, other, trained_on)}
    if whole[trained_on] == whole[other] != whole[first]:
        raise ArtifactMismatchError(
            f"the dictionaries in {dictionaries.path} were trained on prompts of {trained_on}, which --to-dataset "
            f"names: they have seen what would judge\nGive another --to-dataset, or other dictionaries with --sae"
        )


@functools.lru_cache(maxsize=1)  # a run counts its records several times, and looking for duplicates takes a second
def _shared_out(dataset: str, _identity: str, seen: tuple[Problem, ...]) -> OtherProblems:
    loaded = load_problems(dataset)
    groups = _new_groups(loaded.problems, seen)
    tuning = _tuning_ids(loaded, groups)
    new = {problem.task_id for group in groups for problem in group}
    problems = tuple(problem for problem in loaded.problems if problem.task_id in new)
    splits: dict[str, list[TableRow]] = {TUNING: [], JUDGING: []}
    for problem in problems:
        complexity = measure_difficulty(problem.code)["complexity"]
        splits[TUNING if problem.task_id in tuning else JUDGING].append({**problem.row(), "complexity": complexity})
    return OtherProblems(splits, dataclasses.replace(loaded, problems=problems), len(loaded.problems))


def _new_groups(problems: Sequence[Problem], seen: Sequence[Problem]) -> list[tuple[Problem, ...]]:
    """Groups of near duplicates, most of them of one problem, that hold nothing that was seen."""
    # Two datasets number their problems each on its own.
    numbered = [dataclasses.replace(one, task_id=place) for place, one in enumerate([*seen, *problems])]
    names = {problem.task_id: problem.entry_point for problem in seen}
    unseen = []
    for group in group_near_duplicates(numbered):
        if group.task_ids[0] >= len(seen):  # the smallest
            members = tuple(problems[place - len(seen)] for place in group.task_ids)
            if not any(_is_edition(problem, names.get(problem.task_id)) for problem in members):
                unseen.append(members)
    return unseen


def _is_edition(problem: Problem, name: str | None) -> bool:
    """Whether the seen problem of the same number, which tests `name`, is the same one.

    Of the 427 problems of sanitized MBPP 40 are worded and solved so differently from MBPP's that they are no near
    duplicates of them: 33 test a function of the same name, 6 one whose name has other capitals, and one calls
    `find_solution` what was `solution`.
    """
    if name is None:
        return False
    shorter, longer = sorted((problem.entry_point.casefold(), name.casefold()), key=len)
    if shorter == longer:
        return len(shorter) > 1
    return len(shorter) >= TELLING_NAME and shorter in longer


def _tuning_ids(problem_set: ProblemSet, groups: Sequence[tuple[Problem, ...]]) -> set[int]:
    """Numbers of the problems that tune the refitted threshold. Raises: ConfigError."""
    least = 2 * MIN_TO_EVALUATE  # of either split, for 5 programs of each label
    if len(groups) < 2 * least:
        n, n_left = len(problem_set.problems), sum(map(len, groups))
        raise ConfigError(
            f"--to-dataset {problem_set.name} has {n} problems; {n - n_left} of them "
            f"selected latents or tuned thresholds and coefficients, or are near duplicates of such, and of the others "
            f"{len(groups)} differ: too few to tune a threshold and to judge\n"
            f"Give a dataset with {2 * least} or more such problems"
        )
    n = max(least, round(TUNING_SHARE * len(groups)))
    first = {problem.task_id for problem in drawn(tuple(group[0] for group in groups), n)}
    return {problem.task_id for group in groups if group[0].task_id in first for problem in group}
