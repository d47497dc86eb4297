"""Phase 6.5 on the page: what the nodes are, on which errors and templates they fire, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from common.handoffs.error_nodes import (
    DescribedLatent,
    ErrorNode,
    ErrorNodesDocument,
    LatentNode,
    NodesOfContrast,
    ToldNode,
)
from common.report.blocks import (
    Block,
    Cell,
    Column,
    Drawing,
    Facts,
    Fold,
    Heading,
    Paragraph,
    Section,
    Table,
    count_cell,
    estimate,
    figure_cell,
    share,
    text,
)
from common.report.collect import Collected, PhaseResult
from common.report.latents.tokens import visible
from common.words import count, interval, listed, number, plural
from phase6_error_circuits.nodes.heat import HeatLine, token_heat
from phase6_error_circuits.nodes.snippets import PAIR
from phase6_error_circuits.page import errors
from phase6_error_circuits.pair import REPORT, SELECT

N_TOGETHER = 4  # latents that are shown in the same pair of programs
N_SHOWN = 12  # latents of a contrast that are shown token by token
N_PROGRAMS = 3  # programs of each split that are shown of each, of those in which it fires most
N_TOKENS = 5
ONE_TEMPLATE = 1.5  # effective number of templates below which a latent serves one
BY_CHANCE = 0.025  # of latents that tell nothing: how often an interval of 95 % lies above one half
SPLITS = {SELECT: "words that select", REPORT: "other words"}
Snippets = dict[tuple[int, int, str], list[dict[str, Any]]]  # rows of snippets.parquet by latent and format
Latents = dict[tuple[int, int, str], DescribedLatent]


def section(phase: PhaseResult, _collected: Collected) -> Section:
    result: ErrorNodesDocument = phase.document()
    latents = {(one.layer, one.latent, one.format): one for one in result.latents}
    snippets: Snippets = {}
    for row in phase.artifact.table("snippets.parquet"):
        snippets.setdefault((row["layer"], row["latent"], row["format"]), []).append(row)
    section = errors(phase.place)
    section.answer = answer(result)
    section.blocks += [
        Heading("What the nodes are", listed([one.contrast for one in result.contrasts])),
        Paragraph(
            f"Latents of the strongest nodes were read at every token of {count(result.n)} programs of "
            f"{plural(result.templates, 'template')}. In which programs a latent fires most does not yet say what it "
            "means: programs of other words, which were not used to find it, say whether it tells one error from the "
            "other error of its template, and its effect on each template says whether that is used there."
        ),
    ]
    for one in result.contrasts:
        section.blocks += _contrast(one, latents, snippets)
    return section


def answer(result: ErrorNodesDocument) -> str:
    """The first contrast in one sentence, with its strongest latent that tells an error."""
    first = result.contrasts[0]
    latents = latents_of(first, {(one.layer, one.latent, one.format): one for one in result.latents})
    return f"On {first.contrast} {tellers(latents)}."


def tellers(latents: Sequence[DescribedLatent]) -> str:
    """How many latents tell their error within templates on other words, how many would by chance, and the first."""
    telling = [one for one in latents if tells(one)]
    n_tried = sum(one.selective is not None and one.selective.within.low is not None for one in latents)
    words = (
        f"{count(len(telling))} of {plural(len(latents), 'latent')} told of {_tell(len(telling))} from the other error "
        f"of its template on programs of other words, where {number(BY_CHANCE * n_tried)} of the {count(n_tried)} that "
        f"could be tried would be expected to by chance ({percent_of(BY_CHANCE)})"
    )
    if not telling:
        return words
    first = telling[0]
    assert first.selective is not None
    return (
        f"{words}; the strongest is {name_of(first)}, largest in programs that raise "
        f"{first.selective.error} (AUROC within templates {interval(first.selective.within)})"
    )


def _tell(n: int) -> str:
    return "tells an error" if n == 1 else "tell an error"


def tells(latent: DescribedLatent) -> bool:
    """Whether it tells its error from the other one of the same template, beyond chance."""
    low = None if latent.selective is None else latent.selective.within.low
    return low is not None and low > 0.5


def latents_of(one: NodesOfContrast, latents: Latents) -> list[DescribedLatent]:
    """The latents of a contrast's nodes, each once, in the order of the nodes."""
    keys = [(node.layer, node.what.latent, one.format) for node in one.nodes if isinstance(node.what, LatentNode)]
    return [latents[key] for key in dict.fromkeys(keys)]


def name_of(latent: DescribedLatent) -> str:
    return f"{latent.layer}/{latent.latent}"


def _contrast(one: NodesOfContrast, latents: Latents, snippets: Snippets) -> list[Block]:
    its_latents = latents_of(one, latents)
    shown = its_latents[:N_SHOWN]
    return [
        Heading(f"Nodes of {one.contrast}", one.template),
        Paragraph(" ".join(sentences(one, its_latents))),
        _nodes(one, latents),
        *([_errors(one)] if any(isinstance(node.what, ErrorNode) for node in one.nodes) else []),
        *_overview(one, its_latents[:N_TOGETHER], snippets),
        *[_fold(one, latent, snippets.get((latent.layer, latent.latent, latent.format), [])) for latent in shown],
    ]


def sentences(one: NodesOfContrast, latents: Sequence[DescribedLatent]) -> list[str]:
    """What is to be read from the tables."""
    n_errors = sum(isinstance(node.what, ErrorNode) for node in one.nodes)
    alone = [latent for latent in latents if latent.spread is not None and latent.spread < ONE_TEMPLATE]
    said = [
        f"Told of are the {count(len(one.nodes))} strongest of {plural(one.of, 'node')} {one.source}: "
        f"{plural(len(latents), 'latent')}, and {plural(n_errors, 'error')}, which {_has(n_errors)} no latent.",
        f"{tellers(latents)[:1].upper()}{tellers(latents)[1:]}.",
    ]
    n_templates = max((sum(there.share is not None for there in latent.templates) for latent in latents), default=0)
    if n_templates > 1:
        said.append(
            f"{count(len(alone))} of the latents {_has(len(alone))} nearly all of {_its(len(alone))} effect on one of "
            f"{plural(n_templates, 'template')} measured."
        )
    elif latents:
        said.append(f"With {plural(n_templates, 'template')} measured nothing is known of how their effects spread.")
    return said


def _has(n: int) -> str:
    return "has" if n == 1 else "have"


def _its(n: int) -> str:
    return "its" if n == 1 else "their"


def _nodes(one: NodesOfContrast, latents: Latents) -> Table:
    columns = [
        Column("Node", "layer/latent", numeric=False),
        Column("Where", "name of the position, and the token there in the first pair", numeric=False),
        Column("Effect", "in the logit difference, by integrated gradients, as phase 6.3 found it"),
        Column("Share", "of the whole effect"),
        Column("Clean", "mean activation there; of an error its length as a share of the value's"),
        Column("Corrupted", "the same in the corrupted program"),
        Column("Largest in", "programs that raise this error, chosen on pairs that select", numeric=False),
        Column("AUROC", "of that error against the others, by the largest activation in programs of other words"),
        Column("Within", "the same among programs of one template"),
        Column("Templates", "effective number of those measured, by the absolute share of each one's whole effect"),
        Column("Promotes", "tokens that it raises by its direct path", numeric=False),
    ]
    return Table("Strongest nodes", columns, [_node_row(node, one.format, latents) for node in one.nodes])


def _node_row(node: ToldNode, form: str, latents: Latents) -> list[Cell]:
    known = [
        Cell(node.place, under=node.token),
        figure_cell(node.effect, signed=True),
        share(node.share),
    ]
    if isinstance(node.what, ErrorNode):
        lengths = [share(value) for value in (node.what.clean, node.what.corrupted)]
        return [text(f"error of layer {node.layer}"), *known, *lengths, *[text(None)] * 5]
    latent = latents[node.layer, node.what.latent, form]
    selective = latent.selective
    return [
        text(name_of(latent), link=latent.url),
        *known,
        *[figure_cell(value) for value in (node.what.clean, node.what.corrupted)],
        text(selective and selective.error),
        estimate(selective and selective.auroc),
        estimate(selective and selective.within),
        figure_cell(latent.spread, 1),
        text(_tokens(latent.promotes)),
    ]


def _errors(one: NodesOfContrast) -> Table:
    columns = [
        Column("Error", numeric=False),
        Column("Where", numeric=False),
        Column("Share", "of the whole effect"),
        Column("Of the value", "its length as a share of the value's, in the clean and in the corrupted program"),
        Column("Of the difference", "square of what differs in it, over the square of what differs in the value"),
    ]
    rows = [
        [
            text(f"layer {node.layer}"),
            Cell(node.place, under=node.token),
            share(node.share),
            Cell(f"{percent_of(node.what.clean)}, {percent_of(node.what.corrupted)}", sort=node.what.clean),
            figure_cell(node.what.differs),
        ]
        for node in one.nodes
        if isinstance(node.what, ErrorNode)
    ]
    note = "What no latent of the layer's dictionary stands for: it can be measured and changed, but not read."
    return Table("Nodes that are errors", columns, rows, note=note, folded=True)


def percent_of(value: float) -> str:
    return f"{number(100 * value, 1)} %"


def _fold(one: NodesOfContrast, latent: DescribedLatent, rows: Sequence[dict[str, Any]]) -> Fold:
    """A latent may have nodes in several contrasts, and a fold under each of them."""
    blocks: list[Block] = [_facts(latent), *_heat(latent, rows), _kinds(latent), _templates(latent)]
    beside = "" if latent.selective is None else f"largest in programs that raise {latent.selective.error}"
    name = f"error-node-{one.contrast.replace('/', '-')}-{latent.layer}-{latent.latent}-{latent.format}"
    return Fold(name, f"Latent {name_of(latent)}", beside, blocks)


def _facts(latent: DescribedLatent) -> Facts:
    places = [f"{place} ({count(n)})" for place, n in [*latent.places.items()][:4]]
    pairs = {
        "Fires in": f"{count(latent.fires)} of {plural(latent.n, 'program')}",
        "Largest at": listed(places) if places else None,
        "Promotes": _tokens(latent.promotes, 10),
        "Suppresses": _tokens(latent.suppresses, 10),
    }
    return Facts([(term, text(words)) for term, words in pairs.items()])


def _heat(latent: DescribedLatent, rows: Sequence[dict[str, Any]]) -> list[Block]:
    """Both programs of the example pairs, then those in which it fires most."""
    blocks: list[Block] = []
    pairs = [row for row in rows if row["what"] == PAIR]
    tops = [row for row in rows if row["what"] != PAIR and row["rank"] < N_PROGRAMS]
    caption = "Shade: its activation at the token, of the largest shown; a frame where it is largest in a program."
    for title, shown in (("Both programs of pairs", pairs), ("Programs in which it fires most", tops)):
        if shown:
            words = f"{title}: activation of latent {name_of(latent)} at each token"
            most = max(row["peak"] for row in shown)
            svg = token_heat([_line(row, _told(row), most) for row in shown], words)
            blocks.append(Drawing(f"{title}, latent {name_of(latent)}", caption, svg))
    return blocks


def _told(row: dict[str, Any]) -> str:
    return f"{number(row['peak'])} · {row['arm']}, {row['error']}, {SPLITS[row['split']]} · {row['template']}"


def _line(row: dict[str, Any], label: str, most: float) -> HeatLine:
    return HeatLine(label, row["tokens"], row["activations"], most)


def _overview(one: NodesOfContrast, latents: Sequence[DescribedLatent], snippets: Snippets) -> list[Block]:
    """The strongest latents in the two programs of the contrast's first pair, below each other."""
    lines = []
    for latent in latents:
        programs = _first_pair(one, snippets.get((latent.layer, latent.latent, latent.format), []))
        labels = [f"{name_of(latent)} · {row['arm']}, {row['error']} · {number(row['peak'])}" for row in programs]
        most = max((row["peak"] for row in programs), default=0.0)
        lines += [_line(row, label, most) for row, label in zip(programs, labels, strict=True)]
    if not lines:
        return []
    names = listed([name_of(latent) for latent in latents])
    caption = "Shade: a latent's activation at the token, of its largest in either program; a frame where that is."
    words = f"Activation of {names} at each token of two programs that differ in one thing"
    return [Drawing(f"The strongest latents in a pair of programs: {names}", caption, token_heat(lines, words))]


def _first_pair(one: NodesOfContrast, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Both programs of the first pair of the shape on which the nodes were found; ranks count over all contrasts."""
    home = one.contrast, one.template, one.shape, PAIR, SELECT
    at_home = [
        row for row in rows if tuple(row[key] for key in ("contrast", "template", "shape", "what", "split")) == home
    ]
    first = min((row["rank"] for row in at_home), default=None)
    return [row for row in at_home if row["rank"] == first]


def _kinds(latent: DescribedLatent) -> Table:
    columns = [
        Column("Error", numeric=False),
        Column("Programs", "that raise it, of both splits"),
        Column("Fires", "share of these in which it is active"),
        Column("Activation", "mean of the largest in each"),
        Column("Adds", "to the logit of the program's own error beyond that of the other one, where the gate goes on"),
    ]
    rows = [
        [
            text(error),
            count_cell(one.n),
            share(one.fires),
            figure_cell(one.mean),
            figure_cell(one.added, signed=True),
        ]
        for error, one in latent.kinds.items()
    ]
    return Table(f"Latent {name_of(latent)} by error", columns, rows)


def _templates(latent: DescribedLatent) -> Table:
    columns = [
        Column("Template", numeric=False),
        Column("Pairs"),
        Column("Clean", "mean of the largest activation in each clean program"),
        Column("Corrupted"),
        Column("Effect", "of the latent wherever it stands, in the logit difference; where the gate goes on"),
        Column("Share", "of the template's whole effect"),
    ]
    rows = [
        [
            Cell(one.template, under=one.contrast),
            count_cell(one.n),
            figure_cell(one.clean),
            figure_cell(one.corrupted),
            figure_cell(one.effect, signed=True),
            share(one.share),
        ]
        for one in latent.templates
    ]
    return Table(f"Latent {name_of(latent)} by template", columns, rows)


def _tokens(tokens: Sequence[Any] | None, n: int = N_TOKENS) -> str | None:
    return None if tokens is None else " ".join(visible(one.token) for one in tokens[:n])
