"""Phases 2 and 3.1 of a data folder once more, without a line of this project: SAELens, scipy and scikit-learn alone.

    python3 docs/natural/check.py data/natural/data [--saes FOLDER]

From the stored activations, labels, splits and dictionaries it computes again what the two phases conclude from:

1. phase 2, on the problems that select: of every latent (one layer at a time) the firing fractions, Welch's t, the
   AUROC and the share of general text on which it fires; which latents the limit on general text leaves; which one is
   then chosen for each direction;
2. phase 3.1, on the problems that report: activations of the chosen latents, the AUROC of every score beside them, and
   its interval by an own bootstrap.

`--saes` is the folder of layer_N/ in SAELens' format, where they are not those of phase 1.3. Each line says what was
compared and the largest difference; the status is 1 if one is more than its tolerance.
"""

import argparse
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.numpy import load_file
from scipy.stats import rankdata, ttest_ind
from sklearn.metrics import roc_auc_score

warnings.filterwarnings("ignore")  # of libraries
# Tolerances: activations are float32, which another program sums in another order; AUROC of stored values; resamples.
OF_FLOATS, OF_SORTING, OF_BOOTSTRAP = 1e-4, 1e-9, 0.02
N_RESAMPLES = 2000
DIRECTIONS = {  # name -> column that decides, and its sign
    "predict_incorrect": ("t", 1),
    "predict_correct": ("t", -1),
    "steer_incorrect": ("separation", -1),
    "steer_correct": ("separation", 1),
}


class Checks:
    """What was compared so far."""

    def __init__(self) -> None:
        self.failed = 0

    def compare(self, what: str, ours: Any, theirs: Any, tolerance: float) -> None:
        """Numbers that should be equal, or both missing."""
        ours, theirs = np.asarray(ours, float), np.asarray(theirs, float)
        assert ours.shape == theirs.shape, (what, ours.shape, theirs.shape)
        one_is_missing = bool((np.isnan(ours) != np.isnan(theirs)).any())
        worst = float(np.nanmax(np.abs(ours - theirs), initial=0.0))
        self._say(
            f"{what}: {ours.size} numbers, largest difference {worst:.2g}", not one_is_missing and worst <= tolerance
        )

    def same(self, what: str, ours: object, theirs: object) -> None:
        self._say(f"{what}: {ours}" if ours == theirs else f"{what}: {ours} here, {theirs} there", ours == theirs)

    def _say(self, words: str, holds: bool) -> None:
        self.failed += not holds
        print(f"{'equal    ' if holds else 'DIFFERENT'}  {words}")


def newest(data: Path, phase: str) -> Path:
    """The newest finished run of a phase's folder."""
    runs = sorted(path.parent for path in (data / phase).glob("*/manifest.json"))
    if not runs:
        sys.exit(f"{data} holds no finished run in {phase}\nGive the folder of all artifacts of a study")
    return runs[-1]


def read_problems(data: Path) -> pd.DataFrame:
    """Label and split of every problem that could be judged, by task_id."""
    programs = pd.read_parquet(newest(data, "phase1_0") / "dataset.parquet").set_index("task_id")
    programs = programs[programs.label.isin(["correct", "incorrect"])]
    for path in newest(data, "phase0_1").glob("*.parquet"):
        ids = pd.read_parquet(path, columns=["task_id"]).task_id
        programs.loc[programs.index.intersection(ids), "split"] = path.name.split("_")[0]
    return programs.assign(fails=programs.label == "incorrect")


def activations_of(run: Path, layer: int, item: str) -> pd.DataFrame:
    """resid_post at the last prompt token, or of a document, by its number."""
    stored = load_file(run / "activations" / f"layer_{layer:02d}.safetensors")
    return pd.DataFrame(stored["resid_post"].astype(np.float32), index=stored[item])


def encoded(saes: Path, layer: int, resid: pd.DataFrame) -> np.ndarray:
    """SAELens' own latents, [n, d_sae]."""
    from sae_lens import SAE

    sae = SAE.load_from_disk(str(saes / f"layer_{layer}"), device="cpu", dtype="float32")
    with torch.inference_mode():
        return sae.encode(torch.from_numpy(resid.to_numpy().copy())).numpy()


def statistics(latents: np.ndarray, fails: np.ndarray) -> pd.DataFrame:
    """What phase 2 says of each latent of a layer; t and AUROC point to failing."""
    failing, passing = latents[fails].astype(float), latents[~fails].astype(float)
    t, _ = ttest_ind(failing, passing, equal_var=False)
    ranks = rankdata(latents, axis=0)[fails].sum(axis=0)
    n, m = len(failing), len(passing)
    fractions = {"f_correct": (passing > 0).mean(axis=0), "f_incorrect": (failing > 0).mean(axis=0)}
    return pd.DataFrame({**fractions, "t": t, "auroc": (ranks - n * (n + 1) / 2) / (n * m)})


def check_layer(checks: Checks, data: Path, saes: Path, problems: pd.DataFrame, stored: pd.DataFrame) -> pd.DataFrame:
    """The statistics of one layer, computed here; `stored` are the rows of latents.parquet of that layer."""
    layer = int(stored.layer.iloc[0])
    select = problems[problems.split == "sae"]
    resid = activations_of(newest(data, "phase1_0"), layer, "task_id").loc[select.index]
    found = statistics(encoded(saes, layer, resid), select.fails.to_numpy())
    fires = ((stored.n_active > 0) & np.isfinite(stored.t)).to_numpy()  # t of one that never fires is undefined
    for name in found:
        which = fires if name == "t" else slice(None)
        checks.compare(f"layer {layer}, {name}", found[name][which], stored[name][which], OF_FLOATS)
    found["general_text_rate"] = general_text_rate(data, saes, layer)
    checks.compare(f"layer {layer}, general text", found.general_text_rate, stored.general_text_rate, OF_FLOATS)
    return found.assign(layer=layer, latent=np.arange(len(found)), separation=found.f_correct - found.f_incorrect)


def general_text_rate(data: Path, saes: Path, layer: int) -> np.ndarray:
    """Share of the documents, those of one token left out, on which each latent fires."""
    run = newest(data, "phase1_1")
    documents = pd.read_parquet(run / "documents.parquet")
    counted = documents[documents.position > 0].document
    latents = encoded(saes, layer, activations_of(run, layer, "document").loc[counted])
    return (latents > 0).mean(axis=0)


def check_selection(checks: Checks, found: pd.DataFrame, selected: dict) -> dict[str, tuple[int, int]]:
    """Which latents are chosen, from the numbers computed here and the limits that were settled."""
    limits = {site["layer"]: site["general_text"]["limit"] for site in selected["sites"]}
    kept = found[found.general_text_rate <= found.layer.map(limits)]
    chosen = {}
    for name, (column, sign) in DIRECTIONS.items():
        best = kept.iloc[int(np.nanargmax(sign * np.asarray(kept[column])))]
        chosen[name] = (int(best.layer), int(best.latent))
        first = selected["directions"][name]["latents"][0]
        checks.same(f"chosen for {name}", chosen[name], (first["layer"], first["latent"]))
    return chosen


def check_predictions(checks: Checks, data: Path, saes: Path, problems: pd.DataFrame, chosen: dict) -> None:
    """Phase 3.1: the latents' values on the problems that report, and the AUROC of every score."""
    run = newest(data, "phase3_1")
    table, document = pd.read_parquet(run / "predictions.parquet"), json.loads((run / "detection.json").read_text())
    report = problems[problems.split == "validation"]
    for name, entry in document["directions"].items():
        layer, latent = chosen[name]
        own = table[(table.direction == name) & (table.split == "validation")]
        fails = report.fails if entry["positive"] == "incorrect" else ~report.fails
        values = {score: rows.set_index("task_id").value.loc[report.index] for score, rows in own.groupby("score")}
        resid = activations_of(newest(data, "phase1_0"), layer, "task_id").loc[report.index]
        checks.compare(f"{name}, activations", encoded(saes, layer, resid)[:, latent], values["latent"], OF_FLOATS)
        cards = {"latent": entry["card"], **entry["baselines"]}
        scores = [score for score in cards if score in values]
        aurocs = [roc_auc_score(fails, values[score]) for score in scores]
        checks.compare(
            f"{name}, AUROC of {len(scores)} scores", aurocs, [cards[s]["auroc"]["value"] for s in scores], 1e-9
        )
        interval = bootstrap(fails.to_numpy(), values["latent"].to_numpy())
        stored = [entry["card"]["auroc"][end] for end in ("low", "high")]
        checks.compare(f"{name}, interval of the latent's AUROC", interval, stored, OF_BOOTSTRAP)


def bootstrap(fails: np.ndarray, values: np.ndarray) -> list[float]:
    """95 % of resamples drawn within each label, with a seed of its own."""
    rng = np.random.default_rng(0)
    groups = [np.flatnonzero(fails), np.flatnonzero(~fails)]
    drawn = (np.concatenate([rng.choice(group, len(group)) for group in groups]) for _ in range(N_RESAMPLES))
    return np.percentile([roc_auc_score(fails[rows], values[rows]) for rows in drawn], [2.5, 97.5]).tolist()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of all artifacts")
    parser.add_argument("--saes", type=Path, help="folder of layer_N/ (default: the newest of phase 1.3)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    saes = args.saes or newest(args.data, "phase1_3")
    checks, problems = Checks(), read_problems(args.data)
    run = newest(args.data, "phase2")
    selected = json.loads((run / "selected.json").read_text())
    stored = pd.read_parquet(run / "latents.parquet")
    layers = [check_layer(checks, args.data, saes, problems, rows) for _, rows in stored.groupby("layer")]
    chosen = check_selection(checks, pd.concat(layers, ignore_index=True), selected)
    check_predictions(checks, args.data, saes, problems, chosen)
    print(f"{checks.failed} of the comparisons differ" if checks.failed else "everything is equal")
    return int(checks.failed > 0)


if __name__ == "__main__":
    sys.exit(main())
