"""An experiment on disk with a planted detector: every field that a baseline reads is filled in."""

import json
from pathlib import Path

import numpy as np
from experiments import Experiment, make_experiment, plant

SIZES = {"sae": 130, "hyperparams": 60, "validation": 150}


def detectable(folder: Path, saes: Path) -> Experiment:
    """Latent 1/7 fires on what fails; failing problems are longer, harder, and their programs less likely.

    Every field that a baseline reads is filled in; every validation problem has three samples at 0.3 and at 0.6.
    """
    experiment = plant(make_experiment(folder, saes, sum(SIZES.values())))
    rng = np.random.default_rng(3)
    order, first = rng.permutation(sum(SIZES.values())).tolist(), 0
    for name, size in SIZES.items():
        experiment.splits[name] = order[first : first + size]
        first += size
    for task_id, label in enumerate(experiment.labels):
        failed = label == "incorrect"
        operations = int(rng.integers(1, 4)) + failed
        experiment.problems[task_id] = {
            "text": "x" * int(rng.integers(20, 60) + 20 * failed),
            "complexity": int(rng.integers(1, 6)) + failed,
            "attributes": json.dumps({"n_operations": operations}),
        }
        experiment.programs[task_id] = {
            "prompt": "y" * int(rng.integers(100, 200) + 30 * failed) + "\n\n# Solution:\n",
            "code": "def f(x):\n    return x\n",
            "mean_logprob": float(-rng.uniform(0, 1) - 0.3 * failed),
            "n_new_tokens": int(rng.integers(10, 60)),
            "first_token_entropy": float(rng.uniform(0, 1)),
        }
    for task_id in experiment.splits["validation"]:
        chance = 0.8 if experiment.labels[task_id] == "correct" else 0.2
        experiment.temperature[task_id] = ["correct" if rng.random() < chance else "incorrect" for _ in range(6)]
    return experiment
