"""What phases 6.3 and 6.4 leave on disk: latents that carry the difference between two errors, and circuits of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.handoffs.handoff import Field, Handoff

if TYPE_CHECKING:
    from common.handoffs.error_attribution import ErrorAttributionDocument

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
