"""Ship the organism's dictionaries: the newest of each site that phase 1.3 trained, and what their cards do not say.

    python3 -m model_organism.evaluate_dictionaries --run data/phase1_0/<run>
    python3 -m model_organism.evaluate_dictionaries --only attention_saes,mlp_saes      # the others stay as they are

Copies them to model_organism/weights/saes, transcoders, attention_saes and mlp_saes, each with its card
(dictionaries.json). Reads a finished run of phase 1 on the organism's problems, for how well the best latent of each
SAE of the residual stream tells correctness; asks the transcoders held-out behaviours. Writes weights/dictionaries.json
and the tables in model_organism/README.md.
"""

import argparse
import json
import logging
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from common import handoffs
from common.errors import ConfigError, PipelineError, suggestion
from common.exchange.dictionaries import copy_dictionaries
from common.files import file_sha256
from common.handoffs.dictionaries import DictionariesDocument
from common.handoffs.document import from_json
from common.model.loading import load_model
from common.runs.artifacts import Artifact
from common.saes.encoder import LayerSae, load_from_folder
from common.saes.own import newest_own, run_of
from common.saes.sources import sae_source
from model_organism.evaluation.behaviour_fit import behaviour_fvus
from model_organism.evaluation.dictionary_tables import refresh_readme
from model_organism.evaluation.graded_run import GradedRun, load_run
from model_organism.evaluation.latent_auroc import best_latent_aurocs

HERE = Path(__file__).parent
WEIGHTS = HERE / "weights"
SAES, TRANSCODERS = "saes", "transcoders"
SITES = {SAES: "resid_post", TRANSCODERS: "mlp", "attention_saes": "attn_out", "mlp_saes": "mlp_out"}
CARD = "dictionaries.json"

logger = logging.getLogger(__name__)


def newest_run(name: str, data_dir: Path) -> Artifact[DictionariesDocument]:
    """The newest dictionaries of the organism, by their name in SITES. Raises: MissingArtifactError."""
    run = run_of(str(newest_own("organism", "", data_dir, SITES[name])))
    assert run is not None  # it was found just now
    return Artifact(handoffs.DICTIONARIES, run, run.document["command"])


def ship(run: Artifact, folder: Path) -> None:
    """Replace what `folder` holds by the run's dictionaries and their card."""
    shutil.rmtree(folder, ignore_errors=True)
    copy_dictionaries(run, folder)


def dictionaries_in(weights: Path, name: str) -> list[LayerSae]:
    """The shipped ones, by their name in SITES, in the order of their layers."""
    source = sae_source(str(weights / name), "organism")
    known = [(layer, Path(source.ids[layer])) for layer in sorted(source.ids)]
    return [load_from_folder(folder, f"organism {folder.name}", layer, source.kind) for layer, folder in known]


def card_of(weights: Path, name: str) -> DictionariesDocument:
    """What phase 1.3 has measured of the shipped ones."""
    return from_json(DictionariesDocument, json.loads((weights / name / CARD).read_text()))


def bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def best_latents(run: GradedRun, weights: Path) -> dict[str, dict]:
    """Layer -> the best single latent of its SAE at the last prompt token."""
    best = {}
    for sae in dictionaries_in(weights, SAES):
        latent_acts = sae.encode(torch.from_numpy(run.resid_post[sae.layer]).float()).numpy()
        best[str(sae.layer)] = best_latent_aurocs(latent_acts, run.is_correct, run.known("n_operations"))
        logger.info("best latent of layer %d: %s", sae.layer, json.dumps(best[str(sae.layer)]))
    return best


def measure(names: Collection[str], run: GradedRun | None, model: Path, weights: Path) -> dict[str, Any]:
    """What the cards of these do not say: sizes; best latents of SAEs, FVU of transcoders at behaviours."""
    figures: dict[str, Any] = {
        "model_sha256": file_sha256(model / "model.safetensors"),
        "bytes": {name: bytes_of(weights / name) for name in SITES},
    }
    if SAES in names:
        assert run is not None, "names_of has asked for one"
        figures["best_latent"] = best_latents(run, weights)
    if TRANSCODERS in names:
        lm = load_model(str(model), "cpu", "float32")
        figures["behaviour_fvu"] = behaviour_fvus(lm, dictionaries_in(weights, TRANSCODERS))
    return figures


def how_made(run: Artifact) -> dict[str, Any]:
    return {"command": run.manifest["command"], "minutes": run.manifest["summary"]["minutes"]}


def names_of(only: str, has_run: bool) -> list[str]:
    """The names that --only gives, all of SITES for 'all'. Raises: ConfigError."""
    names = [*SITES] if only == "all" else only.split(",")
    for name in names:
        if name not in SITES:
            raise ConfigError(
                f"--only is '{only}'.{suggestion(name, [*SITES])}\nGive all, or some of: {','.join(SITES)}"
            )
    if SAES in names and not has_run:
        raise ConfigError(
            f"--only is '{only}', but --run is missing: what the best latents of {SAES} tell is measured on a "
            f"run of phase 1\nGive --run data/phase1_0/RUN, or --only with others than {SAES}"
        )
    return names


def kept_figures(path: Path, model: Path) -> dict[str, Any]:
    """Figures of dictionaries that are not measured anew. Raises: ConfigError when they are of another model."""
    known = json.loads(path.read_text())
    if known["model_sha256"] != file_sha256(model / "model.safetensors"):
        raise ConfigError(
            f"{path} is of another model than {model}, whose other dictionaries cannot stay\n"
            f"Train those of all sites, and leave --only out"
        )
    return known


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", type=Path, help="folder of a finished run of phase 1, for saes")
    parser.add_argument("--only", default="all", help=f"all, or some of {','.join(SITES)} (default: all)")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of all artifacts (default: data)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    path, model = WEIGHTS / CARD, WEIGHTS / "model"
    try:
        names = names_of(arguments.only, arguments.run is not None)
        kept = {} if len(names) == len(SITES) else kept_figures(path, model)
        graded = load_run(arguments.run) if SAES in names else None
        runs = {name: newest_run(name, arguments.data_dir) for name in names}
        for name, run in runs.items():
            ship(run, WEIGHTS / name)
        made = {name: how_made(run) for name, run in runs.items()}
        figures = kept | measure(names, graded, model, WEIGHTS) | made
    except PipelineError as error:
        parser.exit(2, f"error: {error}\n")
    path.write_text(json.dumps(figures, indent=1) + "\n")
    refresh_readme(HERE / "README.md", figures, {name: card_of(WEIGHTS, name) for name in SITES})
    logger.info("wrote %s", path)


if __name__ == "__main__":
    main()
