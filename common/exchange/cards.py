"""Cards of scores as rows of one table."""

from collections.abc import Iterator
from typing import Any

from common.handoffs.detection import LATENT, Card, DetectionDocument, Known
from common.handoffs.detector import DetectorDocument
from common.tables import TableRow

MEASURES = ("auroc", "average_precision", "f1", "precision", "recall", "specificity", "balanced_accuracy", "mcc")
INCORRECT, THE_DETECTOR, PROGRAMS = "incorrect", "detector", "programs"


def cards_of_detection(document: DetectionDocument) -> list[TableRow]:
    """A row for the latent of every direction, and for each baseline beside it."""
    return [*_of_directions(document)]


def _of_directions(document: DetectionDocument) -> Iterator[TableRow]:
    for name, entry in document.directions.items():
        told: TableRow = {"phase": "3.1", "direction": name, "positive": entry.positive}
        latent: TableRow = {"layer": entry.latent.layer, "latent": entry.latent.latent, "verdict": str(entry.verdict)}
        yield _row(entry.card, **told, score=LATENT, known=str(Known.BEFORE), **latent)
        for score, card in entry.baselines.items():
            known = entry.differences[score].known if score in entry.differences else Known.BEFORE
            yield _row(card, **told, score=score, known=str(known), layer=card.layer)


def cards_of_detector(document: DetectorDocument) -> list[TableRow]:
    """A row for the detector, and for each baseline beside it."""
    card = document.card
    told: TableRow = {"phase": "4.1", "positive": INCORRECT}
    own = _row(
        card.detector,
        **told,
        score=THE_DETECTOR,
        known=str(Known.AFTER if document.population.read == PROGRAMS else Known.BEFORE),
        layer=document.layer,
        verdict=str(document.verdict),
    )
    known = {score: Known.AFTER if score in card.known_after else Known.BEFORE for score in card.baselines}
    others = [
        _row(baseline, **told, score=score, known=str(known[score]), layer=baseline.layer)
        for score, baseline in card.baselines.items()
    ]
    return [own, *others]


def _row(card: Card, *, direction: str = "", latent: int | None = None, verdict: str = "", **told: Any) -> TableRow:
    counts = {name: getattr(card, name) for name in ("n", "n_positive", "base_rate", "threshold")}
    row = {**told, "direction": direction, "latent": latent, "verdict": verdict, **counts}
    for measure in MEASURES:
        interval = getattr(card, measure)
        row |= {measure: interval.value, f"{measure}_low": interval.low, f"{measure}_high": interval.high}
    return row
