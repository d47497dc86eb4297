"""Phase 6.3 on the page: what the latents carry, what no latent carries, and the strongest of them."""

from common.handoffs.error_attribution import AttributedShape, ErrorAttributionDocument, TopLatent, TopLatentsDocument
from common.report.blocks import (
    Block,
    Cell,
    Column,
    Heading,
    Paragraph,
    Section,
    Table,
    count_cell,
    estimate,
    figure_cell,
    share,
    text,
    warning,
)
from common.report.collect import Collected, PhaseResult
from common.report.figures import figures_of
from common.words import count, listed, number, percent
from phase6_error_circuits.page import errors

MUCH = 0.5  # of the effect through errors: the latents are then the smaller part
CAPTIONS = {
    "error_shares": (
        "What no latent carries",
        "Vertical: share of the effect that error nodes carry: when one layer's are changed (exact), by integrated "
        "gradients (signed), of the sum of absolute values; dashed: all layers' errors changed. Horizontal: layer.",
    ),
    "places_*": (
        "Where the nodes stand",
        "Vertical: layer, latents above and errors below. Horizontal: position. Colour: sum of the nodes' importances "
        "in the logit difference, blue for the clean prompt's error.",
    ),
}


def section(phase: PhaseResult, _collected: Collected) -> Section:
    result: ErrorAttributionDocument = phase.document()
    tops: TopLatentsDocument = phase.document("top_latents.json")
    section = errors(phase.place)
    section.answer = answer(result)
    section.warnings += _warnings(result)
    section.blocks += [
        Heading("Latents behind the error's name", listed([*tops.contrasts])),
        Paragraph(
            "A node is a latent at a position, or what the layer's dictionary leaves unexplained there: the error. "
            "Each is worth its difference between the clean and the corrupted program times the gradient of the plain "
            "model, averaged along the line between the two runs. So the nodes of a layer add up to what it is worth."
        ),
        _shapes(result),
        *figures_of(phase, CAPTIONS),
        *[block for shape in result.shapes for block in _layers(shape)],
        *[_tops(contrast, latents) for contrast, latents in tops.contrasts.items()],
    ]
    return section


def answer(result: ErrorAttributionDocument) -> str:
    first = result.shapes[0]
    return (
        f"On {first.contrast}, “{first.template}”, {count(first.null_pairs.above)} of {count(first.n_nodes)} nodes are "
        f"larger than any of pairs that raise the same error; "
        f"{percent(first.error_share.share)} of the effect is gone when the errors of all layers are changed."
    )


def _warnings(result: ErrorAttributionDocument) -> list[Block]:
    warnings = []
    if result.note:
        warnings.append(
            warning("Dictionaries of another model", f"{result.note}: much may be left to the error nodes.")
        )
    loud = [shape for shape in result.shapes if (shape.error_share.share.value or 0) > MUCH]
    if loud:
        names = ", ".join(f"{shape.contrast} ({shape.template})" for shape in loud)
        warnings.append(warning("Most runs through errors", f"Latents carry less than half of the effect in: {names}."))
    return warnings


def _shapes(result: ErrorAttributionDocument) -> Table:
    columns = [
        Column("Contrast", numeric=False),
        Column("Template", numeric=False),
        Column("Pairs"),
        Column("Clean, corrupted", "mean logit difference of the two programs", numeric=False),
        Column("Effect", "clean minus corrupted"),
        Column("Nodes", "that differ between the two runs"),
        Column("Count", "larger than the largest node of pairs that raise the same error"),
        Column("Errors", "share of the effect that is lost when all layers' errors are the corrupted ones"),
        Column("Without errors", "logit differences when the dictionaries stand in for the streams", numeric=False),
        Column("Held out", "the errors' share on pairs of other words"),
    ]
    return Table("What the nodes carry", columns, [_shape_row(shape) for shape in result.shapes])


def _shape_row(shape: AttributedShape) -> list[Cell]:
    errors = shape.error_share
    return [
        text(shape.contrast),
        text(f"{shape.template} ({shape.shape})"),
        count_cell(shape.n),
        text(f"{number(shape.clean)}, {number(shape.corrupted)}"),
        estimate(shape.effect),
        count_cell(shape.n_nodes),
        count_cell(shape.null_pairs.above) if shape.null_pairs.n else text(None),
        share(errors.share),
        text(f"{number(errors.clean)}, {number(errors.corrupted)}"),
        share(shape.held_out and shape.held_out.error_share),
    ]


def _layers(shape: AttributedShape) -> list[Block]:
    columns = [
        Column("Layer"),
        Column("Worth", "share of the effect that changing all of the layer takes"),
        Column("Sum", "of its nodes, by integrated gradients"),
        Column("Clean end", "the same by the gradient of the clean run"),
        Column("Corrupted end", "by that of the corrupted run"),
        Column("Errors, exact", "share of the effect when all errors of the layer are changed"),
        Column("Errors, sum", "by integrated gradients"),
        *[Column(f"At {name}", "square of what differs in the error over that in the value") for name in _named(shape)],
    ]
    rows = [
        [
            Cell(str(one.layer), sort=one.layer),
            *[share(value) for value in (one.worth, one.ig, one.clean, one.corrupted)],
            share(one.errors.exact),
            share(one.errors.signed),
            *[figure_cell(one.differs[name]) for name in _named(shape)],
        ]
        for one in shape.layers
    ]
    return [Table(f"Layers: {shape.contrast}, {shape.template} ({shape.shape})", columns, rows, folded=True)]


def _named(shape: AttributedShape) -> list[str]:
    return [*shape.layers[0].differs]


def _tops(contrast: str, latents: list[TopLatent]) -> Table:
    columns = [
        Column("Latent", numeric=False),
        Column("Where", numeric=False),
        Column("Effect", "in the logit difference, by integrated gradients"),
        Column("Share", "of the whole effect"),
        Column("Noising", "what the clean run loses when it is changed"),
        Column("Denoising", "what the corrupted run gains"),
        Column("Counts", "larger than any node of pairs that raise the same error", numeric=False),
        Column("Promotes", "tokens that it raises by its direct path", numeric=False),
    ]
    rows = [
        [
            text(f"{top.layer}/{top.latent}", link=top.url),
            text(top.place),
            figure_cell(top.effect, signed=True),
            share(top.share),
            figure_cell(top.noising, signed=True),
            figure_cell(top.denoising, signed=True),
            text("yes" if top.above_null else "no"),
            text(None if top.promotes is None else " ".join(repr(one.token) for one in top.promotes[:5])),
        ]
        for top in latents
    ]
    return Table(f"Strongest latents of {contrast}", columns, rows, folded=True)
