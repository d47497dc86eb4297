"""A graph as a document for people: nodes and links that are shown, with what is known of each latent."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.handoffs.document import as_json
from common.model.language_model import LanguageModel
from common.model.registry import shown_name
from common.report.graphs.graph_document import (
    GraphDocument,
    GraphLink,
    GraphNode,
    LogitEffect,
    Origin,
    PruningSettings,
    TextExample,
    contrast_node,
    error_node,
    latent_node,
    logit_node,
    token_node,
)
from common.saes.dictionary import Latent
from phase5_attribution_graphs.graphs.explaining import Explained, Limits
from phase5_attribution_graphs.replacement.influence import signed_effect


@dataclass(frozen=True)
class LatentFacts:
    """What phase 5.3 knows of a latent."""

    examples: tuple[TextExample, ...] = ()
    promotes: tuple[LogitEffect, ...] = ()
    suppresses: tuple[LogitEffect, ...] = ()

    @property
    def label(self) -> str:
        """What it promotes, in short, where nobody gave it a name."""
        return " ".join(effect.token.strip() for effect in self.promotes[:3])


def graph_document(
    explained: Explained,
    lm: LanguageModel,
    *,
    slug: str,
    limits: Limits,
    n_targets: int,
    known: Mapping[Latent, LatentFacts],
    sink: str | None,
    settings: Mapping[str, Any],
) -> GraphDocument:
    """The pruned graph of the first `n_targets` targets."""
    graph, run = explained.graph, explained.run
    nodes = _nodes(explained, lm, known)
    targets = [_target(explained, lm, number) for number in range(n_targets)]
    rows = {graph.n_latents + number: node.id for number, node in enumerate(targets)}
    ids = {column: node.id for column, node in nodes.items()} | rows
    links = [
        GraphLink(ids[column], ids[row], float(graph.edges[row, column]))
        for row, column in explained.pruned.links.tolist()
        if row in ids
    ]
    return GraphDocument(
        slug=slug,
        model=shown_name(lm.name),
        prompt="".join(_token(lm, token) for token in run.tokens.tolist()),
        tokens=tuple(_token(lm, token) for token in run.tokens.tolist()),
        n_layers=run.n_layers,
        d_vocab=len(run.W_U),
        nodes=(*nodes.values(), *targets),
        links=tuple(links),
        pruning=PruningSettings(limits.node_share, limits.edge_share),
        origin=Origin(create_time_ms=0),
        scores=as_json(explained.scores),
        verification=_verification(explained),
        settings=dict(settings),
        sink_token=sink,
        notes=_notes(explained),
    )


def _nodes(explained: Explained, lm: LanguageModel, known: Mapping[Latent, LatentFacts]) -> dict[int, GraphNode]:
    """By column of the graph; tokens always, others where the pruning keeps them."""
    graph, effects = explained.graph, signed_effect(explained.graph)
    nodes = {}
    for column in explained.pruned.columns.tolist():
        told: dict[str, Any] = {
            "influence": float(explained.pruned.cumulative[column]),
            "signed_effect": float(effects[column]),
        }
        if column < graph.n_latents:
            layer, pos, latent = (int(one[column]) for one in (graph.layer, graph.pos, graph.latent))
            facts = known.get((layer, latent), LatentFacts())
            told |= {"label": facts.label, "examples": facts.examples}
            told |= {"promotes": facts.promotes, "suppresses": facts.suppresses}
            nodes[column] = latent_node(layer, latent, pos, float(graph.activation[column]), **told)
        elif column < graph.error_columns.stop:
            nodes[column] = error_node(*divmod(column - graph.n_latents, graph.n_pos), **told)
        else:
            pos = column - graph.token_columns.start
            token = int(graph.tokens[pos])
            nodes[column] = token_node(token, pos, label=_token(lm, token), **told)
    return nodes


def _target(explained: Explained, lm: LanguageModel, number: int) -> GraphNode:
    graph, target = explained.graph, explained.targets[number]
    names = [_token(lm, token) for token in target.tokens]
    last, d_vocab = graph.n_pos - 1, len(explained.run.W_U)
    value = float(graph.values[graph.n_latents + number])
    if target.is_contrast:
        correct, incorrect = names
        return contrast_node(graph.n_layers, d_vocab, correct, incorrect, last, number, activation=value)
    return logit_node(graph.n_layers, target.tokens[0], names[0], last, target.weight, activation=value)


def _verification(explained: Explained) -> dict[str, Any]:
    """The verification in one level, as a page shows it."""
    verification = explained.verification
    return {
        "rows miss their value by, at most": verification.rows,
        "strongest edges off by, at most": verification.strongest.largest,
        "random edges off by, at most": verification.random.largest,
        "edges tried": verification.strongest.n + verification.random.n,
        "change by a change of nothing": verification.zero_change,
        "exact": verification.exact,
    }


def _notes(explained: Explained) -> tuple[str, ...]:
    graph = explained.graph
    notes = ["Edges hold with attention patterns and norm scales as recorded, and every latent's gate as it is."]
    if graph.is_capped:
        notes.append(f"{graph.n_latents} of {graph.n_active} active latents have rows: those of the largest influence.")
    return tuple(notes)


def _token(lm: LanguageModel, token: int) -> str:
    return str(lm.tokenizer.decode([token]))
