"""What phases 6.3 and 6.4 leave on disk: latents that carry the difference between two errors, and circuits of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.handoffs.handoff import Field, Handoff

if TYPE_CHECKING:
    from common.handoffs.error_attribution import ErrorAttributionDocument
    from common.handoffs.error_latent_circuits import ErrorLatentCircuitsDocument

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

ERROR_ATTRIBUTION: Handoff[ErrorAttributionDocument] = Handoff(
    name="error_attribution",
    phase="6.3",
    scope=("model", "sae"),
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

_SHARE_LOW, _SHARE_HIGH = "lower end of its 95 % interval", "upper end of it"

ERROR_LATENT_CIRCUITS: Handoff[ErrorLatentCircuitsDocument] = Handoff(
    name="error_latent_circuits",
    phase="6.4",
    scope=("model", "sae"),
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
            "faithfulness_low": Field("float64", _SHARE_LOW),
            "faithfulness_high": Field("float64", _SHARE_HIGH),
            "completeness": Field("float64", "share of the effect that everything but the circuit keeps"),
            "completeness_low": Field("float64", _SHARE_LOW),
            "completeness_high": Field("float64", _SHARE_HIGH),
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
            "exact": Field("float64", "what the clean run loses by path patching; null where it was not tried"),
        },
    },
    documents={"circuits.json": "error_latent_circuits:ErrorLatentCircuitsDocument"},
    unstable=("graphs/*",),  # the time of its making stands in each
)
