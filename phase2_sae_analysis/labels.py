"""The problems of a split with what became of them: a pass rate for each, from one program or from many.

1. The greedy program of phase 1 gives a pass rate of 1 or 0.
2. On the validation split, where phase 1.2 has sampled, all its samples of a problem give the share that pass.
   That result is for description only.
3. Programs that could not be judged (not_run, unsupported) are left out and counted.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.errors import ConfigError, MissingArtifactError
from common.evaluation.label_counts import MIN_TO_COMPARE
from common.handoffs import JUDGED
from common.programs.greedy import check_greedy

GREEDY, SAMPLED = "one greedy program per problem", "samples of phase 1.2"


@dataclass(frozen=True)
class LabelledProblems:
    """Problems in the order of the split, with their pass rates in [0, 1].

    `left_out` counts what could not be used, by reason; `labels_from` is GREEDY or SAMPLED.
    """

    task_ids: list[int]
    texts: list[str]
    pass_rate: np.ndarray
    left_out: dict[str, int]
    labels_from: str

    @property
    def n_correct(self) -> float:
        """How many problems count as correct; a problem with pass rate 0.4 counts 0.4."""
        return float(self.pass_rate.sum())

    @property
    def n_incorrect(self) -> float:
        return float((1 - self.pass_rate).sum())


def labelled_problems(
    split: list[dict[str, Any]],
    programs: Iterable[dict[str, Any]],
    where: str,
    *,
    labels_from: str = GREEDY,
    accept_missing: bool = False,
) -> LabelledProblems:
    """The problems of `split` (rows of phase 0.1) with the labels of `programs` (rows of phase 1 or 1.2).

    `where` names the run in messages. Raises: MissingArtifactError when problems have no program at all;
    ConfigError when fewer than 10 count as correct, or as incorrect, or greedy programs were sampled.
    """
    programs, wanted = list(programs), {row["task_id"] for row in split}
    if labels_from == GREEDY:
        check_greedy(programs, where)
    seen: set[int] = set()
    judged: dict[int, list[bool]] = {}
    left_out: Counter[str] = Counter()
    for program in programs:
        task_id, label = program["task_id"], program["label"]
        if task_id in wanted:
            seen.add(task_id)
            if label in JUDGED:
                judged.setdefault(task_id, []).append(label == "correct")
            else:
                left_out[label] += 1
    missing = sorted(wanted - seen)
    if missing and not accept_missing:
        raise _missing(missing, len(split), where)
    left_out |= Counter({"missing": len(missing)} if missing else {})
    kept = [row for row in split if row["task_id"] in judged]
    pass_rate = np.array([np.mean(judged[row["task_id"]]) for row in kept], dtype=np.float64)
    ids, texts = [row["task_id"] for row in kept], [row["text"] for row in kept]
    problems = LabelledProblems(ids, texts, pass_rate, dict(sorted(left_out.items())), labels_from)
    _check_both_labels(problems, where)
    return problems


def _check_both_labels(problems: LabelledProblems, where: str) -> None:
    counts = {"correct": problems.n_correct, "incorrect": problems.n_incorrect}
    rare = min(counts, key=lambda label: counts[label])
    if counts[rare] >= MIN_TO_COMPARE:
        return
    shown = " and ".join(f"{count:g} {label}" for label, count in counts.items())
    left_out = "".join(f", {count} {reason}" for reason, count in problems.left_out.items())
    what = "a comparison needs both" if counts[rare] == 0 else f"a comparison needs {MIN_TO_COMPARE} of each"
    raise ConfigError(
        f"of {len(problems.task_ids)} problems {shown} can be compared{left_out}: {what}\n"
        f"They are in {where}; give a --dataset or --model with more {rare} programs"
    )


def _missing(missing: list[int], n: int, where: str) -> MissingArtifactError:
    shown = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
    return MissingArtifactError(
        f"{len(missing)} of the {n} problems of the split have no record in {where}: task {shown}\n"
        "Run phase 1 on all problems, or leave these out, counted, with: --accept-missing"
    )
