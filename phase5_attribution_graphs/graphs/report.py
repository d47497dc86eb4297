"""Phase 5.4 on the page: what the graphs say, how far they can be trusted, which nodes they share."""

from common.handoffs.graphs import BehaviourGraphs, FrequentNode, GraphsDocument
from common.report.blocks import (
    Block,
    Cell,
    Column,
    Drawing,
    Facts,
    Heading,
    Paragraph,
    Section,
    Table,
    count_cell,
    estimate,
    share,
    text,
)
from common.report.collect import Collected, PhaseResult
from common.report.graphs.overview import overview
from common.words import count, number, plural, title_of
from phase5_attribution_graphs.graphs.files import document_of
from phase5_attribution_graphs.page import circuits

MOST_NODES = 12  # of each behaviour
ERRORS_TOO_MUCH = 0.5  # of what is explained, by edges of their own


def section(phase: PhaseResult, _collected: Collected) -> Section:
    result: GraphsDocument = phase.document()
    section = circuits(phase.place)
    section.answer = answer(result)
    drawings = _drawings(phase)
    section.blocks += [
        Heading("Attribution graphs"),
        Paragraph(
            "Each graph explains one prompt: what its tokens, the latents that are active on it and the transcoders' "
            "errors add to the right answer's logit minus the wrong one's. Attention patterns and the scales of norms "
            "are held as they were, so everything is a sum, and every edge can be tried by an intervention."
        ),
        _checks(result),
        _scores(result),
        *[block for name, one in result.behaviours.items() for block in (*_nodes(name, one), drawings[name])],
    ]
    return section


def _drawings(phase: PhaseResult) -> dict[str, Drawing]:
    """The first graph of each behaviour, in small; where a page of it lies."""
    drawings: dict[str, Drawing] = {}
    for row in phase.artifact.table("graphs.parquet"):
        if row["behaviour"] not in drawings:
            document = document_of(row)
            caption = (
                "Tokens below, layers upwards, the answer on top; circles are latents, squares errors. Blue adds to "
                f"the answer, brown takes from it. Files: {phase.place}/graphs/{document.slug}/"
            )
            drawings[row["behaviour"]] = Drawing(f"One of these graphs: {document.prompt}", caption, overview(document))
    return drawings


def answer(result: GraphsDocument) -> str:
    graphs = plural(result.n, "attribution graph")
    if result.exact < result.n:
        return f"{graphs} were made; {count(result.n - result.exact)} did not pass their checks and say nothing."
    by_errors = ", ".join(
        f"{title_of(name).lower()} {number(one.scores['errors_direct'].value)}"
        for name, one in result.behaviours.items()
    )
    return f"{graphs} are exact to rounding; what the transcoders miss adds this share of the answer: {by_errors}."


def _checks(result: GraphsDocument) -> Facts:
    worst = result.worst
    rows = "not asked: the graphs are capped" if worst["rows"] is None else f"{worst['rows']:.1e}"
    pairs = [
        ("Graphs", f"{count(result.n)} of the {result.split} prompts, {count(result.exact)} of them exact"),
        ("Rows miss their value", f"{rows} of the sum of their absolute edges, at most"),
        ("Strongest edges", f"{worst['strongest']:.1e} off what an intervention does, at most, relative"),
        ("Random edges", f"{worst['random']:.1e}, likewise"),
        ("A change of nothing", f"changes a logit by {worst['zero_change']:g}"),
    ]
    return Facts([(term, text(words)) for term, words in pairs])


def _scores(result: GraphsDocument) -> Table:
    columns = [
        Column("Behaviour", numeric=False),
        Column("Graphs"),
        Column("Explained", "logit difference before the model's final cap"),
        Column("As the model says it", "the same of its own logits, capped where it caps them"),
        Column("Active", "latents, mean"),
        Column("Shown", "latents that the pruned graphs keep, mean"),
        Column("Errors, direct", "what errors add by edges of their own, as a share of what is explained"),
        Column("Errors, all paths", "what they add along all paths"),
        Column("Replacement", "share of influence that comes from tokens, not errors"),
        Column("Completeness", "share of the inputs of nodes that is no error"),
    ]
    rows = [_row(name, one) for name, one in result.behaviours.items()]
    note = (
        "Influence has no sign: where thousands of edges cancel, errors look small by it. What errors add to the "
        "answer is told by the two columns before."
    )
    return Table("What the graphs explain", columns, rows, note=note)


def _row(name: str, one: BehaviourGraphs) -> list[Cell]:
    return [
        text(title_of(name)),
        count_cell(one.n),
        estimate(one.value),
        estimate(one.capped),
        estimate(one.active, 0),
        estimate(one.shown, 0),
        estimate(one.scores["errors_direct"]),
        estimate(one.scores["errors_signed"]),
        estimate(one.scores["replacement"]),
        estimate(one.scores["completeness_of_nodes"]),
    ]


def _nodes(name: str, one: BehaviourGraphs) -> list[Block]:
    blocks: list[Block] = [Heading(title_of(name))]
    errors = one.scores["errors_direct"].value
    if errors is not None and errors > ERRORS_TOO_MUCH:
        blocks.append(
            Paragraph(
                f"Most of this answer is not in the latents: errors add {number(errors)} of it directly. What follows "
                "describes the rest."
            )
        )
    shared = [node for node in one.nodes if node.beyond_shuffled]
    blocks.append(
        Paragraph(
            f"{plural(len(one.nodes), 'node')} (a latent at a role of its position) stand in at least a fifth of the "
            f"{count(one.n)} graphs; {count(len(shared))} of them more often than for another prompt's answers."
        )
    )
    if one.nodes:
        blocks.append(_node_table(one.nodes))
    return blocks


def _node_table(nodes: list[FrequentNode]) -> Table:
    columns = [
        Column("Latent", numeric=False),
        Column("Where", "role of its position", numeric=False),
        Column("Graphs", "share that shows it"),
        Column("Other answers", "share of the graphs for another prompt's answers"),
        Column("Difference", "paired, with its interval"),
        Column("Effect", "signed, as a share of what is explained"),
    ]
    ranked = sorted(nodes, key=lambda node: (not node.beyond_shuffled, -abs(node.effect.known)))
    rows = [
        [
            Cell(f"{node.layer}/{node.latent}", code=True),
            text(node.role),
            share(node.frequency),
            share(node.shuffled),
            estimate(node.excess),
            estimate(node.effect, 3),
        ]
        for node in ranked[:MOST_NODES]
    ]
    return Table("Nodes that many graphs share", columns, rows, folded=True)
