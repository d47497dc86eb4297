"""What a detector is worth on texts that neither chose its latents nor its threshold, beside simpler scores.

1. The verdict is that of the AUROC's interval alone (common/evaluation/score_verdicts.py), whatever the target.
   Beside it the paired differences of AUROC to: a logistic regression and a difference of means on the same layer's
   residual stream, lengths, and how sure the model was of what it wrote.
2. The operating point that was asked for: precision and recall beside those of a random score that flags as many texts,
   which are the base rate and the flag rate, with paired intervals. Other scores' thresholds are chosen on
   `hyperparams` by the same target, and read like it (common/evaluation/cards.py).
3. Calibration: Brier score, and the expected calibration error (ECE) over ten groups of about equal size. Both are
   beside what a perfectly calibrated probability would show by chance on as few texts.
4. The target's metric with Wilson's interval, and in words whether it was met; how the routes divide the texts.
5. On how many validation texts of its own kind, and of the other kind, it abstains because of their form; and where the
   other kind was read, what its score would have been worth there.

Sources: Guo et al. 2017, arXiv:1706.04599 (ECE); Brier 1950; Wilson 1927.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from common.evaluation import differences, metrics, probes, score_verdicts
from common.evaluation.bootstrap import draws_by_label, interval
from common.evaluation.calibration import reliability_groups
from common.evaluation.cards import evaluation_card
from common.evaluation.differences import Resampled
from common.evaluation.statistics import rate
from common.evaluation.strata import stratum_of, upper_bounds
from common.handoffs.detection import DIFFERENCE_OF_MEANS, LOGISTIC_REGRESSION, BaselineCard
from common.handoffs.detector import OnPopulation, OperatingPoint
from common.handoffs.document import as_json
from common.handoffs.estimates import UNDEFINED, AurocInterval, Interval
from phase4_anomaly_detection.calibration import choose_threshold, reached_by
from phase4_anomaly_detection.detector import ABSTAIN, PROCEED, VERIFY, AnomalyDetector
from phase4_anomaly_detection.options import Target
from phase4_anomaly_detection.texts import Texts

ALWAYS = "always flag"
N_GROUPS = 10
N_DRAWN_LABELS = 1000
MET, WITHIN, NOT_MET = "met", "met within its interval", "not met"


@dataclass(frozen=True)
class Baseline:
    """A score that a detector has to be compared with, larger for incorrect; `threshold` is from hyperparams."""

    name: str
    values: Float[np.ndarray, " n"]
    threshold: float
    facts: dict[str, Any] = field(default_factory=dict)


def baselines(texts: Texts, resid: Float[np.ndarray, "n d_model"], target: Target, seed: int) -> list[Baseline]:
    """Every simpler score. Which way a measured quantity is turned is decided on the `sae` split alone."""
    selects = texts.of("sae")
    probe, facts = probes.logistic_regression(resid, resid[selects], texts.incorrect[selects], seed)
    means = probes.difference_of_means(resid, resid[selects], texts.incorrect[selects])
    scores = [(LOGISTIC_REGRESSION, probe, facts), (DIFFERENCE_OF_MEANS, means, {})]
    for name, values in texts.measured.items():
        once = texts.incorrect[selects].astype(float), (~texts.incorrect[selects]).astype(float)
        sign = -1 if metrics.auroc(values[selects], *once) < 0.5 else 1
        scores.append((name, sign * values + 0.0, {"sign": sign}))
    tuning = texts.of("hyperparams")
    always = Baseline(ALWAYS, np.ones(len(texts.split)), 0.0)
    return [always] + [
        Baseline(name, values, choose_threshold(values[tuning], texts.incorrect[tuning], target)[0], facts)
        for name, values, facts in scores
    ]


def evaluate(
    detector: AnomalyDetector,
    scores: Float[np.ndarray, " n"],
    texts: Texts,
    others: list[Baseline],
    n_resamples: int,
    seed: int,
    other_scores: Float[np.ndarray, " m"] | None = None,
) -> tuple[dict[str, Any], str]:
    """The card on validation, as in detector.json, and the verdict. `other_scores` are those of `texts.other`."""
    judged = texts.of("validation")
    values, incorrect = scores[judged], texts.incorrect[judged]
    draws = draws_by_label(incorrect, n_resamples, seed)
    ranked = differences.ranked(values, incorrect, draws)
    beside = {each.name: differences.ranked(each.values[judged], incorrect, draws) for each in others}
    of_detector = evaluation_card(values, incorrect, detector.threshold, draws, ranked)
    chance = detector.probabilities(values)
    target = Target(detector.document["target"]["kind"], detector.document["target"]["wanted"])
    card = {
        "n": {name: int(texts.of(name).sum()) for name in ("sae", "hyperparams", "validation")},
        "detector": as_json(of_detector),
        "baselines": {each.name: _card_of(each, judged, incorrect, draws, beside[each.name]) for each in others},
        "baselines_left_out": texts.absent,
        "left_out": texts.left_out,
        "calibration": calibration_error(chance, incorrect, seed),
        "target": outcome(target, detector.flags(values), incorrect),
        "routes": routes(detector.routes(values), incorrect),
        "n_resamples": n_resamples,
        "populations": _on_populations(detector, texts, of_detector.auroc, other_scores, draws),
        "operating_point": as_json(operating_point(detector.flags(values), incorrect, draws)),
        "auroc_minus": as_json(
            {name: ranked["auroc"].minus(other["auroc"]) for name, other in beside.items() if name != ALWAYS}
        ),
        "known_after": texts.known_after,
        "power": as_json(score_verdicts.ranking_power(int(incorrect.sum()), int((~incorrect).sum()))),
    }
    return card, score_verdicts.ranking(of_detector.auroc).value


def operating_point(
    flagged: Bool[np.ndarray, " n"], incorrect: Bool[np.ndarray, " n"], draws: Float[np.ndarray, "r n"]
) -> OperatingPoint:
    """Precision and recall of flagging these texts, less those of a random score that flags as many."""
    base, reached = float(incorrect.mean()), differences.at_threshold(flagged, incorrect, draws)
    recall, specificity, precision = reached["recall"], reached["specificity"], reached["precision"]
    flag_rate = Resampled(  # resamples hold as many texts of each label
        float(flagged.mean()), base * recall.resampled + (1 - base) * (1 - specificity.resampled)
    )
    return OperatingPoint(
        base_rate=base,
        flag_rate=flag_rate.interval,
        precision=precision.interval,
        recall=recall.interval,
        precision_minus_base_rate=interval(precision.value - base, precision.resampled - base),
        recall_minus_flag_rate=recall.minus(flag_rate),
    )


def _on_populations(
    detector: AnomalyDetector, texts: Texts, auroc: AurocInterval, other_scores: np.ndarray | None, draws: np.ndarray
) -> dict[str, dict[str, Any]]:
    """Of each kind of text: how many it was given, on how many its form makes it abstain, and the score's AUROC."""
    judged = [text for text, split in zip(texts.texts, texts.split, strict=True) if split == "validation"]
    populations = {detector.population.read: OnPopulation(**_abstained(detector, judged), auroc=_plain(auroc))}
    if texts.other is not None:
        area, incorrect = UNDEFINED, texts.other.incorrect
        if other_scores is not None:
            area = _plain(evaluation_card(other_scores, incorrect, detector.threshold, draws).auroc)
        populations[texts.other.read] = OnPopulation(**_abstained(detector, texts.other.texts), auroc=area)
    return as_json(populations)


def _abstained(detector: AnomalyDetector, given: list[str]) -> dict[str, int]:
    return {"n": len(given), "n_abstained": sum(why is not None for why in detector.population.says_no(given))}


def _plain(area: AurocInterval) -> Interval:
    return Interval(area.value, area.low, area.high)


def _card_of(
    baseline: Baseline, judged: np.ndarray, incorrect: np.ndarray, draws: np.ndarray, ranked: dict[str, Resampled]
) -> dict[str, Any]:
    card = evaluation_card(baseline.values[judged], incorrect, baseline.threshold, draws, ranked)
    return as_json(BaselineCard(**vars(card), **baseline.facts))


def calibration_error(
    probability: Float[np.ndarray, " n"], incorrect: Bool[np.ndarray, " n"], seed: int
) -> dict[str, Any]:
    """{"ece", "ece_by_chance": {"median", "q95"}, "brier", "groups": [{"predicted", "observed", "n"}]}.

    Texts with equal probabilities are in one group. By chance: labels drawn from the probabilities themselves.
    """
    group = stratum_of(probability, upper_bounds(probability, N_GROUPS))
    drawn = np.random.default_rng(seed).random((N_DRAWN_LABELS, len(probability))) < probability
    by_chance = _ece(probability, drawn, group)
    return {
        "ece": float(_ece(probability, incorrect[None], group)[0]),
        "ece_by_chance": {"median": float(np.median(by_chance)), "q95": float(np.quantile(by_chance, 0.95))},
        "brier": float(np.mean((probability - incorrect) ** 2)),
        "brier_of_base_rate": float(incorrect.mean() * (1 - incorrect.mean())),
        "groups": as_json(reliability_groups(probability, incorrect, group)),
    }


def _ece(probability: np.ndarray, labels: Bool[np.ndarray, "r n"], group: np.ndarray) -> Float[np.ndarray, " r"]:
    """Mean over texts of |mean probability - share of incorrect| of their group."""
    members = (group[:, None] == np.unique(group)).astype(float)
    return np.abs((labels - probability) @ members).sum(axis=1) / len(probability)


def outcome(target: Target, flagged: Bool[np.ndarray, " n"], incorrect: Bool[np.ndarray, " n"]) -> dict[str, Any]:
    """{"kind", "wanted", "value", "low", "high", "count", "of", "met"} of the target's metric on these texts."""
    count, total = reached_by(target, flagged, incorrect)
    share, met = rate(count, total), NOT_MET
    if share.value is not None and share.low is not None and share.high is not None:
        reached = share.value <= target.wanted if target.kind == "flag_rate" else share.value >= target.wanted
        met = MET if reached else WITHIN if share.low <= target.wanted <= share.high else NOT_MET
    return {"kind": target.kind, "wanted": target.wanted, "count": count, "of": total, **as_json(share), "met": met}


def routes(routed: list[str], incorrect: Bool[np.ndarray, " n"]) -> dict[str, dict[str, Any]]:
    """How many texts go each way, and what share of them is incorrect; None of a way that no text goes."""
    ways = {}
    for name in (PROCEED, VERIFY, ABSTAIN):
        is_incorrect = incorrect[np.array(routed) == name]
        error_rate = as_json(rate(int(is_incorrect.sum()), len(is_incorrect)))
        ways[name] = {"n": len(is_incorrect), "share": len(is_incorrect) / len(incorrect), "error_rate": error_rate}
    return ways
