"""What was published of Gemma-2-2b on MBPP, beside the same quantities as this pipeline measures them."""

from collections.abc import Iterator

from common.handoffs import DETECTION, STEERING
from common.handoffs.detection import Card
from common.report.blocks import Cell, Section, Table, change, counted, estimate, text, word_columns
from common.report.collect import Collected
from common.runs.discovery import plain_name
from common.words import sentence_case

MODEL, DATASET = "gemma-2-2b", "mbpp"
PAPER, ADDRESS = "Tahimic & Cheng 2025", "https://arxiv.org/abs/2510.02917"
F1, CORRECTED, CORRUPTED = "0.821", "4.04 %", "14.66 %"  # of its predict_incorrect, and steer_correct
NOTE = f"{PAPER}, a fact to compare with and no target: splits, number of tokens and choice of latents differ."


def published_section(collected: Collected) -> Section | None:
    """Only of the model and the problems that the figures are of, once one of the quantities was measured."""
    model, dataset = (plain_name(collected.experiment[key]) for key in ("model", "dataset"))
    rows = (
        [*_detection(collected), *_steering(collected)] if (model.split("/")[-1], dataset) == (MODEL, DATASET) else []
    )
    if not rows:
        return None
    table = Table("Published, and here", word_columns("Quantity", "Published", "Here", "What to know"), rows, note=NOTE)
    question = "What was published of this model, and what comes of it here?"
    return Section("published", "Published figures", question, [table])


def _row(what: str, published: str, here: Cell, to_know: str) -> list[Cell]:
    return [text(what), text(published, ADDRESS) if published else text("not given"), here, text(to_know)]


def _detection(collected: Collected) -> Iterator[list[Cell]]:
    phase = collected.finished(DETECTION)
    entry = phase.document().directions.get("predict_incorrect") if phase else None
    if entry is not None:
        card = entry.card
        always = (
            f"Always saying {entry.positive} has {_f1_of_always(card)}; {entry.against_always.words(entry.positive)}"
        )
        yield _row("F1 of a latent for incorrect programs", F1, estimate(card.f1, 3), always)
        asked = f"{sentence_case(str(entry.verdict))}; unlike F1 it does not grow with the share of incorrect programs"
        yield _row("AUROC of the same latent", "", estimate(card.auroc, 3), asked)


def _f1_of_always(card: Card) -> str:
    """Its precision is the share of positives and its recall 1: 0.824 for the 272 of 388 programs of the paper."""
    return f"{2 * card.n_positive / (card.n + card.n_positive):.3f}"


def _steering(collected: Collected) -> Iterator[list[Cell]]:
    phase = collected.finished(STEERING)
    entry = phase.document().steered.get("steer_correct") if phase else None
    if entry is not None:
        effect = entry.effect
        yield _row("Failing programs corrected", CORRECTED, counted(effect.correction), "To be read with the next")
        yield _row("Passing programs corrupted", CORRUPTED, counted(effect.corruption), "To be read with the last")
        judged = f"{sentence_case(str(entry.verdict))}; judged against controls of the same layer"
        yield _row("Change of the pass rate [points]", "", change(effect.net_change), judged)
