"""What each ablation does, next to the whole prompt of the same problem: to the programs, and to the latents.

Programs: pass rate with Wilson's interval; the difference between paired shares with Bonett and Price's interval;
exact McNemar on the problems whose label changed, Holm over the ablations. Pairs of which one could not be judged
are left out of the difference, and counted. A program under another name than the tested one fails whatever it does, so
it is counted how many programs define that name, and how many of those pass.

Latents: mean activation, and mean change of it, over all problems, with percentile intervals of a bootstrap over
problems; the change also in standard deviations of the activation under the whole prompt. AUROC of the activation
for `incorrect`, both under the ablation, resampled within each label.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from common.evaluation.bootstrap import draws_by_label, draws_of_problems, interval
from common.evaluation.label_counts import MIN_FOR_A_LATENT
from common.evaluation.metrics import auroc
from common.evaluation.statistics import counted, holm, rate
from common.handoffs import JUDGED
from common.handoffs.changes import AblatedDirection, LatentUnderPrompt, UnderPrompt
from common.handoffs.estimates import UNDEFINED, Interval
from common.interventions.comparisons import mcnemar_p
from common.interventions.directions import Direction
from common.interventions.outcomes import change_interval, paired
from common.problems.syntax import module_names, parse_python
from common.tables import TableRow
from phase3_validation.ablation.config import NONE, AblationConfig


def pass_rate(rows: Sequence[TableRow], ablation: str) -> Interval:
    """Share of the programs under an ablation that pass, of those that could be judged."""
    labels = [row["label"] for row in rows if row["ablation"] == ablation]
    return rate(labels.count("correct"), sum(label in JUDGED for label in labels))


def ablations(rows: Sequence[TableRow], names: Sequence[str], entry_points: dict[int, str]) -> dict[str, UnderPrompt]:
    """What became of the programs under each ablation; `difference` is that of the pass rate to the whole prompt's.

    `entry_points` is the name of each problem's tested function.
    """
    under_prompt = {}
    for name in names:
        under = _under(rows, name)
        named = [row for row in under if _defines(row["code"], entry_points[row["task_id"]])]
        labels, errors = Counter(row["label"] for row in under), Counter(row["error"] for row in under if row["error"])
        under_prompt[name] = UnderPrompt(
            n=len(under),
            pass_rate=pass_rate(under, name),
            named=counted(len(named), len(under)),
            pass_rate_of_named=pass_rate(named, name),
            labels=dict(sorted(labels.items())),
            errors=dict(sorted(errors.items())),
            **({} if name == NONE else _difference(_under(rows, NONE), under)),
        )
    beside = [name for name in names if name != NONE]
    for name, p in zip(beside, holm([under_prompt[name].mcnemar_p for name in beside]), strict=True):
        under_prompt[name] = replace(under_prompt[name], mcnemar_p_holm=p)
    return under_prompt


def directions(
    rows: Sequence[TableRow], measured: Sequence[TableRow], chosen: Sequence[Direction], config: AblationConfig
) -> dict[str, AblatedDirection]:
    """What became of each direction's latent; `measured` are the rows of activations.parquet."""
    n = len(_under(rows, NONE))
    draws = draws_of_problems(n, config.n_resamples, config.seed)
    ablated = {}
    for direction in chosen:
        rows_of = [row for row in measured if row["direction"] == direction.name]
        whole = _activations(rows_of, NONE)
        spread = float(whole.std(ddof=1)) if n > 1 else 0.0
        by_ablation = {}
        for name in config.ablations:
            values = _activations(rows_of, name)
            change = None if name == NONE else _mean(values - whole, draws)
            by_ablation[name] = LatentUnderPrompt(
                mean=_mean(values, draws),
                firing_rate=float((values > 0).mean()),
                auroc=_auroc(values, [row["label"] for row in _under(rows, name)], config),
                change=change,
                change_in_sd=change and _in_units_of(spread, change),
            )
        ablated[direction.name] = AblatedDirection(
            latent=direction.facts, positive=direction.positive, sd=spread, ablations=by_ablation
        )
    return ablated


def _difference(whole: list[TableRow], under: list[TableRow]) -> dict[str, Any]:
    pairs = paired(whole, under)
    gained, lost = pairs.corrected, pairs.corrupted
    return {
        "pairs": pairs.n,
        "left_out": pairs.left_out,
        "gained": gained,
        "lost": lost,
        "difference": change_interval(gained, lost, pairs.n),
        "mcnemar_p": mcnemar_p(gained, lost),
    }


def _defines(code: str, name: str) -> bool:
    """Whether a program binds `name` at its top level; one that does not parse binds nothing."""
    try:
        return name in module_names(parse_python(code).body)
    except SyntaxError:
        return False


def _under(rows: Sequence[TableRow], ablation: str) -> list[TableRow]:
    return [row for row in rows if row["ablation"] == ablation]


def _activations(rows: Sequence[TableRow], ablation: str) -> np.ndarray:
    return np.array([row["activation"] for row in _under(rows, ablation)])


def _mean(values: np.ndarray, draws: np.ndarray) -> Interval:
    return interval(float(values.mean()), draws @ values / len(values))


def _in_units_of(spread: float, change: Interval) -> Interval:
    return Interval(*(value / spread for value in vars(change).values())) if spread else UNDEFINED


def _auroc(values: np.ndarray, labels: list[str], config: AblationConfig) -> Interval:
    """AUROC of the activation for incorrect, with its interval; undefined with fewer than MIN_FOR_A_LATENT of a label.

    A bootstrap over one or two programs of a label would give an interval that is far too short.
    """
    known = np.array([label in JUDGED for label in labels])
    if min(labels.count(label) for label in JUDGED) < MIN_FOR_A_LATENT:
        return UNDEFINED
    values, incorrect = values[known], np.array([label == "incorrect" for label in labels])[known]
    draws = draws_by_label(incorrect, config.n_resamples, config.seed)
    whole = float(auroc(values, incorrect.astype(float), (~incorrect).astype(float)))
    return interval(whole, auroc(values, draws * incorrect, draws * ~incorrect))
