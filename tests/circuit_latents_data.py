"""What tests of phase 5.3 share: small runs on the organism, and what SAELens and plain transformers make of them."""

import contextlib
import functools
import json
import warnings
from pathlib import Path

import pyarrow.parquet
import torch
from toy_phases import run_phase
from transformers import AutoModelForCausalLM

from common.model.registry import model_location
from common.provenance import ROOT
from phase5_attribution_graphs.latents.config import CircuitLatentsConfig
from phase5_attribution_graphs.latents.phase import PHASE
from phase5_attribution_graphs.prompts.config import CircuitPromptsConfig
from phase5_attribution_graphs.prompts.phase import PHASE as PROMPTS

TRANSCODERS = ROOT / "model_organism" / "weights" / "transcoders"
N_LAYERS = 6
BEHAVIOURS = ("agreement", "addition")
SMALL = {"model": "organism", "threads": 1, "documents": 64, "max_tokens": 24, "described": 30, "batch_size": 4}


def config(**changes) -> CircuitLatentsConfig:
    return CircuitLatentsConfig(**{**SMALL, **changes})


def write_prompts(data: Path) -> Path:
    """A finished phase 5.1 of twelve prompts of two behaviours."""
    return run_phase(PROMPTS, data, CircuitPromptsConfig(model="organism", behaviours=BEHAVIOURS, n_train=4, n_test=2))


def run_latents(data: Path, **changes) -> Path:
    """A finished phase 5.3."""
    options = {name: changes.pop(name) for name in ("start", "end", "stop", "fresh") if name in changes}
    return run_phase(PHASE, data, config(**changes), **options)


def rows_of(run: Path, table: str) -> list[dict]:
    return pyarrow.parquet.read_table(run / f"{table}.parquet").to_pylist()


def document_of(run: Path) -> dict:
    return json.loads((run / "circuit_latents.json").read_text())


@functools.cache
def plain_model():
    return AutoModelForCausalLM.from_pretrained(model_location("organism"), dtype=torch.float32).eval()


@functools.cache
def saelens_transcoder(layer: int, folder: Path = TRANSCODERS):
    """As SAELens loads it, with its own encode and decode."""
    from sae_lens import SAE

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return SAE.load_from_disk(folder / f"layer_{layer}", device="cpu", dtype="float32")


@torch.no_grad()
def mlps_by_hand(ids: list[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """By layer, the normalised stream before the MLP without its gain, and what the MLP adds; [pos, d_model]."""
    model, streams, outs = plain_model(), {}, {}
    with contextlib.ExitStack() as hooks:
        for layer, block in enumerate(model.model.layers):
            before = block.pre_feedforward_layernorm.register_forward_pre_hook(
                lambda _module, arguments, layer=layer: streams.__setitem__(layer, arguments[0][0])
            )
            after = block.post_feedforward_layernorm.register_forward_hook(
                lambda _module, _arguments, output, layer=layer: outs.__setitem__(layer, output[0])
            )
            for handle in (before, after):
                hooks.callback(handle.remove)
        model(torch.tensor([ids]))
    eps = model.config.rms_norm_eps
    return [
        (streams[layer] / (streams[layer].pow(2).mean(-1, keepdim=True) + eps).sqrt(), outs[layer])
        for layer in range(N_LAYERS)
    ]


@torch.no_grad()
def acts_by_saelens(ids: list[int]) -> list[torch.Tensor]:
    """By layer, [pos, d_sae]."""
    return [saelens_transcoder(layer).encode(x) for layer, (x, _) in enumerate(mlps_by_hand(ids))]
