"""How many programs pass: by difficulty, by temperature, and how those that fail do."""

from collections import Counter
from typing import Any

import numpy as np

from common.evaluation import strata
from common.evaluation.statistics import clustered_rate_interval, wilson_interval
from natural.labelled_run import LabelledRun


def rate(n_correct: int, n: int) -> dict[str, Any]:
    """Share of correct programs with Wilson's interval."""
    low, high = wilson_interval(n_correct, n)
    return {"n": n, "correct": n_correct, "value": n_correct / n, "low": low, "high": high}


def by_difficulty(run: LabelledRun) -> list[dict[str, Any]]:
    """Greedy programs of all splits, by stratum of complexity, and all together."""
    correct, complexity = ~run.problems.incorrect, run.problems.complexity
    bounds = strata.upper_bounds(complexity)
    stratum = strata.stratum_of(complexity, bounds)
    rows = [
        {"stratum": name, **rate(int(correct[stratum == number].sum()), int((stratum == number).sum()))}
        for number, name in enumerate(strata.complexity_names(bounds))
    ]
    return [*rows, {"stratum": "all", **rate(int(correct.sum()), len(correct))}]


def by_temperature(run: LabelledRun) -> list[dict[str, Any]]:
    """Programs for `validation`, greedy ones as temperature 0; intervals resample problems, with all their samples."""
    judging = run.of("validation")
    greedy = ~run.problems.incorrect[judging]
    rows = [{"temperature": 0.0, "problems": len(greedy), **rate(int(greedy.sum()), len(greedy))}]
    for temperature, programs in run.samples.by_temperature.items():
        counts, passed = Counter(row["task_id"] for row in programs), Counter()
        for row in programs:
            passed[row["task_id"]] += row["label"] == "correct"
        low, high = clustered_rate_interval([passed[task] for task in counts], list(counts.values()))
        n, n_correct = len(programs), sum(passed.values())
        counted = {"temperature": temperature, "problems": len(counts), "n": n, "correct": n_correct}
        rows.append({**counted, "value": n_correct / n, "low": low, "high": high})
    return rows


def errors(run: LabelledRun) -> list[dict[str, Any]]:
    """Why greedy programs failed, commonest first."""
    kinds = Counter(row["error"] for row in run.problems.programs if row["label"] == "incorrect")
    n = int(np.sum(run.problems.incorrect))
    return [{"error": kind, "n": count, "share": count / n} for kind, count in kinds.most_common()]
