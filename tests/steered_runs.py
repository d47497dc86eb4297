"""Runs of phases 3.2 and 3.3 on the small experiment: their settings, and how their results are read."""

from pathlib import Path

import pyarrow.parquet
from selected_latents import SmallExperiment

from phase3_validation.steering.config import CoefficientsConfig, SteeringConfig

N_CONTROLS, N_TUNED_ON, CHOSEN = 3, 2, {"steer_correct": (1, 0.5), "steer_incorrect": (1, -0.25)}


def coefficients_config(experiment: SmallExperiment, **changes) -> CoefficientsConfig:
    settings = {"max_new_tokens": 12, "batch_size": 10, "threads": 1, "coefficients": (-0.5, 0.5), "layers": "1,3"}
    settings |= {"directions": ("steer_correct", "steer_incorrect")}
    return CoefficientsConfig(**experiment.words, **{**settings, **changes})


def steering_config(experiment: SmallExperiment, **changes) -> SteeringConfig:
    settings = {"max_new_tokens": 12, "batch_size": 25, "threads": 1, "n_controls": N_CONTROLS}
    settings |= {"tuning_problems": N_TUNED_ON}
    return SteeringConfig(**experiment.words, **{**settings, **changes})


def rows_of(run: Path, table: str = "steering.parquet") -> list[dict]:
    return pyarrow.parquet.read_table(run / table).to_pylist()


def split_of(experiment: SmallExperiment, name: str) -> list[dict]:
    return pyarrow.parquet.read_table(next(experiment.data.glob(f"phase0_1/*/{name}_small.parquet"))).to_pylist()
