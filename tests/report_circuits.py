"""Documents of phases 5.3 and later, made by hand in the form that the phases give them, for tests of the report."""

import json
from collections.abc import Callable
from typing import Any

from report_drawings import picture
from report_selection import interval

from common.report.graphs.graph_document import (
    GraphDocument,
    GraphLink,
    Origin,
    PruningSettings,
    contrast_node,
    latent_node,
    token_node,
)
from common.report.graphs.neuronpedia import to_neuronpedia
from phase5_attribution_graphs.graphs.graphs import SCORES


def circuit_latents(hostile: str, n: int) -> Callable[[Any], None]:
    """Fills a run of phase 5.3: one layer that fits badly and loses a behaviour, one without a transcoder."""

    def fill(out: Any) -> None:
        on_text = {"fvu": 0.6, "l0": 40.0, "n": n, "n_massive": 0}
        neighbour = {"layer": 1, "fvu": 2.0, "n_better": 0.0, "n": n}
        at_last = {"fvu": 0.4, "l0": 30.0, "n": n}
        fit = {"id": hostile, "reads": "blocks.0.ln2.hook_normalized", "n_latents": 64, "has_skip": True}
        fit |= {"text": on_text, "fvu_with_massive": 0.7, "published_fvu": 0.1, "published_l0": None, "last": at_last}
        fit |= {"neighbours": [neighbour], "behaviours": {"agreement": at_last | {"fvu": 1.4}}}
        given = {"transcoders": hostile, "positions": "last5", "top_k": 20, "text": hostile, "n_documents": n}
        given |= {"n_described": 30, "accepted": False, "prompts": {"agreement": {"train": 4, "test": 2}}}
        out.document("circuit_latents.json", given | {"layers": {"0": fit}, "without": [1]})
        out.file("figures/transcoder_fit.png", picture())

    return fill


def interventions(hostile: str, n: int) -> Callable[[Any], None]:
    """Fills a run of phase 5.5: an answer that is carried by latents, and one that errors carry."""

    def fill(out: Any) -> None:
        share = {"n": n - 1, "of": n, "rate": interval((n - 1) / n)}
        named = {"effect": interval(1.8), "null": interval(-0.1), "beyond": interval(1.9), "share": interval(0.3)}
        named |= {"first": share, "first_twentieth": share, "p": 0.005, "p_holm": 0.01}
        sets = {name: named for name in ("top_signed_effect", "top_influence")}
        change = {what: {"nothing": interval(1.8), "attention and norms": interval(2)} for what in ("zero", "inhibit")}
        patched = {"n": 2, "refused": {"unequal length": 1, "no partner": 3}, "back": interval(0.4)}
        patched |= {"moved": {"all": interval(0.7), "kept": interval(0.4)}}
        correlations = ("influence_and_size", "signed_and_effect", "signed_and_frozen", "frozen_and_free")
        one = {"n": n, "baseline": interval(5.3), "same_token": share, "important": share, "patched": patched}
        one |= {"sets": {name: {**each, "verdict": "carried by these latents"} for name, each in sets.items()}}
        one |= {"changes": {name: change for name in sets}, "steered": {"-2": interval(0.2), "2": interval(-0.2)}}
        one |= {"correlations": {name: interval(0.8) for name in correlations}, "faithfulness": interval(0.8)}
        worse = {**one, "errors_direct": interval(0.9), "activation_ratio": interval(0.3)}
        worse |= {"sets": {name: {**each, "verdict": "cannot tell"} for name, each in sets.items()}}
        given = {"n": 2 * n, "n_nulls": 199, "set_size": 10, "inhibit": 1.0, "seed": 456}
        out.document("interventions.json", given | {"behaviours": {"agreement": one, hostile: worse}})
        out.file("figures/effects.png", picture())

    return fill


def circuit_graphs(hostile: str, n: int) -> Callable[[Any], None]:
    """Fills a run of phase 5.4: a behaviour with nodes that its graphs share, and one that errors carry."""

    def fill(out: Any) -> None:
        scores = dict.fromkeys(SCORES, interval(0.2))
        node = {"layer": 1, "latent": 7, "role": hostile, "n": n - 1, "frequency": interval(0.9), "shuffled": 0.3}
        node |= {"effect": interval(0.1), "excess": interval(0.6), "beyond_shuffled": True}
        one = {"n": n, "exact": n, "value": interval(6), "capped": interval(5), "active": interval(900)}
        one |= {"shown": interval(120), "scores": scores, "nodes": [node, {**node, "beyond_shuffled": False}]}
        by_errors = {**one, "exact": n - 1, "nodes": [], "scores": {**scores, "errors_direct": interval(0.8)}}
        worst = {"rows": 2e-6, "strongest": 7e-7, "random": 1e-4, "zero_change": 0.0}
        given = {"experiment": out.identity["experiment"], "split": "test", "targets": "contrast"}
        behaviours = {"agreement": one, hostile: by_errors}
        out.document("graphs.json", {**given, "n": 2 * n, "exact": 2 * n - 1, "worst": worst, "behaviours": behaviours})
        rows = [_graph_row(number, name, hostile) for number, name in enumerate(behaviours)]
        out.table("graphs.parquet", rows)

    return fill


def _graph_row(number: int, behaviour: str, hostile: str) -> dict[str, Any]:
    """A graph of two tokens, one of which is anything."""
    nodes = (token_node(3, 0), token_node(4, 1), latent_node(0, 7, 1, 2.0, label=hostile, influence=0.5))
    target = contrast_node(2, 100, hostile, " is", 1)
    document = GraphDocument(
        slug=f"graph-{number}",
        model=hostile,
        prompt=hostile,
        tokens=("<bos>", hostile),
        n_layers=2,
        d_vocab=100,
        nodes=(*nodes, target),
        links=(GraphLink(nodes[1].id, nodes[2].id, 1.0), GraphLink(nodes[2].id, target.id, 2.0)),
        pruning=PruningSettings(0.8, 0.98),
        origin=Origin(create_time_ms=0),
    )
    counts = dict.fromkeys(("n_tokens", "n_active", "n_rows", "n_shown", "n_links"), 2)
    row = {"record": number, "prompt_record": number, "behaviour": behaviour, "slug": document.slug, **counts}
    row |= {"value": 6.0, "capped": 5.0, **dict.fromkeys(SCORES, 0.2), "verification": "{}"}
    return row | {"nodes": "[]", "shuffled": "[]", "graph": json.dumps(to_neuronpedia(document))}
