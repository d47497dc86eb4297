"""What phases 6.2 and 6.4b leave on disk: what patching moves, and circuits of heads and neurons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.handoffs.schema import ArtifactSchema, Field

if TYPE_CHECKING:
    from common.handoffs.error_dense import ErrorDenseDocument
    from common.handoffs.error_patching import ErrorPatchingDocument

_LOW, _HIGH = Field("float64", "lower end of its 95 % interval"), Field("float64", "upper end of it")
_LAYER = Field("int64", "block, from 0")
_SHAPE = Field("int64", "0: the studied pairs; 1 and above: pairs of other shapes or templates")
_DIRECTION = Field("string", "denoising: clean into corrupted | noising: corrupted into clean")
_POS = Field("int64", "position in the prompt, from 0; -1: all")

ERROR_PATCHING: ArtifactSchema[ErrorPatchingDocument] = ArtifactSchema(
    name="error_patching",
    phase="6.2",
    scope=("model", "contrast", "format"),
    tables={
        "effects.parquet": {
            "record": Field("int64", "0-based number of what is patched"),
            "shape": _SHAPE,
            "direction": _DIRECTION,
            "part": Field("string", "none | resid_post | attn_out | mlp_out | heads first order | head"),
            "layer": Field("int64", "block, from 0; -1 where nothing is patched"),
            "head": Field("int64", "head of the layer where one is patched, else -1"),
            "positions": Field("list<int32>", "what each group of effects is of: a position, -1 for all; or a head"),
            "effects": Field(
                "list<float64>",
                "by position, of each pair: how far the patch moves the logit difference towards the run it comes "
                "from, positive where that supports the clean answer; nothing patched: the logit difference itself",
            ),
        },
        "shares.parquet": {
            "shape": _SHAPE,
            "direction": _DIRECTION,
            "part": Field("string", "resid_post | attn_out | mlp_out | heads first order | head"),
            "layer": _LAYER,
            "head": Field("int64", "head of the layer, -1 for what is no head"),
            "pos": _POS,
            "position": Field("string", "names of the position, with + between; empty where it has none"),
            "share": Field("float64", "mean effect as a share of the mean total, of clean - corrupted"),
            "share_low": _LOW,
            "share_high": _HIGH,
        },
    },
    documents={"patching.json": "error_patching:ErrorPatchingDocument"},
)

ERROR_DENSE: ArtifactSchema[ErrorDenseDocument] = ArtifactSchema(
    name="error_dense",
    phase="6.4b",
    scope=("model", "contrast", "format"),
    tables={
        "metrics.parquet": {
            "record": Field("int64", "0-based number of the run"),
            "what": Field(
                "string", "clean | corrupted | everything | nothing | circuit | complement | random | nulls | direction"
            ),
            "size": Field("int64", "nodes of the circuit, as asked for; -1 where it has none"),
            "draw": Field("int64", "number of the random draw; -1 where nothing is drawn"),
            "layer": Field("int64", "block of a direction, else -1"),
            "positions": Field("list<string>", "named positions of the directions, else empty"),
            "n_nodes": Field("int64", "nodes that were kept; all that differ where the size is larger"),
            "values": Field(
                "list<float64>",
                "logit difference of every pair, those that select first; of a direction, of held-out pairs: along "
                "it, then with the whole difference, position by position; of nulls: the largest importance, and how "
                "many real nodes exceed it",
            ),
            "ranking": Field("string", "hash of the nodes' order: one for all processes of a run"),
            "nodes": Field("string", "JSON of the first nodes, [kind, layer, unit, pos, importance], of `everything`"),
        },
        "curves.parquet": {
            "split": Field("string", "select: pairs on which nodes were chosen | held_out: other words"),
            "curve": Field("string", "faithfulness | completeness | random"),
            "size": Field("int64", "nodes in the circuit, heads and neurons at positions"),
            "share": Field("float64", "mean logit difference above the corrupted run's, as a share of the mean total"),
            "share_low": _LOW,
            "share_high": _HIGH,
        },
        "nodes.parquet": {
            "rank": Field("int64", "0-based place among all nodes"),
            "kind": Field("string", "head | neuron"),
            "layer": _LAYER,
            "unit": Field("int64", "head or neuron of its layer"),
            "pos": Field("int64", "position in the prompt, from 0"),
            "position": Field("string", "names of the position, with + between; empty where it has none"),
            "role": Field("string", "what the token is of the template's parts"),
            "importance": Field("float64", "by integrated gradients, as a share of the total; positive supports clean"),
        },
        "directions.parquet": {
            "layer": _LAYER,
            "position": Field("string", "name of the position"),
            "direction": Field("float64", "held-out share that comes back along the mean difference of other pairs"),
            "direction_low": _LOW,
            "direction_high": _HIGH,
            "whole": Field("float64", "held-out share that comes back with each pair's whole difference"),
            "whole_low": _LOW,
            "whole_high": _HIGH,
        },
    },
    documents={"dense.json": "error_dense:ErrorDenseDocument"},
)
