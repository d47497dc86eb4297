"""Passes of small models, and what is read in them at sites of a block."""

import copy

import torch
from architectures import small
from torch import nn

from common.model.hooks import read_sites
from common.model.sites import site_name

LAYER = 1


def at(kind: str, layer: int = LAYER) -> str:
    return site_name(layer, kind)


def in_16_bit(architecture: str, **settings) -> nn.Module:
    return copy.deepcopy(small(architecture, **settings).model).to(torch.bfloat16)


IDS = torch.randint(3, 1000, (2, 11), generator=torch.Generator().manual_seed(0))


def hooks_of(model: nn.Module) -> list[tuple[int, int]]:
    """How many hooks each module has; transformers leaves some of its own on models that other tests have used."""
    return [(len(module._forward_pre_hooks), len(module._forward_hooks)) for module in model.modules()]


def passed(model: nn.Module) -> torch.Tensor:
    """The logits."""
    with torch.inference_mode():
        return model(input_ids=IDS, use_cache=False).logits


def read(model: nn.Module, *kinds: str, layer: int = LAYER) -> list[torch.Tensor]:
    """The activations [batch, pos, d_model] at each, after the pass has ended."""
    found: dict[str, torch.Tensor] = {}
    sites = [at(kind, layer) for kind in kinds]
    with read_sites(model, sites, found.__setitem__):
        passed(model)
    return [found[site] for site in sites]


def zeroed(module: nn.Module):
    """By hand: whatever the module writes is zero."""

    def zero(_module, _arguments, output):
        return (output[0] * 0, *output[1:]) if isinstance(output, tuple) else output * 0

    return module.register_forward_hook(zero)
