"""What phase 5.5 leaves on disk: what became of each prompt's answer under every change of its latents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.handoffs.schema import ArtifactSchema, Field

if TYPE_CHECKING:
    from common.handoffs.circuit_interventions import InterventionsDocument

_LOGITS = "of the logits as the model gives them (capped)"
_BEFORE_CAP = "of the logits before the model's final cap, which graphs explain"
_WHICH = {
    "record": Field("int64", "0-based number of the prompt in this run"),
    "behaviour": Field("string", "behaviour of the prompt"),
}
_PLACE = {
    "layer": Field("int64", "block of the latent; -1 where more than one is changed"),
    "pos": Field("int64", "its position in the prompt, from 0; -1 likewise"),
    "latent": Field("int64", "its number in the transcoder; -1 likewise"),
}

INTERVENTIONS: ArtifactSchema[InterventionsDocument] = ArtifactSchema(
    name="interventions",
    phase="5.5",
    scope=("model", "prompts", "transcoders"),
    tables={
        "circuits.parquet": {
            "record": _WHICH["record"],
            "prompt_record": Field("int64", "record of the prompt in phase 5.1"),
            "behaviour": _WHICH["behaviour"],
            "prompt": Field("string", "the text that is completed"),
            "correct_answer": Field("string", "the right completion"),
            "incorrect_answer": Field("string", "the wrong one"),
            "n_tokens": Field("int64", "tokens that the model read, those in front included"),
            "n_active": Field("int64", "latents that are active behind the first position"),
            "n_rows": Field("int64", "latents that have a row in the graph: fewer than active where it is capped"),
            "n_kept": Field("int64", "latents that the pruned graph keeps"),
            "baseline": Field("float64", f"logit of the right answer minus that of the wrong one, {_LOGITS}"),
            "baseline_before_cap": Field("float64", f"the same, {_BEFORE_CAP}"),
            "errors_direct": Field("float64", "what errors' own edges add, as a share of baseline_before_cap"),
            "errors_signed": Field("float64", "what errors add along all paths, as a share of baseline_before_cap"),
            "replacement": Field("float64", "share of the graph's influence that comes from tokens, not from errors"),
            "without_others": Field("float64", f"difference with all latents but those kept at zero, {_LOGITS}"),
            "without_kept": Field("float64", f"difference with those kept at zero, {_LOGITS}"),
            "without_latents": Field("float64", f"difference with all active latents at zero, {_LOGITS}"),
            "faithfulness": Field("float64", "(without_others - without_latents) / (baseline - without_latents)"),
            "left": Field("float64", "(without_kept - without_latents) / (baseline - without_latents); 0: complete"),
            "without_errors": Field("float64", f"difference with transcoders in place of all MLPs, {_LOGITS}"),
            "same_token": Field("bool", "whether the likeliest token is then the same"),
            "partner": Field("string", "paired | no partner | unequal length: only pairs are patched"),
            "unmatched": Field("int64", "latents of the top by signed effect that no null set could match"),
            "activation_ratio": Field("float64", "mean activation in the sets that match it, divided by its own"),
            "n_swept": Field("int64", "latents of the pruned graph that were set to zero alone"),
            "n_important": Field("int64", "of these, with q at most 0.05"),
            "influence_and_size": Field("float64", "Spearman of influence and |effect|, single latents"),
            "signed_and_effect": Field("float64", "Spearman of signed effect and effect, everything else free"),
            "signed_and_frozen": Field("float64", "Spearman of signed effect and frozen_before_cap, kept latents"),
            "frozen_and_free": Field("float64", "Spearman of effects, frozen and free, before the cap, kept latents"),
        },
        "effects.parquet": {
            **_WHICH,
            "intervention": Field(
                "string", "zero | mean | inhibit | zero_each (mean |effect|, one by one) | patch | patch_back | steer"
            ),
            "set": Field(
                "string",
                "top_signed_effect | top_influence | kept (by the pruned graph; also: of one layer) | others | all | "
                "top_latent (by signed effect)",
            ),
            "fixed": Field("string", "what stays as recorded: nothing | attention and norms"),
            "n_latents": Field("int64", "latents of the set"),
            **_PLACE,
            "coefficient": Field("float64", "of inhibition, or of steering, times the activation; NaN for others"),
            "source_record": Field("int64", "record in phase 5.1 whose activations are patched in; -1 for others"),
            "effect": Field("float64", f"difference without the change minus that with it, {_LOGITS}"),
            "effect_before_cap": Field("float64", f"the same, {_BEFORE_CAP}"),
            "whole": Field("float64", f"the baseline; of patches, by how much the two prompts differ, {_LOGITS}"),
            "share": Field("float64", "effect / whole; of patches, the share of the difference that moves"),
            "rank": Field("int64", "of the effect among the null sets', 1 is the largest; -1 where there are none"),
            "n_nulls": Field("int64", "null sets; -1 likewise"),
            "p": Field("float64", "rank / (1 + n_nulls), of this prompt alone; NaN likewise"),
        },
        "importance.parquet": {
            **_WHICH,
            **_PLACE,
            "kept": Field("bool", "whether the pruned graph keeps it; else it is a partner of those"),
            "activation": Field("float64", "its activation"),
            "influence": Field("float64", "its share of influence in the graph, without a sign"),
            "signed_effect": Field("float64", f"what the graph claims that it adds to the difference, {_BEFORE_CAP}"),
            "effect": Field("float64", f"difference without it at zero minus that with, {_LOGITS}"),
            "effect_before_cap": Field("float64", f"the same, {_BEFORE_CAP}"),
            "frozen_before_cap": Field("float64", "the same with attention and norms as recorded; NaN of partners"),
            "p": Field("float64", "of |effect| among partners at the last position, or at others; NaN of partners"),
            "q": Field("float64", "p after Benjamini-Hochberg over the prompt's kept latents; NaN of partners"),
        },
    },
    tensors={
        "nulls.safetensors top_signed_effect": "[n, n_nulls] float64: effect of each null set",
        "nulls.safetensors top_influence": "[n, n_nulls] float64: mean |effect| of each null set's latents, one by one",
    },
    documents={"interventions.json": "circuit_interventions:InterventionsDocument"},
)
