"""What phase 2 selects on the organism, judged on problems that it did not see, beside the probe.

    python3 -m model_organism.evaluate_selection --data-dir data

Takes the newest finished runs of phases 0.1, 1 and 2 on the organism. Latents were selected on the split
`sae`; their AUROC and that of logistic regression on the same layer, fitted on `sae` too, are of the split
`validation`. Writes model_organism/weights/selection.json and its table in model_organism/README.md.
"""

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from common import handoffs
from common.errors import PipelineError
from common.handoffs.selected import SelectedDocument
from common.phases.settings import build_config
from common.problems.settings import DatasetConfig
from common.runs import discovery
from common.runs.artifacts import Artifact
from common.saes.encoder import load_sae
from common.saes.settings import SaeConfig
from common.saes.sources import sae_source
from model_organism.evaluation.card import markdown_table, write_tables
from model_organism.evaluation.graded_run import GradedRun, load_run
from model_organism.evaluation.probes import auroc_within, fitted_probe

HERE = Path(__file__).parent
N_RESAMPLES, SEED = 2000, 0

logger = logging.getLogger(__name__)


def finished_runs(data_dir: Path) -> dict[str, Artifact]:
    """The newest selection on the organism, and the split and programs it rests on.

    Raises: MissingArtifactError, ArtifactMismatchError.
    """
    experiment = {
        **build_config(DatasetConfig, "demo", {}).experiment(),
        **build_config(SaeConfig, "demo", {}).experiment(),
    }
    lineage: dict[str, str] = {}
    artifacts = {}
    for schema in (handoffs.LATENTS, handoffs.GENERATIONS, handoffs.SPLIT):
        build = discovery.with_data_dir(f"python3 run.py phase {schema.phase} --preset demo", data_dir)
        run, _ = discovery.find_input(schema, data_dir, experiment, lineage, build)
        lineage |= discovery.lineage_of(schema, run)
        artifacts[schema.name] = Artifact[Any](schema, run, build)
    return artifacts


def measure(run: GradedRun, split: Artifact, selected: SelectedDocument) -> dict:
    """Figures of each direction's latent and of the probe on its layer, on the validation split."""
    ids = [problem["task_id"] for problem in run.problems]
    parts = {}
    for name in ("sae", "validation"):
        parts[name] = np.isin(ids, [row["task_id"] for row in split.table(handoffs.SPLIT_FILES[name])])
    source, directions = sae_source("auto", "organism"), {}
    for name, entry in selected.directions.items():
        latent = entry.latents[0]
        assert latent.t is not None  # it was selected
        resid = run.resid_post[latent.layer]
        sae = load_sae(source, latent.layer)
        latent_acts = sae.encode(torch.from_numpy(resid).float())[:, latent.latent].numpy()
        probe = fitted_probe(resid[parts["sae"]], run.is_correct[parts["sae"]])
        strength = {
            "latent": latent_acts if latent.t > 0 else -latent_acts,
            "probe": -probe.decision_function(resid),
        }
        areas = {who: _auroc(run, parts["validation"], values) for who, values in strength.items()}
        place = {"layer": latent.layer, "index": latent.latent}
        directions[name] = {**place, "t": latent.t, "p_max": latent.p_max, **areas}
        logger.info("%s: %s", name, json.dumps(directions[name]))
    counts = {key: getattr(selected, key) for key in ("problems", "latents", "kept", "conclusion")}
    return {**counts, "n_validation": int(parts["validation"].sum()), "directions": directions}


def _auroc(run: GradedRun, rows: np.ndarray, strength: np.ndarray) -> dict[str, float]:
    """AUROC of incorrectness with its 95 % percentile bootstrap interval over problems, and within operations."""
    labels, scores, strata = ~run.is_correct[rows], strength[rows], run.known("n_operations")[rows]
    random, areas = np.random.default_rng(SEED), []
    for _ in range(N_RESAMPLES):
        drawn = random.integers(0, len(labels), len(labels))
        areas.append(roc_auc_score(labels[drawn], scores[drawn]))
    low, high = np.quantile(areas, [0.025, 0.975])
    within = auroc_within(labels, scores, strata)
    return {"auroc": float(roc_auc_score(labels, scores)), "low": float(low), "high": float(high), "within": within}


def _table(figures: dict) -> str:
    header = ["direction", "latent", "t", "family-wise p", "AUROC", "within operations", "probe of that layer, AUROC"]
    rows = []
    for name, entry in figures["directions"].items():
        latent, probe = entry["latent"], f"{_shown(entry['probe'])}; within {entry['probe']['within']:.3f}"
        row = [name.replace("_", " "), f"layer {entry['layer']}, {entry['index']}", f"{entry['t']:.2f}"]
        rows.append([*row, f"{entry['p_max']:.3f}", _shown(latent), f"{latent['within']:.3f}", probe])
    return markdown_table(header, rows)


def _shown(measured: dict[str, float]) -> str:
    return f"{measured['auroc']:.3f} ({measured['low']:.3f} to {measured['high']:.3f})"


def refresh_readme(readme: Path, figures: dict) -> None:
    """Replace the table of selected latents, and the conclusion above it."""
    write_tables(readme, figures, {"selection": _table, "selection conclusion": lambda known: known["conclusion"]})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of all artifacts (default: data)")
    data_dir = parser.parse_args().data_dir
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        runs = finished_runs(data_dir)
        selected = runs["latents"].document()
        figures = measure(load_run(runs["generations"].path), runs["split"], selected)
    except PipelineError as error:
        parser.exit(2, f"error: {error}\n")
    path = HERE / "weights" / "selection.json"
    path.write_text(json.dumps(figures, indent=1) + "\n")
    refresh_readme(HERE / "README.md", figures)
    logger.info("wrote %s", path)


if __name__ == "__main__":
    main()
