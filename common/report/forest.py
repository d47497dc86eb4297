"""The report's forest plot: how well the latent, probes and what needs no model rank programs, before and after."""

import math
from collections.abc import Iterable

from common.handoffs import DETECTION, DETECTOR
from common.handoffs.detection import (
    COMPLEXITY,
    DESCRIPTION_LENGTH,
    DESCRIPTION_TEXT,
    LATENT,
    MEAN_LOGPROB,
    OPERATIONS,
    PROBE,
    PROMPT_LENGTH,
    PROMPT_TEXT,
    RARITY,
    SUMMED_LOGPROB,
    BaselineCard,
    Known,
)
from common.handoffs.detector import PROGRAMS, DetectorDocument
from common.handoffs.estimates import Interval
from common.report.blocks import Forest, ForestRow, Scale
from common.report.collect import Collected
from common.report.outcomes import WITHOUT_THE_MODEL
from common.words import count, direction_words, latent_words, plural

BASELINES = (  # in the order of the plot
    PROMPT_TEXT,
    DESCRIPTION_TEXT,
    PROMPT_LENGTH,
    DESCRIPTION_LENGTH,
    COMPLEXITY,
    OPERATIONS,
    RARITY,
    MEAN_LOGPROB,
    SUMMED_LOGPROB,
)
SPARSE_PROBE = "sparse probe"  # phase 4.1's few latents
CHANCE, LOWEST = 0.5, 0.4  # the axis begins there, or lower where an interval does
AXIS = "Horizontal: AUROC, how often the score of a program that passes lies on the right side of one that fails"


def forest_of(collected: Collected) -> Forest | None:
    """None before phases 3.1 and 4.1 have measured anything."""
    rows = [*_of_latent(collected), *_of_detector(collected)]
    if not rows:
        return None
    first = {row.label: row for row in reversed(rows)}  # both phases measure the baselines: 3.1's stand
    order = [LATENT, SPARSE_PROBE, PROBE, WITHOUT_THE_MODEL, *BASELINES]
    shown = sorted(first.values(), key=lambda row: order.index(row.label))
    return Forest(
        "How well is it known which programs pass, and which fail?",
        f"{AXIS}, on held-out problems, with its 95 % interval; the line is chance.",
        shown,
        scale_of(row.value for row in shown),
    )


def scale_of(values: Iterable[Interval]) -> Scale:
    """An axis of AUROCs on which all intervals have room; it ends at tenths."""
    lows = [end for value in values for end in (value.value, value.low) if end is not None]
    return Scale(math.floor(10 * min([LOWEST, *lows])) / 10, 1.0, CHANCE)


def _of_latent(collected: Collected) -> list[ForestRow]:
    """What phase 3.1 declares of the direction that was chosen on other problems."""
    phase = collected.finished(DETECTION)
    headline = None if phase is None else phase.document().headline
    if headline is None:
        return []
    name, entry = headline
    known = {other: difference.known for other, difference in entry.differences.items()}
    what = f"{direction_words(name)}: {latent_words(entry.latent)}"
    rows = [ForestRow(LATENT, what, entry.card.auroc, Known.BEFORE, "detection")]
    without = entry.beyond_difficulty.auroc_of_covariates
    if without.value is not None:
        rows.append(ForestRow(WITHOUT_THE_MODEL, "in one regression", without, Known.BEFORE, "detection"))
    return rows + [
        _of_baseline(name, entry.baselines[name], known.get(name, Known.BEFORE), "detection")
        for name in (PROBE, *BASELINES)
        if name in entry.baselines
    ]


def _of_detector(collected: Collected) -> list[ForestRow]:
    """What phase 4.1 declares of a few latents that are added up."""
    phase = collected.finished(DETECTOR)
    if phase is None:
        return []
    detector: DetectorDocument = phase.document()
    known = Known.AFTER if detector.population.read == PROGRAMS else Known.BEFORE
    what = f"{plural(len(detector.latents), 'latent')} of layer {detector.layer}"
    rows = [ForestRow(SPARSE_PROBE, what, detector.card.detector.auroc, known, "detector")]
    return rows + [
        _of_baseline(
            name, detector.card.baselines[name], Known.AFTER if name in detector.card.known_after else known, "detector"
        )
        for name in (PROBE, *BASELINES)
        if name in detector.card.baselines
    ]


def _of_baseline(label: str, card: BaselineCard, known: Known, section: str) -> ForestRow:
    beside = "of the reference solution" if label == COMPLEXITY else ""
    beside = beside if card.layer is None else f"layer {count(card.layer)}"
    return ForestRow(label, beside, card.auroc, known, section)
