"""The pass rate at one temperature, with an interval that knows which samples belong together, and its figure."""

from collections import Counter
from typing import Any

from common.evaluation.statistics import clustered_rate_interval
from common.handoffs import JUDGED
from common.handoffs.preparation import SampledRate
from common.plots import error_bars, new_figure, png_bytes


def rate_at(rows: list[dict[str, Any]], temperature: float, file: str) -> SampledRate:
    """What the samples of one temperature say, which are in `file`; no rate where none could be judged."""
    labels = Counter(row["label"] for row in rows)
    judged = Counter(row["task_id"] for row in rows if row["label"] in JUDGED)
    passed = Counter(row["task_id"] for row in rows if row["label"] == "correct")
    rate, interval = None, None
    if judged:
        rate = labels["correct"] / judged.total()
        interval = clustered_rate_interval([passed[task_id] for task_id in judged], list(judged.values()))
    return SampledRate(
        temperature=temperature,
        file=file,
        problems=len({row["task_id"] for row in rows}),
        programs=len(rows),
        pass_rate=rate,
        pass_rate_95_percent_interval=None if interval is None else list(interval),
        problems_with_a_correct_program=len(passed),
        problems_with_only_correct_programs=sum(passed[task_id] == n for task_id, n in judged.items()),
        labels=dict(sorted(labels.items())),
        errors=dict(sorted(Counter(row["error"] for row in rows if row["error"] is not None).items())),
    )


def draw_pass_rates(rates: list[SampledRate], title: str) -> bytes:
    """Pass rate against temperature, with intervals, as PNG; temperatures without a judged program are left out."""
    known = [rate for rate in rates if rate.pass_rate is not None]
    temperatures, shares = [rate.temperature for rate in known], [rate.share for rate in known]
    with new_figure() as (figure, axes):
        values = [share.value for share in shares]
        axes.errorbar(temperatures, values, yerr=error_bars(shares), marker="o", capsize=3)
        axes.set(xlabel="temperature", ylabel="pass rate, 95 % interval over problems", ylim=(0, 1), title=title)
        axes.set_xticks(temperatures)
        return png_bytes(figure)
