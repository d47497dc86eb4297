"""Phase 6.4 on the page: how large a circuit has to be, and how far it can be trusted."""

from common.handoffs.error_latent_circuits import (
    Curve,
    EdgeCircuits,
    ErrorLatentCircuit,
    ErrorLatentCircuitsDocument,
)
from common.report.blocks import (
    Block,
    Cell,
    Column,
    Facts,
    Heading,
    Paragraph,
    Section,
    Table,
    count_cell,
    estimate,
    figure_cell,
    text,
)
from common.report.collect import Collected, PhaseResult
from common.report.figures import figures_of
from common.words import count, interval, listed, number, plural
from phase6_error_circuits.page import errors
from phase6_error_circuits.pair import SELECT

CAPTIONS = {
    "faithfulness_*": (
        "Circuits over their size",
        "Vertical: share of the effect that is kept, as a ratio of means over pairs, with 95 % intervals. Horizontal: "
        "nodes of the circuit. Left: the circuit alone on pairs of other words and on those that select, everything "
        "but the circuit, random circuits with as many nodes of each layer, kind and position. Right: other rankings.",
    ),
    "edges_*": (
        "Circuits of edges",
        "Vertical: share of the effect that is kept on pairs of other words. Horizontal: edges. Grey: random edges "
        "between the same layers; dashed: the nodes with all their edges.",
    ),
}


def section(phase: PhaseResult, _collected: Collected) -> Section:
    result: ErrorLatentCircuitsDocument = phase.document()
    section = errors(phase.place)
    section.answer = answer(result)
    section.blocks += [
        Heading("Circuits behind the error's name", listed([one.contrast for one in result.circuits])),
        Paragraph(
            "A circuit is run alone: every node outside it takes the value that it has in the corrupted program (or a "
            "mean, or nothing), and is computed anew from the stream as it has become. Faithfulness is the share of "
            "the effect that is left then; completeness is what everything but the circuit keeps."
        ),
        *figures_of(phase, CAPTIONS),
        *[block for circuit in result.circuits for block in _circuit(circuit)],
    ]
    return section


def answer(result: ErrorLatentCircuitsDocument) -> str:
    first = result.circuits[0]
    reached = first.enough[0]
    if reached.size is None:
        return (
            f"On {first.contrast} no circuit keeps {number(reached.enough, 1)} of the effect on pairs of other words; "
            f"all {count(reached.of)} nodes that support the answer keep {interval(first.faithfulness)}."
        )
    return (
        f"On {first.contrast} {count(reached.size)} of {count(first.n_nodes)} nodes keep "
        f"{interval(first.faithfulness)} of the effect on pairs of other words, and all others "
        f"{interval(first.completeness)}."
    )


def _circuit(circuit: ErrorLatentCircuit) -> list[Block]:
    blocks: list[Block] = [
        Heading(circuit.contrast, f"{circuit.template}, {plural(circuit.n, 'pair')}"),
        _facts(circuit),
    ]
    blocks.append(_curves(circuit.curves))
    blocks.append(_one_layer(circuit))
    blocks.append(_transfers(circuit))
    if circuit.masks:
        blocks.append(_masks(circuit))
    if circuit.edges is not None:
        blocks.append(_edges(circuit.edges))
    return blocks


def _facts(circuit: ErrorLatentCircuit) -> Facts:
    nulls, edges = circuit.null_pairs, circuit.edges
    enough = {
        f"Enough, {one.ranking} ranking": f"{count(one.size)} of {count(one.of)} nodes for {number(one.enough, 1)}"
        if one.size is not None
        else f"no circuit reaches {number(one.enough, 1)}"
        for one in circuit.enough
    }
    pairs = {
        **enough,
        "Larger than chance": f"{count(nulls.size)} nodes keep {interval(nulls.faithfulness)}",
        "Every latent and no error": f"loses {interval(circuit.error_share)}",
    }
    if edges is not None and edges.path_patching.n:
        tried = edges.path_patching
        agreement = f"Spearman {number(tried.rank_correlation)} (mean of both directions)"
        words = f"of the {count(tried.n)} largest {number(tried.sign)} have its sign, {agreement}"
        pairs["Edges beside path patching"] = words
    return Facts([(term, text(words)) for term, words in pairs.items()])


def _curves(curves: list[Curve]) -> Table:
    columns = [
        Column("Ranking", numeric=False),
        Column("Outside", "what nodes outside take: values of the corrupted program, means, nothing", numeric=False),
        Column("Errors", "ranked with the latents, all kept, or all ablated", numeric=False),
        Column("Pairs", numeric=False),
        Column("Nodes"),
        Column("Faithfulness"),
        Column("Completeness", "what everything but the circuit keeps"),
        Column("Random", "mean of random circuits alike"),
    ]
    rows = [
        [
            text(curve.ranking),
            text(curve.ablation),
            text(curve.error_nodes),
            text("selecting" if curve.split == SELECT else "held out"),
            count_cell(point.size),
            estimate(point.faithfulness),
            estimate(point.completeness),
            figure_cell(point.random and point.random.mean),
        ]
        for curve in curves
        for point in curve.points
    ]
    note = (
        "With means or nothing outside, more than 1 is not more than faithful: the rest then speaks against the answer."
    )
    return Table("Faithfulness and completeness", columns, rows, note=note, folded=True)


def _one_layer(circuit: ErrorLatentCircuit) -> Table:
    layers = [*circuit.one_layer[0].layers] if circuit.one_layer else []
    columns = [Column("Nodes kept"), *[Column(f"Layer {layer}") for layer in layers], Column("Product")]
    rows = [
        [count_cell(cut.kept), *[figure_cell(cut.layers[layer]) for layer in layers], figure_cell(cut.product)]
        for cut in circuit.one_layer
    ]
    return Table("One layer cut at a time, on held-out pairs", columns, rows, folded=True)


def _transfers(circuit: ErrorLatentCircuit) -> Table:
    columns = [
        Column("Template", numeric=False),
        Column("Pairs"),
        Column("Nodes"),
        Column("Faithfulness", "of the circuit's latents, kept at every position"),
        Column("Random", "as many other latents of each layer: mean, largest", numeric=False),
    ]
    rows = [
        [
            text(f"{one.template} ({one.shape}){', its own' if one.own else ''}"),
            count_cell(one.n),
            count_cell(one.size),
            estimate(one.faithfulness),
            text(f"{number(one.random.mean)}, {number(one.random.largest)}"),
        ]
        for one in circuit.transfers
    ]
    return Table("On other templates", columns, rows, folded=True)


def _masks(circuit: ErrorLatentCircuit) -> Table:
    columns = [
        Column("Price", "weight of the share of open nodes"),
        Column("Open", "nodes that the mask leaves open"),
        Column("Selecting pairs", "faithfulness of these"),
        Column("Held out"),
    ]
    rows = [
        [figure_cell(one.weight), _of(one.open, one.of), estimate(one.select), estimate(one.held_out)]
        for one in circuit.masks
    ]
    return Table("Learned masks", columns, rows, folded=True)


def _edges(edges: EdgeCircuits) -> Table:
    columns = [Column("Edges"), Column("Faithfulness"), Column("Random", "edges between the same layers, mean")]
    rows = [
        [_of(point.size, edges.n_edges), estimate(point.faithfulness), figure_cell(point.random and point.random.mean)]
        for point in edges.points
    ]
    whole = edges.absolute["weight"]
    parts = ", ".join(
        f"{name} {number(value / whole)}" for name, value in edges.absolute.items() if name != "weight" and whole
    )
    note = (
        f"Between {plural(edges.n_nodes, 'node')}, which keep {interval(edges.node_circuit)} with all their edges. Of "
        f"the absolute weights: {parts}."
    )
    return Table("Circuits of edges, on held-out pairs", columns, rows, note=note, folded=True)


def _of(n: int, of: int) -> Cell:
    return Cell(count(n), f"of {count(of)}", n)
