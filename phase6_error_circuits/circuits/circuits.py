"""Phase 6.4: circuits of latents and errors, and how much of the difference between two errors they keep.

    python3 run.py phase 6.4 --preset demo

1. Nodes come into a circuit in the order of phase 6.3's importances, and beside it in others (ranking.py). All others
   take their values of the corrupted program, means, or nothing (bases.py). What the circuit keeps of the effect, and
   what everything else keeps, is measured over sizes, on pairs that select and on pairs of other words (scoring.py).
2. Beside the curves: random circuits, one layer cut at a time, the contrast's other templates, masks learned for the
   same purpose, and the size that is enough.
3. Edges between nodes of neighbouring layers, in three parts (edges.py). Circuits of edges are run beside circuits of
   random edges (edge_circuits.py), and the largest edges are tried by path patching.
4. The circuit as a graph, with the page of phase 5 (exporting.py).

Record i is contrast i // n, step i % n, of n steps.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from common import handoffs
from common.errors import ConfigError
from common.handoffs.document import from_json
from common.handoffs.error_attribution import AttributedShape
from common.handoffs.error_latent_circuits import ErrorLatentCircuit, ErrorLatentCircuitsDocument
from common.model.loading import load_model, load_tokenizer
from common.phases.context import RunContext
from common.runs.records import RecordWriter
from common.saes.sources import sae_source
from phase6_error_circuits.circuits.config import ABLATIONS, ErrorCircuitsConfig
from phase6_error_circuits.circuits.edge_steps import edges_step
from phase6_error_circuits.circuits.exporting import N_NODES, circuit_graph, files_of
from phase6_error_circuits.circuits.figures import draw_curves, draw_edges
from phase6_error_circuits.circuits.node_steps import (
    Found,
    curves_step,
    layers_step,
    mask_step,
    rankings_step,
    transfer_step,
)
from phase6_error_circuits.circuits.ranking import ranked
from phase6_error_circuits.circuits.rows import circuit_rows, curve_rows, edge_rows, node_of
from phase6_error_circuits.circuits.subject import Subject
from phase6_error_circuits.latents.dictionaries import load_dictionaries
from phase6_error_circuits.latents.nodes import ERROR, Node
from phase6_error_circuits.latents.studied import StudiedShape, shapes_in

RANKINGS, ONE_LAYER, TRANSFER, MASKS, EDGES = "rankings", "layers", "transfer", "mask", "edges"
STEPS = {
    RANKINGS: rankings_step,
    ONE_LAYER: layers_step,
    TRANSFER: transfer_step,
    MASKS: mask_step,
    EDGES: edges_step,
}
LISTS = ("curves", "enough", "one_layer", "transfers", "masks")
NOT_TOLD = ("mask", "links", "depth")  # of the document: they are in tables, or for the graph


def run(ctx: RunContext[ErrorCircuitsConfig], config: ErrorCircuitsConfig) -> None:
    groups = shapes_by_contrast(ctx)
    with ctx.write() as out:
        out.summarize = lambda rows: {"contrasts": len(groups), "steps": len(rows)}
        out.conclude = lambda: conclude(ctx, out, groups)
        if out.n_wanted:  # the run that only joins what slices left needs no model
            write(ctx, out, groups)


def shapes_by_contrast(ctx: RunContext[ErrorCircuitsConfig]) -> dict[str, list[StudiedShape]]:
    """The shapes of each contrast that have held-out pairs and that phase 6.3 measured, that with most pairs first.

    Raises: ConfigError where there is none.
    """
    config = ctx.config
    measured = {_key(vars(shape)) for shape in ctx.read(handoffs.ERROR_ATTRIBUTION).document().shapes}
    by_contrast: dict[str, list[StudiedShape]] = {}
    for shape in shapes_in(ctx, config.contrasts, config.n_pairs):
        if shape.held_out and (shape.contrast in by_contrast or _key(vars(shape)) in measured):
            by_contrast.setdefault(shape.contrast, []).append(shape)
    if not by_contrast:
        raise ConfigError(
            f"phase 6.3 measured {len(measured)} shapes, none of which has held-out pairs of "
            f"{', '.join(config.contrasts)}\nMeasure them with: python3 run.py phase 6.3 --contrasts "
            f"{','.join(config.contrasts)}"
        )
    return by_contrast


def steps_of(config: ErrorCircuitsConfig) -> list[str]:
    """The steps of every contrast, in order."""
    left_out = {MASKS} if config.mask_steps == 0 else set()
    wanted = [name for name in ABLATIONS if name in config.ablations]
    return [*wanted, *[name for name in STEPS if name not in left_out]]


def count_records(ctx: RunContext[ErrorCircuitsConfig]) -> int:
    return len(shapes_by_contrast(ctx)) * len(steps_of(ctx.config))


def write(
    ctx: RunContext[ErrorCircuitsConfig], out: RecordWriter, groups: Mapping[str, Sequence[StudiedShape]]
) -> None:
    config, steps, contrasts = ctx.config, steps_of(ctx.config), [*groups]
    ctx.log.info("loading %s", config.model)
    lm = load_model(config.model, ctx.device, config.dtype, config.threads, revision=config.revision)
    dictionaries = load_dictionaries(sae_source(config.sae, config.model, config.sae_revision), lm, ctx.log)
    importances = importances_of(ctx, groups)
    out.process |= {"model": lm.describe()}
    current: tuple[str, Subject] | None = None
    for [index] in out.batches(1):
        contrast, step = contrasts[index // len(steps)], steps[index % len(steps)]
        if current is None or current[0] != contrast:
            shape, *others = groups[contrast]
            importance, threshold = importances[contrast]
            current = contrast, Subject(lm, dictionaries, config, shape, others, importance, threshold)
        subject = current[1]
        result = STEPS[step](subject) if step in STEPS else curves_step(subject, step)
        row = {"record": index, "contrast": contrast, "step": step, "result": json.dumps(result)}
        out.append(index, {"steps.parquet": row}, {})
        ctx.log.info("%s, %s: %d of %d steps", contrast, step, index % len(steps) + 1, len(steps))


def importances_of(
    ctx: RunContext[ErrorCircuitsConfig], groups: Mapping[str, Sequence[StudiedShape]]
) -> dict[str, tuple[dict[Node, float], float]]:
    """What phase 6.3 found of the first shape of each contrast: importances, and the largest of null pairs."""
    firsts = {_key(vars(shapes[0])): shapes[0] for shapes in groups.values()}
    importances: dict[str, dict[Node, float]] = {shape.contrast: {} for shape in firsts.values()}
    for row in ctx.read(handoffs.ERROR_ATTRIBUTION).table("nodes.parquet"):
        if shape := firsts.get(_key(row)):
            latent = None if row["kind"] == ERROR else row["latent"]
            importances[shape.contrast][Node(row["layer"], row["position"] - shape.example.code_start, latent)] = row[
                "ig"
            ]
    told = {_key(vars(one)): one for one in ctx.read(handoffs.ERROR_ATTRIBUTION).document().shapes}
    return {
        shape.contrast: (importances[shape.contrast], told[key].null_pairs.largest) for key, shape in firsts.items()
    }


def conclude(
    ctx: RunContext[ErrorCircuitsConfig], out: RecordWriter, groups: Mapping[str, Sequence[StudiedShape]]
) -> None:
    """Write the tables, the document, the figures and the graphs, which follow from all steps."""
    config = ctx.config
    results: defaultdict[str, list[Found]] = defaultdict(list)
    for row in out.joined_rows():
        results[row["contrast"]].append(json.loads(row["result"]))
    importances = importances_of(ctx, groups)
    measured = {_key(vars(one)): one for one in ctx.read(handoffs.ERROR_ATTRIBUTION).document().shapes}
    circuits, curves, nodes, edges = [], [], [], []
    for contrast, parts in results.items():
        shape, importance = groups[contrast][0], importances[contrast][0]
        circuit = joined(parts, shape, len(importance))
        whole = {name: value for part in parts for name, value in part.items()}
        circuits.append(circuit)
        curves += curve_rows(circuit)
        nodes += circuit_rows(shape, importance, whole.get("mask", []))
        edges += edge_rows(shape, whole["links"])
        told = measured[_key(vars(shape))]
        _draw(ctx, out, shape, circuit, importance, whole["links"], tuple(whole["depth"]), told)
    out.table("curves.parquet", curves)
    out.table("circuit.parquet", nodes)
    out.table("edges.parquet", edges)
    out.document("circuits.json", document_of(config, circuits))


def joined(parts: Sequence[Found], shape: StudiedShape, n_nodes: int) -> ErrorLatentCircuit:
    """What all steps found of a contrast."""
    lists = {name: [entry for part in parts for entry in part.get(name, [])] for name in LISTS}
    single = {name: value for part in parts for name, value in part.items() if name not in (*LISTS, *NOT_TOLD)}
    known = {name: getattr(shape, name) for name in ("contrast", "format", "template", "shape")}
    counts = {"n": len(shape.select), "n_held_out": len(shape.held_out), "n_nodes": n_nodes}
    return from_json(ErrorLatentCircuit, {**known, **counts, **lists, **single})


def document_of(config: ErrorCircuitsConfig, circuits: Sequence[ErrorLatentCircuit]) -> ErrorLatentCircuitsDocument:
    first, source = circuits[0], sae_source(config.sae, config.model, config.sae_revision)
    return ErrorLatentCircuitsDocument(
        site=source.site or "",
        dictionaries=source.identity,
        faithfulness=first.faithfulness,
        completeness=first.completeness,
        error_share=first.error_share,
        null_pairs=first.null_pairs,
        held_out=first.n_held_out,
        edges=first.edges,
        circuits=[*circuits],
    )


def _draw(
    ctx: RunContext[ErrorCircuitsConfig],
    out: RecordWriter,
    shape: StudiedShape,
    circuit: ErrorLatentCircuit,
    importance: Mapping[Node, float],
    links: Sequence[Any],
    depth: tuple[int, int],
    measured: AttributedShape,
) -> None:
    """The figures of a contrast, and its graph."""
    config, name = ctx.config, shape.contrast.replace("/", "_")
    out.file(f"figures/faithfulness_{name}.svg", draw_curves(circuit))
    if circuit.edges is not None:
        out.file(f"figures/edges_{name}.svg", draw_edges(circuit.edges, shape.contrast))
    shown = [(node_of(source), node_of(target), weight) for source, target, weight, *_ in links[: config.n_links]]
    among = {node for source, target, _ in shown for node in (source, target)} or {
        *ranked(importance, "positive")[:N_NODES]
    }
    tops = ctx.read(handoffs.ERROR_ATTRIBUTION).document("top_latents.json").contrasts.get(shape.contrast, [])
    document = circuit_graph(
        shape,
        load_tokenizer(config.model, config.revision),
        config.model,
        depth,
        {node: importance[node] for node in sorted(among, key=lambda node: (node.layer, node.pos, node.latent or -1))},
        shown,
        measured.effect.known,
        {(top.layer, top.latent): top for top in tops},
        {"faithfulness": circuit.faithfulness.value, "completeness": circuit.completeness.value},
    )
    for file, data in files_of(document).items():
        out.file(f"graphs/{document.slug}/{file}", data)


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("contrast", "format", "template", "shape"))
