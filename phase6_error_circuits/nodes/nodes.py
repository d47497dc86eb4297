"""Phase 6.5: what the nodes of circuits are.

    python3 run.py phase 6.5 --preset demo

1. The strongest nodes of each contrast's circuit are told of (told.py): latents at a position, and errors, which have
   no latent.
2. Their latents are read at every token of both programs of pairs, of all contrasts and templates that phase 6.1 made
   in the same format; and what they are worth is measured where the gate lets a template through (reading.py).
3. Of each latent it is told which errors and templates it serves, and how well it tells one error from the others on
   pairs of other words (summary.py); the programs in which it fires most, of either split; and the tokens whose logits
   it raises and lowers by its direct path.

Record i is the i-th shape of a template: those on which the nodes were found, then all others.
"""

from __future__ import annotations

import dataclasses
import json

from common.handoffs.error_nodes import ErrorNodesDocument, NodeSource
from common.model.loading import load_model, load_tokenizer
from common.phases.context import RunContext
from common.report.latents.tokens import token_words
from common.runs.records import RecordWriter
from common.saes.sources import sae_source
from common.words import plural
from phase6_error_circuits.attribution.top_latents import Ends
from phase6_error_circuits.latents.dictionaries import load_dictionaries
from phase6_error_circuits.nodes.config import ErrorNodesConfig
from phase6_error_circuits.nodes.reading import Reader
from phase6_error_circuits.nodes.snippets import snippet_rows
from phase6_error_circuits.nodes.summary import activation_rows, described, told_nodes
from phase6_error_circuits.nodes.told import SHAPE, NodesPlan, plan_of


def run(ctx: RunContext[ErrorNodesConfig], config: ErrorNodesConfig) -> None:
    plan = plan_of(ctx)
    for one in plan.told:
        ctx.log.info("%s: %s %s", one.shape.words, plural(len(one.nodes), "node"), one.source)
        if one.source is NodeSource.NOT_RUN:
            name = one.shape.contrast
            ctx.log.info("for nodes of its circuit, first run: python3 run.py phase 6.4 --contrasts %s", name)
    with ctx.write() as out:
        out.summarize = lambda rows: {"shapes": len(rows), "pairs": sum(row["n"] for row in rows)}
        out.conclude = lambda: conclude(ctx, out, plan)
        if out.n_wanted:  # the run that only joins what slices left needs no model
            write(ctx, out, plan)


def count_records(ctx: RunContext[ErrorNodesConfig]) -> int:
    return len(plan_of(ctx).groups)


def write(ctx: RunContext[ErrorNodesConfig], out: RecordWriter, plan: NodesPlan) -> None:
    config = ctx.config
    ctx.log.info("loading %s", config.model)
    lm = load_model(config.model, ctx.device, config.dtype, config.threads, revision=config.revision)
    source = sae_source(config.sae, config.model, config.sae_revision)
    dictionaries = load_dictionaries(source, lm, ctx.log, plan.layers or None)
    out.process |= {"model": lm.describe()}
    for [index] in out.batches(1):
        group = plan.groups[index]
        shape, home = group.shape, plan.home_of(group)
        wanted = plan.latents(shape.format), plan.places(shape.format)
        reader = Reader(lm, dictionaries, config, group.n_points, *wanted)
        result = reader.read(shape, effects=group.goes_on, nodes=home.nodes if home else [])
        row = {name: getattr(shape, name) for name in SHAPE}
        row |= {"record": index, "n": len(shape.select) + len(shape.held_out), "result": json.dumps(result)}
        out.append(index, {"groups.parquet": row}, {})
        ctx.log.info("%d of %d, %s: %s", index + 1, len(plan.groups), shape.words, plural(row["n"], "pair"))


def conclude(ctx: RunContext[ErrorNodesConfig], out: RecordWriter, plan: NodesPlan) -> None:
    """Write the tables and the document, which follow from all records."""
    config = ctx.config
    results = [json.loads(row["result"]) for row in out.joined_rows()]
    source = sae_source(config.sae, config.model, config.sae_revision)
    tokenizer = load_tokenizer(config.model, config.revision)
    out.table("activations.parquet", activation_rows(plan, results))
    out.table(
        "snippets.parquet", snippet_rows(plan, results, config.n_snippets, lambda one: token_words(tokenizer, one))
    )
    latents = described(plan, results, config.n_resamples, config.seed)
    written = Ends(config, source, ctx.log).of_each([(one.layer, one.latent) for one in latents])
    document = ErrorNodesDocument(
        site=source.site or "",
        dictionaries=source.identity,
        n=sum(len(one["programs"]) for one in results),
        templates=len({(group.shape.contrast, group.shape.template) for group in plan.groups}),
        contrasts=[told_nodes(plan, one, results, tokenizer) for one in plan.told],
        latents=[dataclasses.replace(one, **told) for one, told in zip(latents, written, strict=True)],
    )
    out.document("nodes.json", document)
    out.summary |= {"nodes": sum(len(one.nodes) for one in plan.told), "latents": len(latents)}
