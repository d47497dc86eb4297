"""What phases 6.3 to 6.5 leave on disk: latents that carry the difference between two errors, circuits, their nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.handoffs.estimates import SHARE_HIGH, SHARE_LOW
from common.handoffs.schema import ArtifactSchema, Field

if TYPE_CHECKING:
    from common.handoffs.error_attribution import ErrorAttributionDocument
    from common.handoffs.error_latent_circuits import ErrorLatentCircuitsDocument
    from common.handoffs.error_nodes import ErrorNodesDocument

SHAPE_FIELDS = {
    "contrast": Field("string", "what the clean and the corrupted program raise: TypeError/SyntaxError"),
    "format": Field("string", "seed | neutral | chat | few-shot: what stands around the code"),
    "template": Field("string", "name of the template, within its contrast"),
    "shape": Field("int64", "number of the shape, within template and format"),
}
NODE_FIELDS = {
    "layer": Field("int64", "block, from 0"),
    "kind": Field("string", "latent | error: what the layer's dictionary leaves unexplained"),
    "latent": Field("int64", "latent of the layer's dictionary; -1 for an error"),
    "position": Field("int64", "index of the token, from the first one"),
    "place": Field("string", "name of the position within the shape: diff_first, end, or the role of the token"),
}

ERROR_ATTRIBUTION: ArtifactSchema[ErrorAttributionDocument] = ArtifactSchema(
    name="error_attribution",
    phase="6.3",
    scope=("model", "sae", "contrasts"),
    several=("contrasts",),
    tables={
        "shapes.parquet": {
            "record": Field("int64", "0-based number of the row"),
            **SHAPE_FIELDS,
            "n": Field("int64", "pairs that select"),
            "result": Field("string", "the shape's part of attribution.json"),
            "nodes": Field("string", "JSON: list of [layer, latent or -1, position, ig, clean, corrupted, tried]"),
        },
        "nodes.parquet": {
            **SHAPE_FIELDS,
            **NODE_FIELDS,
            "ig": Field("float64", "importance by integrated gradients, in the logit difference; mean over pairs"),
            "clean": Field("float64", "importance by the gradient of the clean run"),
            "corrupted": Field("float64", "importance by the gradient of the corrupted run"),
            "noising": Field("float64", "what the clean run loses when it is changed; null where it was not tried"),
            "denoising": Field("float64", "what the corrupted run gains when it is changed; null where not tried"),
            "above_null": Field("bool", "whether its absolute ig is above the largest node of null pairs"),
        },
    },
    documents={
        "attribution.json": "error_attribution:ErrorAttributionDocument",
        "top_latents.json": "error_attribution:TopLatentsDocument",
    },
)


ERROR_LATENT_CIRCUITS: ArtifactSchema[ErrorLatentCircuitsDocument] = ArtifactSchema(
    name="error_latent_circuits",
    phase="6.4",
    version=2,
    scope=("model", "sae", "contrasts"),
    several=("contrasts",),
    tables={
        "steps.parquet": {
            "record": Field("int64", "0-based number of the row"),
            "contrast": Field("string", "contrast whose circuits are looked at"),
            "step": Field("string", "resample | mean | zero | rankings | layers | transfer | mask | edges"),
            "result": Field("string", "JSON of what the step found"),
        },
        "curves.parquet": {
            **SHAPE_FIELDS,
            "split": Field("string", "select | report: pairs of other words"),
            "ranking": Field("string", "positive | absolute | layers | mask: the order in which nodes come in"),
            "ablation": Field("string", "resample | mean | zero: what stands for nodes outside"),
            "error_nodes": Field("string", "nodes: ranked with the latents | kept: all | ablated: all"),
            "size": Field("int64", "nodes of the circuit"),
            "errors": Field("int64", "of these, errors"),
            "faithfulness": Field("float64", "share of the effect that the circuit alone keeps; a ratio of means"),
            "faithfulness_low": Field("float64", SHARE_LOW),
            "faithfulness_high": Field("float64", SHARE_HIGH),
            "completeness": Field("float64", "share of the effect that everything but the circuit keeps"),
            "completeness_low": Field("float64", SHARE_LOW),
            "completeness_high": Field("float64", SHARE_HIGH),
            "random": Field(
                "float64",
                "mean faithfulness of random circuits alike; null where none was tried, or there is no effect",
            ),
            "random_largest": Field("float64", "the largest of them"),
        },
        "circuit.parquet": {
            "contrast": SHAPE_FIELDS["contrast"],
            "template": SHAPE_FIELDS["template"],
            "shape": SHAPE_FIELDS["shape"],
            "rank": Field("int64", "place among the nodes that support the clean answer, from 0"),
            **NODE_FIELDS,
            "ig": Field("float64", "importance by integrated gradients, as phase 6.3 found it"),
            "mask": Field("float64", "how far learned masks open it, mean over their weights; null where not asked"),
        },
        "edges.parquet": {
            "contrast": SHAPE_FIELDS["contrast"],
            "template": SHAPE_FIELDS["template"],
            "shape": SHAPE_FIELDS["shape"],
            **{f"source_{name}": field for name, field in NODE_FIELDS.items()},
            **{f"target_{name}": field for name, field in NODE_FIELDS.items()},
            "weight": Field("float64", "what the source's difference adds to the metric through the target alone"),
            "skip": Field("float64", "the part of the weight along the stream itself"),
            "attention": Field("float64", "the part through attention; null where a block does not tell it apart"),
            "mlp": Field("float64", "the part that ends in an MLP; null likewise"),
            "noising": Field("float64", "what the clean run loses by path patching; null where it was not tried"),
            "denoising": Field("float64", "what the corrupted run gains by it; null likewise"),
        },
    },
    documents={"circuits.json": "error_latent_circuits:ErrorLatentCircuitsDocument"},
    unstable=("graphs/*",),  # the time of its making stands in each
)

_LATENT_OF_LAYER = {
    "layer": NODE_FIELDS["layer"],
    "latent": Field("int64", "latent of the layer's dictionary"),
}

ERROR_NODES: ArtifactSchema[ErrorNodesDocument] = ArtifactSchema(
    name="error_nodes",
    phase="6.5",
    scope=("model", "sae", "contrasts"),
    several=("contrasts",),
    tables={
        "groups.parquet": {
            "record": Field("int64", "0-based number of the row"),
            **SHAPE_FIELDS,
            "n": Field("int64", "pairs that were read, of both splits"),
            "result": Field("string", "JSON of what was read of each latent and node in these pairs"),
        },
        "activations.parquet": {
            **_LATENT_OF_LAYER,
            **SHAPE_FIELDS,
            "split": Field("string", "select | report: pairs of other words"),
            "error": Field("string", "class of the exception that the programs raise"),
            "n": Field("int64", "programs"),
            "fires": Field("int64", "programs in which the latent is active"),
            "mean": Field("float64", "mean over programs of its largest activation, in the latent's own units"),
            "largest": Field("float64", "its largest activation in any of them"),
        },
        "snippets.parquet": {
            **_LATENT_OF_LAYER,
            "format": SHAPE_FIELDS["format"],
            "what": Field("string", "pair: a program of an example pair | top: one in which the latent fires most"),
            "rank": Field("int64", "place among those of the same split, from 0; of a pair's two programs the same"),
            "split": Field("string", "select | report: pairs of other words"),
            "contrast": SHAPE_FIELDS["contrast"],
            "template": SHAPE_FIELDS["template"],
            "shape": SHAPE_FIELDS["shape"],
            "pair": Field("int64", "number of the pair, as phase 6.1 gives it"),
            "arm": Field("string", "clean | corrupted"),
            "error": Field("string", "class of the exception that the program raises"),
            "peak": Field("float64", "the latent's largest activation in it, in the latent's own units"),
            "position": Field("int64", "index of the token where that is, from the prompt's first one; -1: nowhere"),
            "first": Field("int64", "index of the first of `tokens`"),
            "tokens": Field("list<string>", "tokens from the first one of the code on; blanks can be seen"),
            "activations": Field("list<float64>", "the latent's activation at each of them"),
        },
    },
    documents={"nodes.json": "error_nodes:ErrorNodesDocument"},
)
