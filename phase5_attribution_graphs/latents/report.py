"""Phase 5.3 on the page: whether the transcoders stand in for the MLPs, and where they lose what answers rest on."""

from common.handoffs.circuit_latents import CircuitLatentsDocument, LastFit, TranscoderFit
from common.handoffs.selected import REFUSE_ABOVE, WARN_ABOVE
from common.report.blocks import (
    Block,
    Cell,
    Column,
    Heading,
    Paragraph,
    Section,
    Table,
    count_cell,
    figure_cell,
    number_cell,
    warning,
)
from common.report.collect import Collected, PhaseResult
from common.report.figures import figures_of
from common.words import count, listed, number, plural
from phase5_attribution_graphs.latents.figures import CAPTIONS
from phase5_attribution_graphs.page import circuits


def section(phase: PhaseResult, _collected: Collected) -> Section:
    document: CircuitLatentsDocument = phase.document()
    section = circuits(phase.place)
    section.blocks = [
        Heading("Do the transcoders stand in for the MLPs?"),
        Paragraph(_words(document)),
        _fits(document),
        _within(document),
        *figures_of(phase, CAPTIONS),
    ]
    section.warnings = _warnings(document)
    return section


def _words(document: CircuitLatentsDocument) -> str:
    on_text = [fit.text.fvu for fit in document.layers.values()]
    skips = sum(fit.has_skip for fit in document.layers.values())
    with_skip = f"In {plural(skips, 'layer')} a skip path adds what no latent stands for. " if skips else ""
    kept = "the last five positions" if document.positions == "last5" else "all positions behind the first"
    return (
        f"{document.transcoders}: transcoders of {plural(len(document.layers), 'layer')}. Of the variance of what an "
        f"MLP adds they leave {number(min(on_text))} to {number(max(on_text))} unexplained on "
        f"{count(document.n_documents)} documents of {document.text}, one position of each; documents with massive "
        f"activations are left out of that. What is left becomes errors in a graph, exact and unexplained. "
        f"{with_skip}"
        f"The {count(document.top_k)} strongest latents of each layer are kept at {kept} of every prompt; "
        f"{count(document.n_described)} of them have examples and logit effects."
    )


def _fits(document: CircuitLatentsDocument) -> Table:
    columns = [
        Column("Layer"),
        Column("Latents"),
        Column("On text", "fraction of variance unexplained (FVU) on general text: 0 is best, 1 is the mean"),
        Column("Makers'", "the same, as its makers published it"),
        Column("Best beside", "the smallest FVU of the same transcoder in the place of a neighbouring MLP"),
        Column("L0 on text", "latents active at a position"),
        Column("Makers' L0"),
        Column("At the end", "FVU at the last position of all prompts together"),
        Column("L0 there"),
    ]
    rows = [
        [
            number_cell(int(layer)),
            count_cell(fit.n_latents),
            figure_cell(fit.text.fvu, 3),
            figure_cell(fit.published_fvu, 3),
            figure_cell(min((one.fvu for one in fit.neighbours), default=None)),
            figure_cell(fit.text.l0, 1),
            figure_cell(fit.published_l0, 1),
            figure_cell(fit.last.fvu, 3),
            figure_cell(fit.last.l0, 1),
        ]
        for layer, fit in document.layers.items()
    ]
    return Table("Transcoders", columns, rows)


def _within(document: CircuitLatentsDocument) -> Table:
    note = (
        "FVU at the last position within each behaviour, about the mean of its prompts. Where all end in the same "
        "token, the little that differs between them is the whole answer. Above 1 the mean would do better."
    )
    columns = [Column("Layer"), *(Column(behaviour.capitalize()) for behaviour in document.prompts)]
    rows = [
        [number_cell(int(layer)), *(_fvu_cell(fit.behaviours[name]) for name in document.prompts)]
        for layer, fit in document.layers.items()
    ]
    return Table("What is left unexplained where the prompts end", columns, rows, note=note)


def _fvu_cell(fit: LastFit) -> Cell:
    return figure_cell(fit.fvu, 2)


def _warnings(document: CircuitLatentsDocument) -> list[Block]:
    warnings: list[Block] = []
    if document.without:
        layers = _layers(document.without)
        words = (
            f"There is none of {layers}: what the MLPs there add is an error as a whole, and hides what it rests on."
        )
        warnings.append(warning("A layer without a transcoder", words))
    bad = {layer: fit for layer, fit in document.layers.items() if fit.text.fvu > WARN_ABOVE}
    if bad:
        words = (
            f"On text, {listed([_told(layer, fit) for layer, fit in bad.items()])} of the variance is left (above "
            f"{WARN_ABOVE:g}; from {REFUSE_ABOVE:g} on a run stops, unless told to go on)."
        )
        warnings.append(warning("Transcoders that fit badly", words))
    by_behaviour: dict[str, list[int]] = {}
    for layer, behaviour, _ in document.lost():
        by_behaviour.setdefault(behaviour, []).append(int(layer))
    warnings += [
        warning(
            "Worse than the mean where prompts end",
            f"Of {behaviour}, the transcoders of {_layers(layers)} reconstruct less of what differs between the "
            "prompts than their mean would: what the answer rests on there is in the errors of its graphs.",
        )
        for behaviour, layers in by_behaviour.items()
    ]
    return warnings


def _told(layer: str, fit: TranscoderFit) -> str:
    return f"{number(fit.text.fvu)} in layer {layer}"


def _layers(layers: list[int]) -> str:
    return f"{'layer' if len(layers) == 1 else 'layers'} {listed([str(layer) for layer in layers])}"
