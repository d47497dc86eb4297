"""Phase 5.2: how well the model does on the prompts of behaviours.

    python3 run.py phase 5.2 --preset demo

1. Of both answers of each prompt the log-probability is read by teacher forcing over all their tokens, and divided by
   their number. The margin is the right answer's minus the wrong one's.
2. Accuracy is the share of margins above the behaviour's threshold, sign accuracy the share above 0, both with Wilson's
   interval. A behaviour passes when in each of its splits the accuracy reaches what is needed (thresholds.py).
3. Where one does not, the run stops and says so: what carries an answer that the model does not give means little.
   With --force it goes on.
"""

import csv
import io
import statistics
from collections.abc import Iterable, Sequence

from common import handoffs
from common.errors import PipelineError
from common.evaluation.statistics import counted
from common.handoffs.circuit_prompts import BaselineDocument, BaselineMetrics, BaselineOfSplit
from common.model.language_model import LanguageModel
from common.model.loading import load_model
from common.phases.context import RunContext
from common.tables import TableRow
from common.words import count, number
from phase5_attribution_graphs.baseline.answers import Asked, read_answers
from phase5_attribution_graphs.baseline.config import CircuitBaselineConfig
from phase5_attribution_graphs.baseline.figures import margins
from phase5_attribution_graphs.baseline.thresholds import threshold_of

Metrics = dict[str, dict[str, BaselineMetrics]]  # by behaviour and split
CARRIED_OVER = ("record", "behaviour", "split", "prompt", "correct_answer", "incorrect_answer")


def run(ctx: RunContext[CircuitBaselineConfig], config: CircuitBaselineConfig) -> None:
    prompts = ctx.read(handoffs.CIRCUIT_PROMPTS).table("prompts.parquet")
    with ctx.write() as out:
        ctx.log.info("loading %s", config.model)
        lm = load_model(config.model, ctx.device, config.dtype, config.threads, revision=config.revision)
        rows = measure(lm, prompts, config.batch_size, ctx)
        metrics = metrics_of(rows)
        missed = [name for name, splits in metrics.items() if not all(one.passes for one in splits.values())]
        for line in lines_about(metrics):
            ctx.log.info("%s", line)
        check(ctx, metrics, missed)
        out.table("baseline.parquet", rows)
        for (behaviour, split), some in by_split(rows).items():
            out.file(f"baseline_{behaviour}_{split}.csv", csv_of(some))
        out.document(
            "baseline.json", BaselineDocument(n=len(rows), forced=bool(missed), missed=missed, behaviours=metrics)
        )
        for split in dict.fromkeys(row["split"] for row in rows):
            of_split = {name: splits[split] for name, splits in metrics.items() if split in splits}
            out.document(f"baseline_metrics_{split}.json", BaselineOfSplit(split=split, behaviours=of_split))
        out.file("figures/margins.png", margins(rows, metrics))
        out.summary = {"prompts": len(rows), "behaviours": len(metrics), "missed": ", ".join(missed) or "none"}
        out.process |= {"model": lm.describe()}


def measure(
    lm: LanguageModel, prompts: Sequence[TableRow], batch_size: int, ctx: RunContext[CircuitBaselineConfig]
) -> list[TableRow]:
    """A row for each prompt."""
    asked = [
        Asked(prompt["token_ids"][: prompt["n_prompt"]], prompt[answer])
        for prompt in prompts
        for answer in ("correct_ids", "incorrect_ids")
    ]
    answered = read_answers(lm, asked, batch_size, ctx.log)
    return [
        _row(prompt, correct, incorrect)
        for prompt, correct, incorrect in zip(prompts, answered[::2], answered[1::2], strict=True)
    ]


def _row(prompt: TableRow, correct: list[float], incorrect: list[float]) -> TableRow:
    margin = statistics.fmean(correct) - statistics.fmean(incorrect)
    differ_at = len(prompt["token_ids"]) - prompt["n_prompt"]
    return {
        **{name: prompt[name] for name in CARRIED_OVER},
        "log_p_correct": statistics.fmean(correct),
        "log_p_incorrect": statistics.fmean(incorrect),
        "n_correct_tokens": len(correct),
        "n_incorrect_tokens": len(incorrect),
        "margin": margin,
        # Both stand after the same tokens, so the normalisation of the softmax is the same.
        "logit_difference": correct[differ_at] - incorrect[differ_at],
        "above_threshold": margin > threshold_of(prompt["behaviour"]).margin,
    }


def by_split(rows: Iterable[TableRow]) -> dict[tuple[str, str], list[TableRow]]:
    """Rows by behaviour and split, in the order of the table."""
    groups: dict[tuple[str, str], list[TableRow]] = {}
    for row in rows:
        groups.setdefault((row["behaviour"], row["split"]), []).append(row)
    return groups


def metrics_of(rows: Sequence[TableRow]) -> Metrics:
    metrics: Metrics = {}
    for (behaviour, split), some in by_split(rows).items():
        metrics.setdefault(behaviour, {})[split] = _metrics(behaviour, some)
    return metrics


def _metrics(behaviour: str, rows: Sequence[TableRow]) -> BaselineMetrics:
    threshold, of_rows = threshold_of(behaviour), [row["margin"] for row in rows]
    n_above = sum(row["above_threshold"] for row in rows)
    return BaselineMetrics(
        n=len(rows),
        threshold=threshold.margin,
        needed=threshold.share,
        accuracy=counted(n_above, len(rows)),
        sign_accuracy=counted(sum(margin > 0 for margin in of_rows), len(rows)),
        mean_margin=statistics.fmean(of_rows),
        median_margin=statistics.median(of_rows),
        smallest_margin=min(of_rows),
        largest_margin=max(of_rows),
        logit_difference=statistics.fmean(row["logit_difference"] for row in rows),
        passes=n_above / len(rows) >= threshold.share,
    )


def lines_about(metrics: Metrics) -> list[str]:
    return [f"{name}, {split}: {_told(one)}" for name, splits in metrics.items() for split, one in splits.items()]


def _told(one: BaselineMetrics) -> str:
    """'55.0 % of 20 prompts above 2.00 (80 % are needed)'."""
    share = number(100 * one.accuracy.rate.known, 1)
    return f"{share} % of {count(one.n)} prompts above {number(one.threshold)} ({100 * one.needed:.0f} % are needed)"


def check(ctx: RunContext[CircuitBaselineConfig], metrics: Metrics, missed: list[str]) -> None:
    """Raises: PipelineError where a behaviour misses its threshold, unless --force goes on all the same."""
    if not missed:
        return
    figures = "; ".join(lines_about({name: metrics[name] for name in missed}))
    if ctx.config.force:
        ctx.log.warning("going on, since --force is given, with behaviours that the model does not show: %s", figures)
        return
    raise PipelineError(
        f"{ctx.config.model} does not show {', '.join(missed)}: {figures}\n"
        f"Leave it out with --behaviours of phase 5.1, give other prompts or another --model, or go on with: "
        f"{ctx.again} --force"
    )


def csv_of(rows: Sequence[TableRow]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
