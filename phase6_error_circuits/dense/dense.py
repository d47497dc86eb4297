"""Phase 6.4b: which heads and neurons carry the answer together; no dictionary is needed, and nothing is left over.

    python3 run.py phase 6.4b --preset demo

1. Of the studied contrast the largest group of one template and shape is taken; pairs that select rank the nodes, pairs
   of other words are held out.
2. Nodes are heads and neurons at positions (nodes.py), ranked by integrated gradients over the embeddings (ranking.py).
3. Circuits of the first nodes run with everything else as in the corrupted run, and so does all but a circuit; beside
   them random nodes of the same layers, kinds and positions (circuits.py).
4. At every layer and named position the mean difference of the selecting pairs is put back into held-out pairs.

A record is one circuit, or the directions of one layer. Each process ranks the nodes itself, before its first circuit.
"""

from collections.abc import Sequence
from dataclasses import replace

from common.errors import ConfigError
from common.handoffs.error_dense import ErrorDenseDocument
from common.handoffs.error_gate import Studied
from common.model.loading import load_model, load_tokenizer, n_layers_of
from common.phases.context import RunContext
from common.progress import Progress
from common.runs.records import RecordWriter
from phase6_error_circuits.arms import arms_of
from phase6_error_circuits.dense import jobs, results, words
from phase6_error_circuits.dense.config import ErrorDenseConfig
from phase6_error_circuits.dense.figures import all_figures
from phase6_error_circuits.dense.jobs import Job, Jobs, jobs_of
from phase6_error_circuits.dense.results import Measured
from phase6_error_circuits.pair import ErrorPair
from phase6_error_circuits.studied import null_pairs, studied_of, studied_shapes


def run(ctx: RunContext[ErrorDenseConfig], config: ErrorDenseConfig) -> None:
    studied = studied_of(ctx)
    pairs, n_select = pairs_of(ctx, studied)
    ctx.log.info("%s in the format %s: the model %s", studied.contrast, studied.format, studied.verdict)
    with ctx.write() as out:
        out.summarize = lambda rows: {"circuits": sum(row["what"] in jobs.KEEPING for row in rows), "pairs": len(pairs)}
        out.conclude = lambda: conclude(ctx, out, studied, pairs, n_select)
        if out.n_wanted:  # the run that only joins what slices left needs no model
            write(ctx, out, pairs, n_select)


def pairs_of(ctx: RunContext[ErrorDenseConfig], studied: Studied) -> tuple[list[ErrorPair], int]:
    """The pairs that select, then those held out, as many as are asked for in all; and how many select.

    Raises: ConfigError where no words are held out.
    """
    largest, half = studied_shapes(ctx, studied, None)[0], ctx.config.n_pairs // 2
    select = [pair for pair in largest if not pair.is_held_out][:half]
    held_out = [pair for pair in largest if pair.is_held_out][:half]
    if not select or not held_out:
        raise ConfigError(
            f"{len(select)} pairs of {studied.contrast}, {largest[0].template}, select, {len(held_out)} are held out\n"
            f"Make more with a larger --n-pairs of phase 6.1"
        )
    return [*select, *held_out], len(select)


def all_jobs(ctx: RunContext[ErrorDenseConfig]) -> list[Job]:
    return jobs_of(ctx.config, n_layers_of(ctx.config.model, ctx.config.revision))


def count_records(ctx: RunContext[ErrorDenseConfig]) -> int:
    return len(all_jobs(ctx))


def write(ctx: RunContext[ErrorDenseConfig], out: RecordWriter, pairs: Sequence[ErrorPair], n_select: int) -> None:
    config, every = ctx.config, all_jobs(ctx)
    ctx.log.info("loading %s", config.model)
    lm = load_model(config.model, ctx.device, config.dtype, config.threads, revision=config.revision)
    out.process |= {"model": lm.describe()}
    nulls = null_pairs(ctx, pairs[0])[: config.n_pairs // 2]
    arms = arms_of(lm, pairs)
    for some in (arms.of_pairs(0, n_select), arms.of_pairs(n_select, len(pairs))):
        some.with_effect()
    computing = Jobs(arms, n_select, lambda: arms_of(lm, nulls) if nulls else None, config)
    ctx.log.info("ranking %d heads and neurons at positions", computing.nodes.n)
    with Progress(out.n_wanted, [], ctx.log, unit="circuits") as progress:
        for batch in out.batches(config.circuits_together):
            wanted = sum(out.wants(index) for index in batch)
            for index, row in zip(batch, computing.rows([every[index] for index in batch]), strict=True):
                out.append(index, {"metrics.parquet": {"record": index, **row}}, {})
            progress.add(["tried"] * wanted)


def conclude(
    ctx: RunContext[ErrorDenseConfig], out: RecordWriter, studied: Studied, pairs: Sequence[ErrorPair], n_select: int
) -> None:
    """Write the tables that follow from all records, dense.json and the figures."""
    config, measured = ctx.config, Measured(out.joined_rows(), pairs, n_select, ctx.config)
    measured.check_ranking(out.path)
    facts = results.studied_pairs(measured, load_tokenizer(config.model, config.revision))
    curves = {split: results.curves(measured, split) for split in measured.splits}
    select, held_out, sizes, told = curves["select"], curves["held_out"], measured.sizes, measured.told
    nodes, directions = results.node_rows(measured, facts.total.known), results.directions(measured)
    enough = results.smallest_enough(held_out, sizes)
    document = ErrorDenseDocument(
        contrast=studied.contrast,
        format=studied.format,
        gate=studied.verdict,
        forced=studied.forced,
        verdict=results.verdict(enough, told["n"]),
        n=facts.n,
        both_signs=facts.both_signs,
        pairs=facts,
        n_nodes=told["n"],
        n_heads=told["n_heads"],
        ranking=config.ranking,
        sizes=sizes,
        faithfulness=select.faithfulness,
        completeness=select.completeness,
        random=select.random,
        held_out=held_out,
        smallest_enough=enough,
        everything_kept=measured.departure(jobs.EVERYTHING, jobs.CLEAN),
        nothing_kept=measured.departure(jobs.NOTHING, jobs.CORRUPTED),
        null_pairs=results.nulls(measured, facts.total.known),
        nodes=results.shown_nodes(nodes, facts.tokens),
        directions=directions,
        sentences=[],
    )
    document = replace(document, sentences=words.sentences(document))
    out.table("curves.parquet", results.curve_rows(curves, sizes))
    out.table("nodes.parquet", nodes)
    out.table("directions.parquet", results.direction_rows(directions))
    out.document("dense.json", document)
    for name, data in all_figures(document, select).items():
        out.file(f"figures/{name}", data)
    for sentence in document.sentences:
        ctx.log.info("%s", sentence)
