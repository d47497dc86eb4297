"""What phase 5.4 leaves on disk: attribution graphs of prompts, and the nodes that many of them share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.handoffs.estimates import SHARE_HIGH, SHARE_LOW
from common.handoffs.schema import ArtifactSchema, Field

if TYPE_CHECKING:
    from common.handoffs.graphs import GraphsDocument


CIRCUIT_GRAPHS: ArtifactSchema[GraphsDocument] = ArtifactSchema(
    name="circuit_graphs",
    phase="5.4",
    scope=("model", "prompts", "transcoders"),
    tables={
        "graphs.parquet": {
            "record": Field("int64", "0-based number of the graph"),
            "prompt_record": Field("int64", "record of the prompt in phase 5.1"),
            "behaviour": Field("string", "behaviour of the prompt"),
            "slug": Field("string", "name of the graph, and of its folder under graphs/"),
            "n_tokens": Field("int64", "tokens that the model read, those in front included"),
            "n_active": Field("int64", "latents that are active behind the first position"),
            "n_rows": Field("int64", "latents that have a row: fewer than active where the graph is capped"),
            "n_shown": Field("int64", "latents that the pruned graph keeps"),
            "n_links": Field("int64", "edges that it keeps"),
            "value": Field("float64", "the first target before the model's final cap: a logit difference, or a logit"),
            "capped": Field("float64", "the same of the logits as the model gives them"),
            "replacement": Field("float64", "share of influence from tokens, of that from tokens and errors"),
            "completeness": Field("float64", "as circuit-tracer counts it: rows without inputs count as explained"),
            "completeness_of_nodes": Field("float64", "share of the inputs of nodes that is no error, by influence"),
            "errors_influence": Field("float64", "share of the influence of all roots that comes from errors"),
            "constants_influence": Field("float64", "share of it that comes from constants"),
            "errors_direct": Field("float64", "what errors' own edges add to the first target, as a share of `value`"),
            "errors_signed": Field("float64", "what errors add to it along all paths, as a share of `value`"),
            "verification": Field("string", "verification.json of the graph"),
            "nodes": Field("string", "JSON list of [layer, latent, role, effect as a share of `value`] that it shows"),
            "shuffled": Field("string", "JSON list of [layer, latent, role] shown for another prompt's answers"),
            "graph": Field("string", "the graph, in Neuronpedia's JSON, without the time of its making"),
        },
        "nodes.parquet": {
            "behaviour": Field("string", "behaviour of the graphs"),
            "layer": Field("int64", "block, from 0"),
            "latent": Field("int64", "latent of the transcoder"),
            "role": Field("string", "last | entity | the token's text | ...: what the position is to its prompt"),
            "n": Field("int64", "graphs that show it"),
            "frequency": Field("float64", "share of the behaviour's graphs that show it"),
            "frequency_low": Field("float64", SHARE_LOW),
            "frequency_high": Field("float64", SHARE_HIGH),
            "effect": Field("float64", "signed effect as a share of the value explained, 0 where not shown; mean"),
            "effect_low": Field("float64", SHARE_LOW),
            "effect_high": Field("float64", SHARE_HIGH),
            "shuffled": Field("float64", "share of the graphs for another prompt's answers that show it"),
            "excess": Field("float64", "frequency - shuffled, paired by prompt"),
            "excess_low": Field("float64", SHARE_LOW),
            "excess_high": Field("float64", SHARE_HIGH),
            "beyond_shuffled": Field("bool", "whether the interval of the excess lies above 0"),
        },
    },
    documents={"graphs.json": "graphs:GraphsDocument"},
    unstable=("graphs/*",),  # the time of its making stands in each; `graphs.parquet` holds what they are made from
)
