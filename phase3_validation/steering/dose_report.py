"""Phase 3.2 on the page: how much of each direction changes programs, and the dose that was chosen."""

from common.handoffs.steering import (
    CoefficientCurve,
    CoefficientsDocument,
    FittedFacts,
)
from common.report.blocks import (
    Block,
    Cell,
    Column,
    Heading,
    Paragraph,
    Section,
    Table,
    change,
    count_cell,
    figure_cell,
    number_cell,
    scale_of_changes,
    share,
    table_of,
    warning,
)
from common.report.collect import Collected, PhaseResult
from common.report.figures import figures_of
from common.words import (
    count,
    direction_words,
    listed,
    number,
    percent,
    points,
    sentence_case,
)

NET = "corrections minus corruptions: the change of the pass rate, in percentage points"
KL = "KL divergence of the next token's distribution from the unsteered one, along that program [nats per token]"
BETTER_SIGN = "the sign that did better in tuning"

DOSE_CAPTIONS = {
    "dose_response_*": (
        "Dose and response of {}",
        "Horizontal: coefficient. Vertical: net change of the pass rate with 95 % intervals (left), newly "
        "degenerate outputs (middle; dotted: the limit), disturbance along the unsteered program (right). Hollow "
        "points cannot be chosen.",
    ),
}


def dose_section(phase: PhaseResult, _collected: Collected) -> Section:
    result: CoefficientsDocument = phase.document()
    section = Section(
        "dose",
        "Dose response",
        "How much of a direction changes programs without breaking the output?",
        source=phase.place,
        warnings=_without_dose(result),
        answer=_best_dose(result),
    )
    limit = number(100 * result.degenerate_limit, 0)
    section.blocks.append(
        Paragraph(
            f"On {count(result.n)} problems for tuning. A coefficient is the length of the added vector in mean norms "
            f"of the residual stream at the site. A point where {limit} % of the outputs or more are newly degenerate "
            f"cannot be chosen. A direction with a negative coefficient is subtracted. Unsteered pass rate: "
            f"{percent(result.baseline)}."
        )
    )
    if any(facts.cosines for facts in result.fitted.values()):
        section.blocks.append(_alike(result.fitted))
    for name, entry in result.directions.items():
        chosen = entry.chosen
        word = "none"
        if chosen:
            word = f"layer {chosen.layer}, coefficient {number(chosen.coefficient, signed=True)}"
            word += f", so it is subtracted ({BETTER_SIGN})" * (chosen.coefficient < 0)
        section.blocks += [
            Heading(direction_words(name), beside=f"chosen: {word}"),
            Paragraph(f"{sentence_case(entry.why)}.", "note"),
            *figures_of(phase, DOSE_CAPTIONS, f"*_{name}"),
            _curve(name, entry),
        ]
    return section


def _alike(fitted: dict[str, FittedFacts]) -> Paragraph:
    """How alike fitted directions are to the latents."""
    parts = [
        f"{direction_words(name)} of layer {facts.layer} has a cosine of "
        + listed([f"{number(cosine, signed=True)} with {direction_words(of)}" for of, cosine in facts.cosines.items()])
        for name, facts in fitted.items()
        if facts.cosines
    ]
    return Paragraph(f"Fitted to the residual stream on the split sae: {'; '.join(parts)}.", "note")


def _without_dose(result: CoefficientsDocument) -> list[Block]:
    none = [direction_words(name) for name, entry in result.directions.items() if entry.chosen is None]
    return [warning("No coefficient", f"Every one tried breaks the output of {listed(none)}.")] if none else []


def _best_dose(result: CoefficientsDocument) -> str:
    """What the problems for tuning say of the chosen coefficients."""
    parts = []
    for name, entry in result.directions.items():
        chosen = entry.chosen
        same = [p for p in entry.curve if chosen and (p.layer, p.coefficient) == (chosen.layer, chosen.coefficient)]
        parts += [f"{direction_words(name)} {points(point.net_change)}" for point in same[:1]]
    return f"On the {count(result.n)} problems for tuning the best net change is {listed(parts)}." if parts else ""


def _curve(name: str, entry: CoefficientCurve) -> Table:
    scale = scale_of_changes([point.net_change for point in entry.curve])
    degenerate = "share of outputs that repeat, do not parse or do not stop"
    columns = [
        Column("Layer", cell=lambda point: number_cell(point.layer)),
        Column("Coefficient", cell=lambda point: figure_cell(point.coefficient, 3, signed=True)),
        Column("Net change", NET, cell=lambda point: change(point.net_change, scale)),
        Column("Pass rate", cell=lambda point: share(point.pass_rate)),
        Column("Corrected", cell=lambda point: count_cell(point.n_corrected)),
        Column("Corrupted", cell=lambda point: count_cell(point.n_corrupted)),
        Column("Degenerate", degenerate, cell=lambda point: share(point.degenerate_rate)),
        Column(
            "Newly degenerate", "share that was not so unsteered", cell=lambda point: share(point.newly_degenerate_rate)
        ),
        Column("Disturbance", KL, cell=lambda point: figure_cell(point.trajectory_kl, 3)),
        Column("Admissible", numeric=False, cell=lambda point: Cell("yes" if point.admissible else "no")),
    ]
    return table_of(f"Dose response of {direction_words(name)}", columns, entry.curve, folded=True)
