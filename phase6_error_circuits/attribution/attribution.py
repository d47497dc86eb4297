"""Phase 6.3: which latents carry the difference between two errors, and how much of it no latent carries.

    python3 run.py phase 6.3 --preset demo

1. The pairs of each shape that the gate lets through are run, and what stands at the dictionaries' site is split into
   latents and an error, in every layer that has a dictionary; nothing is spliced into the model.
2. Every node is worth its difference between the two runs times the metric's gradient: at the clean end, at the
   corrupted end, and along the line between (latents/gradients.py).
3. The largest nodes are really changed, one by one, in both directions; so are all errors of a layer, and those of all
   layers together (latents/exact.py).
4. Null pairs, of two clean programs, tell how large a node is by chance. Pairs of other words tell what holds for them.

Record i is the i-th shape, contrast by contrast.
"""

import json
from collections.abc import Sequence
from typing import Any

from common.handoffs.document import as_json, from_json
from common.handoffs.error_attribution import AttributedShape, ErrorAttributionDocument
from common.model.loading import load_model
from common.phases.context import RunContext
from common.runs.records import RecordWriter
from common.saes.sources import sae_source
from common.words import number
from phase6_error_circuits.attribution.config import ErrorAttributionConfig
from phase6_error_circuits.attribution.figures import draw_errors, draw_places
from phase6_error_circuits.attribution.measuring import Measured, Measurer
from phase6_error_circuits.attribution.top_latents import Ends, top_latents
from phase6_error_circuits.latents.dictionaries import load_dictionaries
from phase6_error_circuits.latents.gradients import CLEAN, CORRUPTED, IG
from phase6_error_circuits.latents.nodes import ERROR, LATENT, NO_LATENT
from phase6_error_circuits.latents.studied import StudiedShape, shapes_in

MOST_NODES = 100_000  # of a shape that are kept, the largest


def run(ctx: RunContext[ErrorAttributionConfig], config: ErrorAttributionConfig) -> None:
    shapes = shapes_of(ctx)
    with ctx.write() as out:
        out.summarize = lambda rows: {"shapes": len(rows), "pairs": sum(row["n"] for row in rows)}
        out.conclude = lambda: conclude(ctx, out, shapes)
        if out.n_wanted:  # the run that only joins what slices left needs no model
            write(ctx, out, shapes)


def shapes_of(ctx: RunContext[ErrorAttributionConfig]) -> list[StudiedShape]:
    """The shapes that are measured: of each contrast the first."""
    config = ctx.config
    every = shapes_in(ctx, config.contrasts, config.n_pairs)
    by_contrast: dict[str, list[StudiedShape]] = {}
    for shape in every:
        by_contrast.setdefault(shape.contrast, []).append(shape)
    return [shape for shapes in by_contrast.values() for shape in shapes[: config.n_shapes or None]]


def count_records(ctx: RunContext[ErrorAttributionConfig]) -> int:
    return len(shapes_of(ctx))


def write(ctx: RunContext[ErrorAttributionConfig], out: RecordWriter, shapes: Sequence[StudiedShape]) -> None:
    config = ctx.config
    ctx.log.info("loading %s", config.model)
    lm = load_model(config.model, ctx.device, config.dtype, config.threads, revision=config.revision)
    dictionaries = load_dictionaries(sae_source(config.sae, config.model, config.sae_revision), lm, ctx.log)
    measurer = Measurer(lm, dictionaries, config)
    out.process |= {"model": lm.describe()}
    for [index] in out.batches(1):
        shape = shapes[index]
        measured = measurer.measure(shape)
        out.append(index, {"shapes.parquet": row_of(index, shape, measured)}, {})
        told = measured.told
        whole, errors = number(told.effect.value), number(told.error_share.share.value)
        ctx.log.info("%d of %d, %s: effect %s, errors %s of it", index + 1, len(shapes), shape.words, whole, errors)


def row_of(index: int, shape: StudiedShape, measured: Measured) -> dict[str, Any]:
    """A row of shapes.parquet."""
    nodes = []
    for node, value in [*measured.by_method[IG].nodes().items()][:MOST_NODES]:
        ends = [measured.by_method[method].of(node) for method in (CLEAN, CORRUPTED)]
        latent = NO_LATENT if node.latent is None else node.latent
        pos = node.pos + shape.example.code_start
        nodes.append([node.layer, latent, pos, value, *ends, *measured.tried.get(node, (None, None))])
    return {
        "record": index,
        "contrast": shape.contrast,
        "format": shape.format,
        "template": shape.template,
        "shape": shape.shape,
        "n": len(shape.select),
        "result": json.dumps(as_json(measured.told)),
        "nodes": json.dumps(nodes, separators=(",", ":")),
    }


def conclude(ctx: RunContext[ErrorAttributionConfig], out: RecordWriter, shapes: Sequence[StudiedShape]) -> None:
    """Write nodes.parquet, both documents and the figures, which follow from all records."""
    config, rows = ctx.config, out.joined_rows()
    source = sae_source(config.sae, config.model, config.sae_revision)
    told = [from_json(AttributedShape, json.loads(row["result"])) for row in rows]
    nodes = [node for row, shape, one in zip(rows, shapes, told, strict=True) for node in nodes_of(row, shape, one)]
    out.table("nodes.parquet", nodes)
    first = told[0]
    document = ErrorAttributionDocument(
        site=source.site or "",
        dictionaries=source.identity,
        note=source.note,
        n=sum(shape.n for shape in told),
        error_share=first.error_share,
        null_pairs=first.null_pairs,
        held_out=first.held_out,
        shapes=told,
    )
    out.document("attribution.json", document)
    out.document("top_latents.json", top_latents(nodes, told, config.n_top, Ends(config, source, ctx.log)))
    out.file("figures/error_shares.svg", draw_errors(told))
    for contrast in dict.fromkeys(shape.contrast for shape in told):
        number_of = next(place for place, shape in enumerate(told) if shape.contrast == contrast)
        of_shape = [node for node in nodes if _key(node) == _key(rows[number_of])]
        title = f"{contrast}, {told[number_of].template}"
        name = contrast.replace("/", "_")
        out.file(f"figures/places_{name}.svg", draw_places(of_shape, title))


def nodes_of(row: dict[str, Any], shape: StudiedShape, told: AttributedShape) -> list[dict[str, Any]]:
    """Rows of nodes.parquet."""
    known = {name: row[name] for name in ("contrast", "format", "template", "shape")}
    rows = []
    for layer, latent, pos, ig, clean, corrupted, noised, denoised in json.loads(row["nodes"]):
        rows.append(
            {
                **known,
                "layer": layer,
                "kind": ERROR if latent == NO_LATENT else LATENT,
                "latent": latent,
                "position": pos,
                "place": shape.places[pos - shape.example.code_start],
                "ig": ig,
                "clean": clean,
                "corrupted": corrupted,
                "noising": noised,
                "denoising": denoised,
                "above_null": told.null_pairs.n > 0 and abs(ig) > told.null_pairs.largest,
            }
        )
    return rows


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("contrast", "format", "template", "shape"))
