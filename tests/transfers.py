"""What tests of phase 3.6 share: its settings on the small experiment, and what its runs hold."""

from pathlib import Path

import pyarrow.parquet
from runs import newest
from selected_latents import NORMS, SmallExperiment
from whole_selections import copied, write_detection, write_steering

from common.handoffs.document import as_json
from common.interventions.outcomes import effect, paired
from common.interventions.steered_generation import SteeringVector
from common.saes.encoder import LayerSae, load_sae
from common.saes.sources import sae_source
from phase3_validation.transfer.config import TransferConfig

TOKENS, COEFFICIENT, THRESHOLD = 12, 0.5, 3.0
EFFECT = effect(paired(*[[{"task_id": 0, "label": "incorrect", "degenerate": False, "trajectory_kl": 0.1}]] * 2))


def ready_for_transfer(experiment: SmallExperiment, data: Path) -> SmallExperiment:
    """A copy where phase 3.6 is still to be run; of the directions, one has a coefficient."""
    experiment = copied(experiment, data)
    write_detection(experiment, THRESHOLD)
    experiment.choose({"steer_incorrect": None, "steer_correct": (1, COEFFICIENT)}, site="resid_mid")
    write_steering(experiment, {"steer_correct": as_json(EFFECT)})
    return experiment


def transfer_config(experiment: SmallExperiment, to: Path | str = "auto", **changes) -> TransferConfig:
    settings = {"max_new_tokens": TOKENS, "batch_size": 10, "threads": 1}
    return TransferConfig(**experiment.words, to=str(to), **{**settings, **changes})


def table(run: Path, name: str) -> list[dict]:
    return pyarrow.parquet.read_table(run / name).to_pylist()


def problems_of(experiment: SmallExperiment, split: str) -> list[dict]:
    return table(newest(experiment.data / "phase0_1"), f"{split}_small.parquet")


def sae_of(experiment: SmallExperiment, layer: int) -> LayerSae:
    return load_sae(sae_source(str(experiment.sae), str(experiment.model)), layer)


def steering_of_steer_correct(experiment: SmallExperiment) -> SteeringVector:
    """Its latent is of layer 2, and it is added at layer 1."""
    row = sae_of(experiment, 2).W_dec[experiment.latents["steer_correct"][1]]
    return SteeringVector("blocks.1.hook_resid_mid", COEFFICIENT * (NORMS["resid_mid"] + 1) * row / row.norm())
