"""The problems of the three splits with the label of their greedy program, and the programs of phase 1.2.

1. Programs that could not be judged (not_run, unsupported) are left out and counted, by split.
2. Samples are used for the problems whose greedy program was judged, so that every temperature sees the same ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from common.errors import ConfigError, MissingArtifactError
from common.evaluation.label_counts import MIN_TO_EVALUATE
from common.handoffs import JUDGED, SPLIT_NAMES
from common.programs.greedy import check_greedy


@dataclass(frozen=True)
class JudgedProblems:
    """Problems in the order of the splits, with the rows of phase 0.1 and 1; `left_out` counts by split and reason."""

    problems: list[dict[str, Any]]
    programs: list[dict[str, Any]]
    split: np.ndarray
    left_out: dict[str, dict[str, int]]

    @property
    def task_ids(self) -> list[int]:
        return [row["task_id"] for row in self.problems]

    @cached_property
    def incorrect(self) -> np.ndarray:
        """Asked for with every score that is judged; not to be written to."""
        is_incorrect = np.array([row["label"] == "incorrect" for row in self.programs])
        is_incorrect.flags.writeable = False
        return is_incorrect

    @property
    def complexity(self) -> np.ndarray:
        return np.array([row["complexity"] for row in self.problems])

    def positive(self, label: str) -> np.ndarray:
        """Which problems have the label."""
        return self.incorrect if label == "incorrect" else ~self.incorrect


def judged_problems(
    splits: dict[str, list[dict[str, Any]]],
    programs: Iterable[dict[str, Any]],
    where: str,
    accept_missing: bool = False,
) -> JudgedProblems:
    """The problems of each split (rows of phase 0.1) with their greedy programs (rows of phase 1).

    `where` names the run in messages. Raises: MissingArtifactError when problems have no program at all;
    ConfigError when a split has fewer than 5 correct or incorrect ones, or a program was sampled.
    """
    program_of = {program["task_id"]: program for program in programs}
    check_greedy(program_of.values(), where)
    missing = sorted(row["task_id"] for rows in splits.values() for row in rows if row["task_id"] not in program_of)
    if missing and not accept_missing:
        raise _missing(missing, where)
    kept, names, left_out = [], [], {}
    for name in SPLIT_NAMES:
        reasons: Counter[str] = Counter()
        for row in splits[name]:
            label = program_of[row["task_id"]]["label"] if row["task_id"] in program_of else "missing"
            if label in JUDGED:
                kept.append(row)
                names.append(name)
            else:
                reasons[label] += 1
        left_out[name] = dict(sorted(reasons.items()))
    judged = JudgedProblems(kept, [program_of[row["task_id"]] for row in kept], np.array(names, dtype=str), left_out)
    for name in SPLIT_NAMES:
        _check_both_labels(judged, name, where)
    return judged


@dataclass(frozen=True)
class Samples:
    """Judged programs of the validation split at temperatures above 0 (rows of phase 1.2), by temperature."""

    by_temperature: dict[float, list[dict[str, Any]]]
    left_out: dict[str, int]


def judged_samples(rows: Iterable[dict[str, Any]], problems: JudgedProblems) -> Samples:
    """The samples that can be used; those at temperature 0 are left out: the greedy program is there already."""
    known = {task_id for task_id, split in zip(problems.task_ids, problems.split, strict=True) if split == "validation"}
    by_temperature: dict[float, list[dict[str, Any]]] = {}
    left_out: Counter[str] = Counter()
    for row in rows:
        if row["temperature"] == 0:
            continue
        if row["label"] not in JUDGED:
            left_out[row["label"]] += 1
        elif row["task_id"] not in known:
            left_out["greedy program not judged"] += 1
        else:
            by_temperature.setdefault(row["temperature"], []).append(row)
    ordered = {
        temperature: sorted(by_temperature[temperature], key=lambda row: (row["task_id"], row["sample_index"]))
        for temperature in sorted(by_temperature)
    }
    return Samples(ordered, dict(sorted(left_out.items())))


def _check_both_labels(problems: JudgedProblems, split: str, where: str) -> None:
    incorrect = problems.incorrect[problems.split == split]
    counts = {"correct": int((~incorrect).sum()), "incorrect": int(incorrect.sum())}
    rare = min(counts, key=lambda label: counts[label])
    if counts[rare] >= MIN_TO_EVALUATE:
        return
    shown = " and ".join(f"{count} {label}" for label, count in counts.items())
    left_out = "".join(f", {count} {reason}" for reason, count in problems.left_out[split].items())
    raise ConfigError(
        f"the split '{split}' has {shown} programs{left_out}: an evaluation needs {MIN_TO_EVALUATE} of each\n"
        f"Split the same problems anew, which keeps the programs, by phase 0.1 with larger --fractions for {split}; or "
        f"give a --dataset or --model with more {rare} programs than {where} has"
    )


def _missing(missing: list[int], where: str) -> MissingArtifactError:
    shown = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
    return MissingArtifactError(
        f"{len(missing)} problems of the splits have no record in {where}: task {shown}\n"
        "Run phase 1 on all problems, or leave these out, counted, with: --accept-missing"
    )
