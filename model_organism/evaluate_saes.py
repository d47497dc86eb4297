"""Measure the organism's SAEs and transcoders, as they are saved, on activations they were not trained on.

    python3 -m model_organism.evaluate_saes --run data/phase1_0/<run>

Takes the labels of the 974 problems from a finished run of phase 1, reads held-out text and the prompts
of these problems, and writes model_organism/weights/saes.json, its tables in model_organism/README.md, and
into each SAE how well it usually fits.
"""

import argparse
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from common.errors import PipelineError
from common.model.language_model import LanguageModel
from common.model.loading import load_model
from common.saes.dictionary import Dictionary
from model_organism.dictionaries.activations import TokenBatch
from model_organism.dictionaries.held_out import (
    HELD_OUT_SIZE,
    N_GENERAL_CHARACTERS,
    SEED,
    HeldOutActivations,
    held_out_corpus,
    prompts_corpus,
    random_batches,
    read_held_out,
)
from model_organism.dictionaries.latent_auroc import best_latent_aurocs
from model_organism.dictionaries.measures import cross_entropy_recovered, mean_cross_entropy, measure_fit
from model_organism.dictionaries.report import refresh_readme
from model_organism.dictionaries.sites import SAE, read_by, written_by
from model_organism.dictionaries.storage import FOLDERS, load_dictionary, read_training
from model_organism.evaluation.graded_run import GradedRun, load_run

HERE = Path(__file__).parent
N_ROWS_FOR_CROSS_ENTROPY = 80

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bench:
    """What every dictionary is measured on."""

    lm: LanguageModel
    run: GradedRun
    activations: HeldOutActivations
    batches: list[TokenBatch]
    clean_cross_entropy: float


def measure_all(lm: LanguageModel, run: GradedRun, weights: Path) -> dict:
    """All figures of saes.json."""
    text = held_out_corpus(lm, HELD_OUT_SIZE, N_GENERAL_CHARACTERS)
    logger.info("reading %d held-out tokens and %d prompts", text.lengths.sum(), len(run.prompts))
    activations = read_held_out(lm, text, prompts_corpus(lm, run.prompts))
    batches = random_batches(text, N_ROWS_FOR_CROSS_ENTROPY)
    bench = Bench(lm, run, activations, batches, mean_cross_entropy(lm, batches))
    figures: dict = {
        "held_out": {
            "seed": SEED,
            "tokens": len(next(iter(activations.text.values()))),
            "prompts": len(run.prompts),
            "tokens_for_cross_entropy": int(sum(batch.is_text.sum() for batch in batches)),
        }
    }
    for kind, name in FOLDERS.items():
        figures[name] = {str(layer): measure_layer(bench, kind, layer, weights / name) for layer in range(lm.n_layers)}
    return figures


def measure_layer(bench: Bench, kind: str, layer: int, folder: Path) -> dict:
    """The figures of one dictionary."""
    dictionary = load_dictionary(kind, layer, folder)
    read, written = read_by(kind, layer), written_by(kind, layer)
    text, prompts = bench.activations.text, bench.activations.prompts
    on_text = measure_fit(dictionary, text[read], text[written])
    on_prompts = measure_fit(dictionary, prompts[read], prompts[written])
    training = read_training(layer, folder)
    assert training is not None  # it was loaded above
    latent_acts = dictionary.encode(prompts[read].float()).numpy()
    figures = {
        "l0": on_text.l0,
        "fvu": on_text.fvu,
        "l0_prompts": on_prompts.l0,
        "fvu_prompts": on_prompts.fvu,
        "dead": on_text.dead_share,
        "dead_on_prompts": on_prompts.dead_share,
        "cross_entropy": cross_entropy_recovered(
            bench.lm, dictionary, kind, layer, bench.batches, bench.clean_cross_entropy
        ),
        "best_latent": best_latent_aurocs(latent_acts, bench.run.is_correct, bench.run.known("n_operations")),
        "minutes": training["minutes"],
        "samples": training["settings"]["n_samples"],
    }
    if kind == SAE:
        figures["fvu_fed_other_layers"] = _fed_other_layers(bench, dictionary, layer)
    logger.info("%s of layer %d: %s", kind, layer, json.dumps(figures))
    return figures


def note_fit(figures: dict, weights: Path) -> None:
    """Write FVU and L0 on text into each SAE's own metadata, which the site check shows beside its own."""
    for layer, measured in figures[FOLDERS[SAE]].items():
        path = weights / FOLDERS[SAE] / f"layer_{layer}" / "cfg.json"
        config = json.loads(path.read_text())
        config["metadata"] |= {name: round(measured[name], 4) for name in ("fvu", "l0")}
        path.write_text(json.dumps(config, indent=1))


def bytes_of(weights: Path) -> int:
    """Size of all SAEs and transcoders together."""
    files = [path for name in FOLDERS.values() for path in (weights / name).rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files)


def _fed_other_layers(bench: Bench, dictionary: Dictionary, layer: int) -> dict[str, dict[str, float]]:
    """FVU when the layers beside its own are read in its place."""
    neighbours = [other for other in (layer - 1, layer + 1) if 0 <= other < bench.lm.n_layers]
    found = {}
    for other in neighbours:
        name = read_by(SAE, other)
        fits = {
            part: measure_fit(dictionary, rows[name], rows[name])
            for part, rows in (("text", bench.activations.text), ("prompts", bench.activations.prompts))
        }
        found[str(other)] = {part: fit.fvu for part, fit in fits.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, help="folder of a finished run of phase 1")
    parser.add_argument("--weights", type=Path, default=HERE / "weights", help="folder of model, saes and transcoders")
    parser.add_argument("--threads", type=int, default=1, help="processor threads")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        run = load_run(arguments.run)
        lm = load_model(str(arguments.weights / "model"), "cpu", "float32", arguments.threads)
        with torch.inference_mode():
            figures = measure_all(lm, run, arguments.weights)
    except PipelineError as error:
        parser.exit(2, f"error: {error}\n")
    path = arguments.weights / "saes.json"
    note_fit(figures, arguments.weights)
    path.write_text(json.dumps({**figures, "bytes": bytes_of(arguments.weights)}, indent=1) + "\n")
    refresh_readme(HERE / "README.md", json.loads(path.read_text()))
    logger.info("wrote %s", path)


if __name__ == "__main__":
    main()
