"""Phase 5.4: attribution graphs of prompts, exact and checked, and what those of one behaviour share.

    python3 run.py phase 5.4 --preset demo

1. Of each prompt of phase 5.1 the contrast of its two answers, at the first token in which they differ, is explained by
   one graph (explaining.py): errors, constants and tokens included, so that every row adds up.
2. Beside it, the answers of another prompt of the same behaviour are explained on the same prompt: the null.
3. Each graph is verified by interventions, pruned, and written as JSON (Neuronpedia's schema), GraphML and, for some, a
   page that needs no network; what was verified stands beside it.
4. Nodes that many graphs of a behaviour show are counted by layer, latent and role (aggregate.py).

Record i is the i-th prompt that gets a graph, behaviour by behaviour.
"""

import json
import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from common import handoffs
from common.evaluation.bootstrap import draws_of_problems, interval
from common.handoffs.document import as_json, from_json
from common.handoffs.estimates import Interval
from common.handoffs.graphs import BehaviourGraphs, GraphsDocument, Verification
from common.model.loading import load_model
from common.phases.context import RunContext
from common.report.graphs.neuronpedia import to_neuronpedia
from common.runs.records import RecordWriter
from common.saes.sources import SaeSource
from phase5_attribution_graphs.graphs.aggregate import ShownNodes, as_row, frequent_nodes
from phase5_attribution_graphs.graphs.config import GraphsConfig
from phase5_attribution_graphs.graphs.explaining import Explained, Explainer, Limits
from phase5_attribution_graphs.graphs.exporting import graph_document
from phase5_attribution_graphs.graphs.facts import facts_of
from phase5_attribution_graphs.graphs.files import write_graphs
from phase5_attribution_graphs.graphs.roles import roles_of
from phase5_attribution_graphs.replacement.influence import signed_effect
from phase5_attribution_graphs.replacement.pruning import Pruned
from phase5_attribution_graphs.replacement.transcoders import load_transcoders

SCORES = (
    "replacement",
    "completeness",
    "completeness_of_nodes",
    "errors_influence",
    "constants_influence",
    "errors_direct",
    "errors_signed",
)
Prompt = dict[str, Any]  # a row of phase 5.1's prompts.parquet


def run(ctx: RunContext[GraphsConfig], config: GraphsConfig) -> None:
    prompts, source = prompts_of(ctx), config.source()
    with ctx.write() as out:
        out.conclude = lambda: conclude(ctx, out)
        if out.n_wanted:  # the run that only joins what slices left needs no model
            write(ctx, out, prompts, source)


def prompts_of(ctx: RunContext[GraphsConfig]) -> list[Prompt]:
    """The first prompts of each behaviour in the split that is asked for."""
    config, by_behaviour = ctx.config, defaultdict(list)
    for row in ctx.read(handoffs.CIRCUIT_PROMPTS).table("prompts.parquet"):
        if row["split"] == config.split and len(by_behaviour[row["behaviour"]]) < config.n_prompts:
            by_behaviour[row["behaviour"]].append(row)
    return [row for rows in by_behaviour.values() for row in rows]


def count_records(ctx: RunContext[GraphsConfig]) -> int:
    return len(prompts_of(ctx))


def write(ctx: RunContext[GraphsConfig], out: RecordWriter, prompts: Sequence[Prompt], source: SaeSource) -> None:
    config = ctx.config
    ctx.log.info("loading %s", config.model)
    lm = load_model(config.model, ctx.device, config.dtype, config.threads, revision=config.revision)
    explainer = Explainer(lm, load_transcoders(source, lm), limits_of(config))
    others = shuffled(prompts, config.seed)
    sink = ctx.read(handoffs.CIRCUIT_PROMPTS).document().sink
    facts = facts_of(ctx)
    out.process |= {"model": lm.describe()}
    for [index] in out.batches(1):
        prompt = prompts[index]
        explained = _explained(explainer, prompt, others[index], config)
        document = graph_document(
            explained,
            lm,
            slug=f"{prompt['behaviour']}-{prompt['record']}",
            limits=explainer.limits,
            n_targets=1 if config.targets == "contrast" else len(explained.targets),
            known=facts,
            sink=None if sink is None else sink.text,
            settings={"targets": config.targets, "transcoders": source.identity},
        )
        row = {"record": index, "prompt_record": prompt["record"], "behaviour": prompt["behaviour"]}
        row |= {"slug": document.slug, **_figures(explained, prompt)}
        roles = roles_of(lm, prompt["token_ids"], prompt["entity"])
        row["nodes"] = json.dumps(_shown(explained, explained.pruned, roles, effects=True))
        row["shuffled"] = json.dumps(_shown_for_others(explained, explainer.limits, roles, config))
        row["graph"] = json.dumps(to_neuronpedia(document), separators=(",", ":"))
        out.append(index, {"graphs.parquet": row}, {})
        verdict = "exact" if explained.verification.exact else "NOT EXACT"
        ctx.log.info("%d of %d, %s: %d latents, %s", index + 1, len(prompts), row["slug"], row["n_rows"], verdict)


def limits_of(config: GraphsConfig) -> Limits:
    return Limits(
        max_latents=config.max_latents,
        max_memory_mb=config.max_memory,
        node_share=config.node_share,
        edge_share=config.edge_share,
        n_verified=config.n_verified,
        seed=config.seed,
    )


def shuffled(prompts: Sequence[Prompt], seed: int) -> list[Prompt]:
    """For each prompt another of its behaviour with other answers, drawn by the seed; itself where there is none."""
    others_of = []
    for prompt in prompts:
        pair = (prompt["correct_token"], prompt["incorrect_token"])
        others = [
            other
            for other in prompts
            if other["behaviour"] == prompt["behaviour"] and (other["correct_token"], other["incorrect_token"]) != pair
        ]
        drawn = random.Random(f"{seed} {prompt['record']}").choice(others or [prompt])
        others_of.append(drawn)
    return others_of


def _explained(explainer: Explainer, prompt: Prompt, other: Prompt, config: GraphsConfig) -> Explained:
    if config.targets == "logits":
        return explainer.logits(prompt["token_ids"])
    pairs = [(one["correct_token"], one["incorrect_token"]) for one in (prompt, other)]
    return explainer.contrast(prompt["token_ids"], pairs[0], pairs[1:])


def _figures(explained: Explained, prompt: Prompt) -> dict[str, Any]:
    graph, logits = explained.graph, explained.run.logits
    capped = logits[list(explained.targets[0].tokens)]
    return {
        "n_tokens": graph.n_pos,
        "n_active": graph.n_active,
        "n_rows": graph.n_latents,
        "n_shown": len(explained.pruned.latents(graph)),
        "n_links": len(explained.pruned.links),
        "value": float(graph.values[graph.n_latents]),
        "capped": float(capped[0] - capped[1] if len(capped) == 2 else capped[0]),
        **as_json(explained.scores),
        "verification": json.dumps(as_json(explained.verification)),
    }


def _shown_for_others(explained: Explained, limits: Limits, roles: list[str], config: GraphsConfig) -> list[list[Any]]:
    """What the same prompt's graph shows for another prompt's answers; nothing where no answers are explained."""
    if config.targets == "logits":
        return []
    null = explained.pruned_for(len(explained.targets) - 1, limits)
    return _shown(explained, null, roles, effects=False)


def _shown(explained: Explained, pruned: Pruned, roles: list[str], *, effects: bool) -> list[list[Any]]:
    graph, all_effects = explained.graph, signed_effect(explained.graph)
    value, nodes = float(graph.values[graph.n_latents]), []
    for column in pruned.latents(graph).tolist():
        node = [int(graph.layer[column]), int(graph.latent[column]), roles[int(graph.pos[column])]]
        nodes.append([*node, float(all_effects[column]) / value] if effects else node)
    return nodes


def conclude(ctx: RunContext[GraphsConfig], out: RecordWriter) -> None:
    """Write the graphs' files, nodes.parquet and graphs.json, which follow from all records."""
    config, rows = ctx.config, out.joined_rows()
    write_graphs(out, rows, config.pages)
    by_behaviour: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_behaviour[row["behaviour"]].append(row)
    behaviours = {name: _behaviour(some, config) for name, some in by_behaviour.items()}
    nodes = [as_row(name, node) for name, one in behaviours.items() for node in one.nodes]
    out.table("nodes.parquet", nodes)
    verified = [_verification(row) for row in rows]
    document = GraphsDocument(
        experiment=out.identity["experiment"],
        split=config.split,
        targets=config.targets,
        n=len(rows),
        exact=sum(one.exact for one in verified),
        worst=worst_of(verified),
        behaviours=behaviours,
    )
    out.document("graphs.json", document)
    out.summary = {"graphs": document.n, "exact": document.exact, "latents": int(np.mean([r["n_rows"] for r in rows]))}


def worst_of(verified: Sequence[Verification]) -> dict[str, float | None]:
    """The largest figure of each check."""
    sums = [one.rows for one in verified if one.rows is not None]
    return {
        "rows": max(sums, default=None),
        "strongest": max(one.strongest.largest for one in verified),
        "random": max(one.random.largest for one in verified),
        "zero_change": max(one.zero_change for one in verified),
    }


def _verification(row: dict[str, Any]) -> Verification:
    return from_json(Verification, json.loads(row["verification"]))


def _behaviour(rows: list[dict[str, Any]], config: GraphsConfig) -> BehaviourGraphs:
    draws = draws_of_problems(len(rows), config.n_resamples, config.seed) / len(rows)

    def mean(name: str) -> Interval:
        values = np.array([row[name] for row in rows], float)
        return interval(values.mean(), draws @ values)

    shown = [_shown_nodes(row) for row in rows]
    return BehaviourGraphs(
        n=len(rows),
        exact=sum(_verification(row).exact for row in rows),
        value=mean("value"),
        capped=mean("capped"),
        active=mean("n_active"),
        shown=mean("n_shown"),
        scores={name: mean(name) for name in SCORES},
        nodes=frequent_nodes(shown, config.min_frequency, config.n_resamples, config.seed),
    )


def _shown_nodes(row: dict[str, Any]) -> ShownNodes:
    """Of several positions with one role, effects add up."""
    effects: dict[tuple[int, int, str], float] = defaultdict(float)
    for layer, latent, role, effect in json.loads(row["nodes"]):
        effects[layer, latent, role] += effect
    return ShownNodes(
        dict(effects), frozenset((layer, latent, role) for layer, latent, role in json.loads(row["shuffled"]))
    )
