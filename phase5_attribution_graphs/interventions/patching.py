"""Latents of one prompt set to what they are in its partner: how much of the difference between the two moves.

Both prompts are asked for the same two tokens, A's answers; the difference is that of A minus that of B. Patched into A
are the activations that latents have at the same places of B, 0 where they are silent: of all that are active in A or
in B, those of A's pruned graph, its top by signed effect, and the pruned graph's of one layer after another. The pruned
graph's are patched back too: A's activations into B. What transcoders miss stays with the prompt that is patched into.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from common.model.language_model import LanguageModel
from common.tables import TableRow
from phase5_attribution_graphs.interventions.ablations import ALL, FREELY
from phase5_attribution_graphs.interventions.circuits import KEPT, TOP_SIGNED, Circuit, Latents
from phase5_attribution_graphs.interventions.measuring import Meter
from phase5_attribution_graphs.interventions.rows import PATCH, PATCH_BACK, effect_row
from phase5_attribution_graphs.replacement.clean_run import clean_run
from phase5_attribution_graphs.replacement.local_model import local_model
from phase5_attribution_graphs.replacement.transcoders import Transcoder

PAIRED, UNPAIRED, UNEQUAL = "paired", "no partner", "unequal length"


@dataclass(frozen=True)
class Partner:
    """The prompt that another is patched with, by its record in phase 5.1."""

    record: int
    token_ids: Sequence[int]


def state_of_pair(token_ids: Sequence[int], partner: Partner | None) -> str:
    """Patching needs a partner of as many tokens: what is set is set at the same position."""
    if partner is None:
        return UNPAIRED
    return PAIRED if len(partner.token_ids) == len(token_ids) else UNEQUAL


def patched(
    lm: LanguageModel,
    transcoders: Sequence[Transcoder | None],
    circuit: Circuit,
    meter: Meter,
    record: int,
    partner: Partner,
    batch_size: int,
    log: logging.Logger,
) -> list[TableRow]:
    """Rows of effects.parquet; `share` is that of the difference between the two prompts, whichever way it moves."""
    run = clean_run(lm, torch.tensor(partner.token_ids))
    there, of_partner = Meter(lm, run, transcoders, circuit.target, batch_size, log), local_model(run, transcoders)
    active, kept = Latents.of(of_partner), circuit.latents[circuit.kept]
    between = meter.baseline - there.baseline
    tried = {ALL: _either(circuit.active, active), KEPT: kept, TOP_SIGNED: circuit.latents[circuit.top_signed]}
    tried |= {f"{KEPT}, layer {layer}": kept[kept.layer == layer] for layer in kept.layer.unique().tolist()}
    effects = meter.effects([one.set_to(_activations(one, active)) for one in tried.values()])
    rows = [
        effect_row(PATCH, name, FREELY, len(one), effects, number, between, source_record=partner.record)
        for number, (name, one) in enumerate(tried.items())
    ]
    back = there.effects([kept.set_to(kept.activation)])
    return [*rows, effect_row(PATCH_BACK, KEPT, FREELY, len(kept), back, 0, -between, source_record=record)]


def _activations(wanted: Latents, active: Latents) -> Float[Tensor, " n"]:
    """Of the wanted latents in a run of which the active ones are given."""
    known = dict(zip(active.places(), active.activation.tolist(), strict=True))
    return torch.tensor([known.get(place, 0.0) for place in wanted.places()])


def _either(latents: Latents, other: Latents) -> Latents:
    """All latents of both, each once; with the activations of the first, 0 where silent."""
    layer, pos, latent = torch.tensor(sorted({*latents.places(), *other.places()})).reshape(-1, 3).T
    both = Latents(layer, pos, latent, torch.zeros(len(layer)))
    return replace(both, activation=_activations(both, latents))
