"""Measure everything that the model card says of the organism.

    python3 -m model_organism.evaluate --run data/phase1_0/<run>

Reads a finished run of phase 1 on the organism's problems (pass rates, activations), asks the model
the held-out items of the other tasks, draws the training problems again to count the overlap, and
writes model_organism/card.json and the tables in model_organism/README.md. The card of another --model is
written beside that folder, as training.json is.
"""

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.errors import PipelineError
from common.model.language_model import LanguageModel
from common.model.loading import load_model
from model_organism.corpus import PROBLEM, CorpusSize, build_documents, evaluation_lines_of
from model_organism.evaluation.card import refresh_readme
from model_organism.evaluation.graded_run import GradedRun, load_run, pass_rates
from model_organism.evaluation.held_out_answers import behaviour_accuracies, error_type_accuracy
from model_organism.evaluation.probes import (
    N_SPLITS,
    baseline_aurocs,
    nested_probe_auroc,
    probe_aurocs,
    surface_features,
    training_frequencies,
)
from model_organism.problems import OrganismProblem, evaluation_problems

HERE = Path(__file__).resolve().parent
SHIPPED = HERE / "weights" / "model"

logger = logging.getLogger(__name__)


def measure_card(run: GradedRun, lm: LanguageModel, training: dict) -> dict:
    """All figures of the model card."""

    def count_tokens(text: str) -> int:
        return len(lm.tokenizer(text)["input_ids"])

    logger.info("probes")
    layers = {layer: probe_aurocs(run, resid) for layer, resid in run.resid_post.items()}
    surface = surface_features(run, count_tokens)
    oracle = np.column_stack([surface, training_frequencies(run)])
    best = max(layers, key=lambda layer: layers[layer]["auroc"])
    logger.info("other tasks")
    return {
        "training": training,
        "n_parameters": sum(parameter.numel() for parameter in lm.model.parameters()),
        "pass_rates": pass_rates(run),
        "probes": {
            "position": "last prompt token",
            "n_splits": N_SPLITS,
            "layers": layers,
            "best_layer": {"layer": best, **layers[best]},
            "layer_chosen_in_training": nested_probe_auroc(run),
            "without_activations": {
                "lengths, operations, complexity": probe_aurocs(run, surface),
                "these and the true training frequencies": probe_aurocs(run, oracle),
            },
        },
        "baselines": baseline_aurocs(run, count_tokens),
        "error_types": error_type_accuracy(lm),
        "behaviours": behaviour_accuracies(lm),
        "overlap": measure_overlap(evaluation_problems(), training),
    }


def measure_overlap(problems: Sequence[OrganismProblem], training: dict) -> dict:
    """How many held-out problems share something with the training problems, which are drawn again.

    Those of the trainings that this one continues from count as well.
    """
    logger.info("overlap with training")
    banned_lines = evaluation_lines_of(problems)
    texts: list[str] = []
    record: dict | None = training
    while record:
        size = CorpusSize(record["corpus"]["documents"][PROBLEM], 0, 0, 0)
        texts += [document.text for document in build_documents(size, record["settings"]["seed"], banned_lines)]
        record = record.get("start")
    lines = {line for text in texts for line in text.splitlines()}
    programs = {text.split("# Solution:\n", 1)[1].rstrip("\n") for text in texts}
    single = [problem for problem in problems if problem.n_operations == 1]
    composed = [problem for problem in problems if problem.n_operations > 1]
    shared = {
        "the description": [problem.text in lines for problem in problems],
        "an assert": [any(test in lines for test in problem.tests) for problem in problems],
        "the whole program, one operation": [problem.code in programs for problem in single],
        "the whole program, two to four operations": [problem.code in programs for problem in composed],
    }
    return {name: {"shared": sum(is_shared), "n": len(is_shared)} for name, is_shared in shared.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, help="folder of a finished run of phase 1")
    parser.add_argument("--model", type=Path, default=SHIPPED, help="folder of the model (default: the shipped one)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        run = load_run(arguments.run)
        lm = load_model(str(arguments.model), "cpu", "float32")
    except PipelineError as error:
        parser.exit(2, f"error: {error}\n")
    training = json.loads((arguments.model.parent / "training.json").read_text())
    card = measure_card(run, lm, training)
    is_shipped = arguments.model.resolve() == SHIPPED
    path = (HERE if is_shipped else arguments.model.parent) / "card.json"
    path.write_text(json.dumps(card, indent=1) + "\n")
    if is_shipped:
        refresh_readme(HERE / "README.md", json.loads(path.read_text()))
    logger.info("wrote %s", path)


if __name__ == "__main__":
    main()
