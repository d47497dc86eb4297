"""A detector of the organism made by hand from twenty columns of its SAE, and prompts to show it."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from support import ROOT, built_once

from common.handoffs.document import as_json
from common.handoffs.estimates import UNDEFINED
from common.model.registry import model_identity
from common.problems.prompt import build_prompt
from common.saes.encoder import load_sae
from common.saes.sources import sae_source
from phase4_anomaly_detection import AnomalyDetector, DetectorConfig, SidecarConfig, SidecarModel
from phase4_anomaly_detection.detector import SCHEMA_VERSION
from phase4_anomaly_detection.population import Population

LAYER = 4
N_LATENTS = 20
INCORRECT_MEANS_LONG = 110  # characters of a problem's description: something the latents can tell


@cache
def prompts(n: int = 80) -> tuple[str, ...]:
    """Prompts of the organism's problems, of many lengths."""
    lines = (ROOT / "model_organism" / "problems_974.jsonl").read_text().splitlines()[:n]
    return tuple(build_prompt(row["text"], row["test_list"]).text for row in map(json.loads, lines))


def labels(texts: tuple[str, ...]) -> np.ndarray:
    """Which of the prompts count as incorrect here."""
    return np.array([len(text.partition("\n")[0]) > INCORRECT_MEANS_LONG for text in texts])


def few_documents(folder: Path) -> str:
    """A folder of general text, enough to tell that the organism's SAEs fit: all of it takes half a minute to read.

    Of each document its beginning, which is as long as a prompt.
    """
    folder.mkdir()
    lines = (ROOT / "model_organism" / "general_text.jsonl").read_text().splitlines()[:40]
    for number, line in enumerate(lines):
        (folder / f"{number:02d}.txt").write_text(json.loads(line)["text"][:400], encoding="utf-8")
    return str(folder)


def shared_detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same folder for every test of a session, which tests only read."""
    return built_once(tmp_path_factory, "organism_detector", save_organism_detector)


def save_organism_detector(folder: Path) -> Path:
    """Latents that fire on some of the prompts and not on all, weighted by how much more on the long ones."""
    sae = load_sae(sae_source("auto", "organism"), LAYER)
    W_enc, b_enc, threshold = (weights.numpy() for weights in (sae.W_enc, sae.b_enc, sae.threshold))
    texts = prompts()
    resid = SidecarModel(SidecarConfig(layer=LAYER, threads=1)).read(texts).resid
    incorrect = labels(texts)
    pre_acts = resid @ W_enc.astype(np.float64) + b_enc
    acts = np.where(pre_acts > threshold, pre_acts, 0.0)
    n_fired = (acts > 0).sum(axis=0)
    difference = acts[incorrect].mean(axis=0) - acts[~incorrect].mean(axis=0)
    difference[(n_fired < 5) | (n_fired > 60)] = 0.0
    latents = np.argsort(-np.abs(difference))[:N_LATENTS]
    listed = [
        {
            "latent": int(latent),
            "t": float(difference[latent]),
            "weight": float(difference[latent]),
            "general_text_rate": None,
            "n_fired": int(n_fired[latent]),
            "n": len(texts),
        }
        for latent in latents
    ]
    document = {
        "schema_version": SCHEMA_VERSION,
        "model": {"name": "organism", "identity": model_identity("organism"), "revision": None, "dtype": "float64"},
        "sae": {"id": f"saes layer_{LAYER}", "identity": "saes", "revision": None},
        "layer": LAYER,
        "site": f"blocks.{LAYER}.hook_resid_post",
        "text": "prompts of the organism's problems",
        "population": as_json(Population.of(texts)),
        "latents": listed,
        "weights_rule": "ace",
        "card": None,
        "verdict": "not evaluated: made for tests",
        "experiment": {"model": "organism"},
        "seed": 0,
        "selection": {"counts": {"latents": len(difference)}, "cross_validated_auroc": as_json(UNDEFINED)},
    }
    columns = (W_enc[:, latents], b_enc[latents], threshold[latents])
    weights = np.array([entry["weight"] for entry in listed])
    document |= DetectorConfig(target="recall=0.7").decide(acts[:, latents] @ weights, incorrect)
    return AnomalyDetector(*columns, document).save(folder)
