"""What phase 5.3 leaves on disk: transcoder latents on prompts of behaviours, and what their pages are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.handoffs.attributing import CIRCUIT_PROMPTS
from common.handoffs.schema import ArtifactSchema, Field

if TYPE_CHECKING:
    from common.handoffs.circuit_latents import CircuitLatentsDocument

_OF_PROMPTS = CIRCUIT_PROMPTS.tables["prompts.parquet"]
_PROMPT = {
    "record": Field("int64", "number of the prompt, as in phase 5.1"),
    **{name: _OF_PROMPTS[name] for name in ("behaviour", "split")},
}
_LATENT = {
    "layer": Field("int64", "block whose MLP the transcoder stands in for, from 0"),
    "latent": Field("int64", "number of the latent in its transcoder, from 0"),
}

CIRCUIT_LATENTS: ArtifactSchema[CircuitLatentsDocument] = ArtifactSchema(
    name="circuit_latents",
    phase="5.3",
    scope=("model", "prompts", "transcoders"),
    tables={
        "fired.parquet": {
            **_PROMPT,
            "n_tokens": Field("int64", "tokens of the prompt, with what stands in front"),
            "layers": Field("list<int32>", "layer of each latent that fires behind the first position"),
            "latents": Field("list<int32>", "its number in that layer"),
            "largest": Field("list<float64>", "its largest activation there, in the transcoder's units"),
            "positions": Field("list<int32>", "token at which it has that, from 0"),
            "at_last": Field("list<float64>", "its activation at the last position; 0 where it does not fire there"),
        },
        "activations.parquet": {
            **_PROMPT,
            "layer": _LATENT["layer"],
            "pos": Field("int64", "token of the prompt, from 0, with what stands in front"),
            "token": Field("string", "that token, its blanks visible"),
            "latent": _LATENT["latent"],
            "activation": Field("float64", "its activation there, in the transcoder's units"),
            "rank": Field("int64", "place among the layer's latents at this position, 1 the largest activation"),
        },
        "frequencies.parquet": {
            **{name: _PROMPT[name] for name in ("behaviour", "split")},
            **_LATENT,
            "n": Field("int64", "prompts of this split of the behaviour"),
            "share_last": Field("float64", "share of them in which it fires at the last position"),
            "share_anywhere": Field("float64", "share in which it fires at any position behind the first"),
            "mean_last": Field("float64", "mean activation at the last position where it fires there; NaN: nowhere"),
            "mean_largest": Field("float64", "mean of its largest activation in prompts in which it fires; NaN: none"),
        },
        "examples.parquet": {
            **_LATENT,
            "rank": Field("int64", "1 is the context with the largest activation of all that were read"),
            "activation": Field("float64", "the latent's activation at the token"),
            "source": Field("string", "text: a document of the general text | prompt: one of phase 5.1"),
            "item": Field("int64", "number of the document, from 0, or record of the prompt"),
            "pos": Field("int64", "place of the token in it, from 0, with what stands in front"),
            "before": Field("string", "what stands before the token, up to 20 tokens"),
            "token": Field("string", "the token on which it fires, its blanks visible"),
            "after": Field("string", "what follows, up to 20 tokens"),
        },
        "effects.parquet": {
            **_LATENT,
            "side": Field("string", "promotes | suppresses"),
            "rank": Field("int64", "1 is the token whose logit is moved most to that side"),
            "token_id": Field("int64", "number of the token in the vocabulary"),
            "token": Field("string", "the token, its blanks visible"),
            "effect": Field(
                "float64",
                "what a unit of activation adds to its logit by the direct path, minus the mean over the vocabulary, "
                "times the length that the final norm divides by",
            ),
        },
    },
    tensors={
        "mlp_input": "what the layer's transcoder reads at the last position of each prompt, [n prompts, d_model]",
        "mlp_out": "what the layer's MLP adds to the stream there, [n prompts, d_model]",
        "record": "record of each row, [n prompts] int64",
    },
    documents={"circuit_latents.json": "circuit_latents:CircuitLatentsDocument"},
)
