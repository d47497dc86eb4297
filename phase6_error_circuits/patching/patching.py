"""Phase 6.2: where the answer is carried, by putting parts of one run of the model into the other.

    python3 run.py phase 6.2 --preset demo

1. The gate of phase 6.1b says which contrast is studied; of its pairs the largest group of one template and shape that
   selects is patched, so that positions mean the same (jobs.py, patches.py).
2. In both directions: the residual stream at every layer and position; what attention and the MLP add, at the named
   positions and at all; all heads to first order, and those with the largest effect exactly.
3. Pairs of other shapes and templates are patched in the stream at their named positions.
4. Shares of the total follow from all of it (results.py), with heat maps (figures.py).

A record is one part at one layer in one direction, at all its positions; or one head.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from common.handoffs.error_gate import Studied
from common.handoffs.error_patching import ErrorPatchingDocument
from common.model.language_model import LanguageModel
from common.model.loading import load_model, load_tokenizer, n_layers_of
from common.phases.context import RunContext
from common.progress import Progress
from common.runs.records import RecordWriter
from phase6_error_circuits.arms import arms_of
from phase6_error_circuits.pair import SELECT, ErrorPair
from phase6_error_circuits.patching import results, words
from phase6_error_circuits.patching.config import ErrorPatchingConfig
from phase6_error_circuits.patching.figures import all_figures
from phase6_error_circuits.patching.jobs import Job, Jobs, check_sites, jobs_of
from phase6_error_circuits.patching.patches import DIRECTIONS, Patching
from phase6_error_circuits.studied import studied_of, studied_shapes

Shapes = Sequence[Sequence[ErrorPair]]


def run(ctx: RunContext[ErrorPatchingConfig], config: ErrorPatchingConfig) -> None:
    studied = studied_of(ctx)
    shapes, jobs = shapes_of(ctx, studied), all_jobs(ctx, studied)
    ctx.log.info("%s in the format %s: the model %s", studied.contrast, studied.format, studied.verdict)
    with ctx.write() as out:
        out.summarize = lambda rows: {"patches": len(rows), "pairs": len(shapes[0])}
        out.conclude = lambda: conclude(ctx, out, studied, shapes)
        if out.n_wanted:  # the run that only joins what slices left needs no model
            write(ctx, out, jobs, shapes)


def shapes_of(ctx: RunContext[ErrorPatchingConfig], studied: Studied) -> Shapes:
    """The pairs that are patched, then those of other shapes."""
    config = ctx.config
    groups = studied_shapes(ctx, studied, SELECT)[: 1 + config.other_shapes]
    return [group[: config.n_pairs] for group in groups]


def all_jobs(ctx: RunContext[ErrorPatchingConfig], studied: Studied) -> list[Job]:
    config, n_layers = ctx.config, n_layers_of(ctx.config.model, ctx.config.revision)
    return jobs_of(n_layers, config.layers_of(n_layers), len(shapes_of(ctx, studied)), config.n_heads)


def count_records(ctx: RunContext[ErrorPatchingConfig]) -> int:
    return len(all_jobs(ctx, studied_of(ctx)))


def write(ctx: RunContext[ErrorPatchingConfig], out: RecordWriter, jobs: Sequence[Job], shapes: Shapes) -> None:
    config = ctx.config
    ctx.log.info("loading %s", config.model)
    lm = load_model(config.model, ctx.device, config.dtype, config.threads, revision=config.revision)
    out.process |= {"model": lm.describe()}
    computing: dict[int, Jobs] = {}  # of one shape at a time: its streams fill the memory
    with Progress(out.n_wanted, [], ctx.log, unit="patches") as progress:
        for [index] in out.batches(1):
            job = jobs[index]
            if job.shape not in computing:
                computing = {job.shape: jobs_on(ctx, lm, job.shape, shapes[job.shape])}
            done = computing[job.shape].done(job)
            out.append(index, {"effects.parquet": {"record": index, **done.as_row(job)}}, {})
            progress.add(["patched"])


def jobs_on(ctx: RunContext[ErrorPatchingConfig], lm: LanguageModel, shape: int, pairs: Sequence[ErrorPair]) -> Jobs:
    """What computes the jobs of one shape.

    Raises: UnknownHookError where the model lacks a part; ConfigError without an effect.
    """
    arms = arms_of(lm, pairs).with_effect()
    patchings = {direction: Patching(arms, direction, ctx.config.batch_size, ctx.log) for direction in DIRECTIONS}
    with torch.no_grad():
        check_sites(next(iter(patchings.values())))
    return Jobs(patchings, is_studied=shape == 0)


def conclude(ctx: RunContext[ErrorPatchingConfig], out: RecordWriter, studied: Studied, shapes: Shapes) -> None:
    """Write shares.parquet, patching.json and the figures."""
    config, rows = ctx.config, out.joined_rows()
    tokenizer = load_tokenizer(config.model, config.revision)
    every = [
        results.patched(number, pairs, [row for row in rows if row["shape"] == number], tokenizer, config)
        for number, pairs in enumerate(shapes)
    ]
    first, others = every[0], every[1:]
    out.table("shares.parquet", [row for one in every for row in one.rows()])
    document = ErrorPatchingDocument(
        contrast=studied.contrast,
        format=studied.format,
        verdict=studied.verdict,
        forced=studied.forced,
        n=first.facts.n,
        both_signs=first.facts.both_signs,
        pairs=first.facts,
        path=results.path(first),
        strongest=results.strongest(first),
        heads=results.heads(first),
        others=[results.beside(first, other) for other in others],
        holds=results.holds(first),
        sentences=[],
    )
    document = replace(document, sentences=words.sentences(document))
    out.document("patching.json", document)
    for name, data in all_figures(document, first, others).items():
        out.file(f"figures/{name}", data)
    for sentence in document.sentences:
        ctx.log.info("%s", sentence)
