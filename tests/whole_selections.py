"""The small experiment with all that phases 3.5 and 3.6 read: matched latents, thresholds, coefficients, effects."""

import dataclasses
import shutil
from pathlib import Path

import documents
import numpy as np
import torch
from selected_latents import N_LATENTS, N_LAYERS, SmallExperiment, make_small_experiment
from transformers import AutoModelForCausalLM, AutoTokenizer

from common import handoffs

N_PROBLEMS = 15  # of the split sae, out of thirty


def save_lively(tiny_gemma: Path, folder: Path, gain: float = 4.0, noise: float = 0.0) -> Path:
    """The tiny Gemma whose blocks write more, so that it does not repeat one token for ever; and with noise, another.

    `gain` is added to that of the norms behind attention and MLP, `noise` is the spread of what is added to all else.
    """
    model = AutoModelForCausalLM.from_pretrained(tiny_gemma)
    torch.manual_seed(6)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            behind = name.endswith(("post_attention_layernorm.weight", "post_feedforward_layernorm.weight"))
            parameter.add_(gain if behind else noise * torch.randn_like(parameter))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_gemma).save_pretrained(folder)
    return folder


def build_with_selection(folder: Path, model: Path, saes: Path, problems: list[dict]) -> SmallExperiment:
    """Phases 0 to 2 of a model; that of phase 2 has latents.parquet too."""
    experiment = make_small_experiment(folder, model, saes, problems[:30])
    experiment.build(max_new_tokens=12, batch_size=8, threads=1)
    experiment.write(handoffs.LATENTS, lambda out: _selection(experiment, out))
    return experiment


def copied(experiment: SmallExperiment, data: Path) -> SmallExperiment:
    shutil.copytree(experiment.data, data)
    return dataclasses.replace(experiment, data=data)


def _selection(experiment: SmallExperiment, out) -> None:
    rng = np.random.default_rng(8)
    n = N_LAYERS * N_LATENTS
    columns = {name: np.zeros(n, dtype=field.type) for name, field in handoffs.LATENT_FIELDS.items()}
    columns["layer"] = np.repeat(np.arange(N_LAYERS), N_LATENTS)
    columns["latent"] = np.tile(np.arange(N_LATENTS), N_LAYERS)
    columns["kept"] = np.ones(n, dtype=bool)
    columns["n_active"] = rng.integers(1, N_PROBLEMS, n)
    columns["separation"] = rng.choice([0.001, 0.3], n)  # half of them can be controls
    columns["decoder_norm"] = rng.uniform(5, 11, n)
    out.columns("latents.parquet", columns)
    sites = [
        {
            "layer": layer,
            "sae_id": f"layer_{layer}",
            "fvu": 0.25,
            "fvu_ordinary": 0.25,
            "l0": 20.0,
            "n": 64,
            "last_prompt_token": {"missed_share": 0.25, "fvu_between": 0.5, "n": N_PROBLEMS},
        }
        for layer in range(N_LAYERS)
    ]
    documents.write(
        out, "selected.json", {"problems": N_PROBLEMS, "directions": experiment._directions(), "sites": sites}
    )


def card(threshold: float | None, n_positive: int = 20, n: int = 40) -> dict:
    """A card of phase 3.1, as far as phase 3.6 reads it."""
    interval = {"value": 0.7, "low": 0.6, "high": 0.8}
    names = ("f1", "precision", "recall", "specificity", "balanced_accuracy", "mcc", "auroc", "average_precision")
    counts = {"n": n, "n_positive": n_positive, "base_rate": n_positive / n}
    found = {"threshold": threshold, **counts, **{name: interval for name in names}}
    return found | {"auroc": {**interval, "delong_low": 0.6, "delong_high": 0.8}}


def write_detection(experiment: SmallExperiment, threshold: float) -> None:
    """What phase 3.1 would write: one threshold for all."""
    entries = {name: {"verdict": "ranks", "card": card(threshold)} for name in experiment.latents}
    experiment.write(handoffs.DETECTION, lambda out: documents.write(out, "detection.json", {"directions": entries}))


def write_steering(experiment: SmallExperiment, effects: dict[str, dict]) -> None:
    """What phase 3.3 would write: the effects of some directions."""
    document = {"directions": {name: {"effect": effect} for name, effect in effects.items()}}
    experiment.write(handoffs.STEERING, lambda out: documents.write(out, "steering.json", document))
