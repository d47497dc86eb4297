"""How well transcoders reconstruct what differs at the last token of behaviours' prompts.

Where the prompts of a behaviour end in the same token, the little that differs between them is the whole answer, and
an error averaged over text cannot show that it is lost. So the FVU is taken *within* a behaviour, about its own mean,
and over all four pooled, about theirs.
"""

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from common.model.hooks import read_sites
from common.model.language_model import LanguageModel
from common.saes.encoder import LayerSae
from common.saes.site_check import share_unexplained
from model_organism.behaviours import BEHAVIOURS, sample_item
from model_organism.problems import EVALUATION

N_PROMPTS = 40
SEED = 4242
POOLED = "pooled"


def held_out_prompts() -> dict[str, list[str]]:
    """Behaviour -> different prompts that were held out."""
    prompts = {}
    for behaviour in BEHAVIOURS:
        rng = random.Random(f"{SEED} {behaviour}")
        drawn: dict[str, None] = {}
        while len(drawn) < N_PROMPTS:
            drawn[sample_item(rng, behaviour, EVALUATION).prompt] = None
        prompts[behaviour] = list(drawn)
    return prompts


@torch.inference_mode()
def last_tokens(lm: LanguageModel, prompts: Sequence[str], sites: Sequence[str]) -> dict[str, Tensor]:
    """Site -> activations [prompt, d_model] at each prompt's last token."""
    rows: dict[str, list[Tensor]] = {site: [] for site in sites}
    for prompt in prompts:
        ids = lm.tokenizer(prompt, return_tensors="pt")["input_ids"].to(lm.device)
        with read_sites(lm.model, [*sites], lambda site, activations: rows[site].append(activations[0, -1].float())):
            lm.model.get_decoder()(input_ids=ids, use_cache=False)
    return {site: torch.stack(tokens) for site, tokens in rows.items()}


def behaviour_fvus(lm: LanguageModel, transcoders: Sequence[LayerSae]) -> dict[str, dict[str, float]]:
    """Layer -> FVU at the last token, within each behaviour and pooled."""
    sites = sorted({site for transcoder in transcoders for site in (transcoder.site, transcoder.site_out)})
    rows = {name: last_tokens(lm, prompts, sites) for name, prompts in held_out_prompts().items()}
    fvus = {}
    for transcoder in transcoders:
        inputs = {name: at_site[transcoder.site] for name, at_site in rows.items()}
        targets = {name: at_site[transcoder.site_out] for name, at_site in rows.items()}
        inputs[POOLED], targets[POOLED] = torch.cat([*inputs.values()]), torch.cat([*targets.values()])
        fvus[str(transcoder.layer)] = {name: fvu(transcoder, inputs[name], targets[name]) for name in inputs}
    return fvus


@torch.inference_mode()
def fvu(transcoder: LayerSae, inputs: Tensor, targets: Tensor) -> float:
    """That of what the transcoder makes of its inputs, both [row, d_model]."""
    return share_unexplained(targets - transcoder.decode(transcoder.encode(inputs)), targets)
