"""Ship the organism's dictionaries: the newest SAEs and transcoders of phase 1.3, and what their cards do not say.

    python3 -m model_organism.evaluate_dictionaries --run data/phase1_0/<run>

Copies them to model_organism/weights/saes and weights/transcoders, each with its card (dictionaries.json). Reads a
finished run of phase 1 on the organism's problems, for how well the best latent of each SAE tells correctness; asks the
transcoders held-out behaviours. Writes weights/dictionaries.json and the tables in model_organism/README.md.
"""

import argparse
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import torch

from common import handoffs
from common.errors import PipelineError
from common.files import file_sha256
from common.handoffs.dictionaries import DictionariesDocument
from common.model.loading import load_model
from common.npz.dictionaries import copy_dictionaries
from common.runs.artifacts import Artifact
from common.saes.encoder import LayerSae, load_from_folder
from common.saes.own import newest_own, run_of
from model_organism.evaluation.behaviour_fit import behaviour_fvus
from model_organism.evaluation.dictionary_tables import refresh_readme
from model_organism.evaluation.graded_run import GradedRun, load_run
from model_organism.evaluation.latent_auroc import best_latent_aurocs

HERE = Path(__file__).parent
WEIGHTS = HERE / "weights"
SITES = {"saes": "resid_post", "transcoders": "mlp"}
KINDS = {"saes": "sae", "transcoders": "transcoder"}
N_LAYERS = 6
CARD = "dictionaries.json"

logger = logging.getLogger(__name__)


def newest_run(name: str, data_dir: Path) -> Artifact[DictionariesDocument]:
    """The newest dictionaries of the organism, "saes" or "transcoders". Raises: MissingArtifactError."""
    run = run_of(str(newest_own("organism", "", data_dir, SITES[name])))
    assert run is not None  # it was found just now
    return Artifact(handoffs.DICTIONARIES, run, run.document["command"])


def ship(run: Artifact, folder: Path) -> None:
    """Replace what `folder` holds by the run's dictionaries and their card."""
    shutil.rmtree(folder, ignore_errors=True)
    copy_dictionaries(run, folder)


def dictionaries_in(weights: Path, name: str) -> list[LayerSae]:
    """The shipped ones, "saes" or "transcoders", in the order of their layers."""
    folders = [(layer, weights / name / f"layer_{layer}") for layer in range(N_LAYERS)]
    return [load_from_folder(folder, f"organism {folder.name}", layer, KINDS[name]) for layer, folder in folders]


def measure(run: GradedRun, model: Path, weights: Path) -> dict:
    """Best single latent of each SAE at the last prompt token; FVU of the transcoders at that of behaviours."""
    best = {}
    for sae in dictionaries_in(weights, "saes"):
        latent_acts = sae.encode(torch.from_numpy(run.resid_post[sae.layer]).float()).numpy()
        best[str(sae.layer)] = best_latent_aurocs(latent_acts, run.is_correct, run.known("n_operations"))
        logger.info("best latent of layer %d: %s", sae.layer, json.dumps(best[str(sae.layer)]))
    lm = load_model(str(model), "cpu", "float32")
    files = [path for name in SITES for path in (weights / name).rglob("*") if path.is_file()]
    return {
        "model_sha256": file_sha256(model / "model.safetensors"),
        "bytes": sum(path.stat().st_size for path in files),
        "best_latent": best,
        "behaviour_fvu": behaviour_fvus(lm, dictionaries_in(weights, "transcoders")),
    }


def how_made(run: Artifact) -> dict[str, Any]:
    return {"command": run.manifest["command"], "minutes": run.manifest["summary"]["minutes"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, help="folder of a finished run of phase 1")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of all artifacts (default: data)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        graded = load_run(arguments.run)
        runs = {name: newest_run(name, arguments.data_dir) for name in SITES}
        for name, run in runs.items():
            ship(run, WEIGHTS / name)
        figures = measure(graded, WEIGHTS / "model", WEIGHTS) | {name: how_made(run) for name, run in runs.items()}
    except PipelineError as error:
        parser.exit(2, f"error: {error}\n")
    path = WEIGHTS / CARD
    path.write_text(json.dumps(figures, indent=1) + "\n")
    refresh_readme(HERE / "README.md", figures, {name: run.document() for name, run in runs.items()})
    logger.info("wrote %s", path)


if __name__ == "__main__":
    main()
