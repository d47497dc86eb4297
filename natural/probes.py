"""What a probe of the whole residual stream tells before the program is written, beside what needs no look inside.

    python3 -m natural.probes --data-dir data/natural/data --out data/natural/probes.json --page docs/natural/README.md

1. Per layer and position: logistic regression on resid_post, its penalty by cross-validation on `sae`. Fitted on `sae`,
   as phase 3.1 does, and once more, with the same penalty, on sae + hyperparams. AUROC on `validation`.
2. Per position the layer with the best cross-validated AUROC on `sae`, never the best on `validation`.
3. Beside it every baseline that needs no dictionary, and what the probe adds to all of them (baselines.py).
4. Pass rates by difficulty and temperature, and kinds of errors (pass_rates.py).

Intervals: 95 %, stratified bootstrap over the problems of `validation`, the same resamples for all.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from common.cli import Parser, exit_with, new_log
from common.errors import ConfigError
from common.files import write_json

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

    from natural.labelled_run import LabelledRun

N_RESAMPLES = 2000


def layer_probes(run: LabelledRun, seed: int, draws: np.ndarray, log: logging.Logger) -> list[dict[str, Any]]:
    """One row per position and layer."""
    return [
        one_probe(run, layer, position, seed, draws)
        for position in run.positions
        for layer in _said(run.layers, position, log)
    ]


def one_probe(run: LabelledRun, layer: int, position: str, seed: int, draws: np.ndarray) -> dict[str, Any]:
    """Cross-validated AUROC on `sae`, and AUROCs on `validation`, of one layer at one position."""
    from sklearn.base import clone

    from common.evaluation import probes
    from natural.baselines import area

    x, incorrect = run.resid(layer, position), run.problems.incorrect
    selects, both, judging = run.of("sae"), run.of("sae", "hyperparams"), run.of("validation")
    search = probes.penalty_search(x[selects], incorrect[selects], seed)
    refitted = cast("Pipeline", clone(search.best_estimator_)).fit(x[both], incorrect[both])
    means = probes.difference_of_means(x[judging], x[selects], incorrect[selects])
    scores = {
        "fitted_on_sae": search.decision_function(x[judging]),
        "fitted_on_sae_and_hyperparams": refitted.decision_function(x[judging]),
        "difference_of_means": means,
    }
    areas = {name: area(values, incorrect[judging], draws) for name, values in scores.items()}
    fitted = {"C": float(search.best_estimator_[-1].C), "cross_validated": float(search.best_score_)}
    return {"position": position, "layer": layer, **fitted, **areas}


def _said(layers: list[int], position: str, log: logging.Logger) -> list[int]:
    log.info("%s: %d layers", position, len(layers))
    return layers


def chosen(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The row of each position whose cross-validated AUROC is best."""
    best: dict[str, dict[str, Any]] = {}
    for row in rows:
        held = best.get(row["position"])
        if held is None or row["cross_validated"] > held["cross_validated"]:
            best[row["position"]] = row
    return best


def compare(
    run: LabelledRun, best: dict[str, dict[str, Any]], seed: int, draws: np.ndarray, log: logging.Logger
) -> dict[str, Any]:
    """Baselines with their AUROC on `validation`, and what the probe of each position adds to all of them."""
    from common.evaluation import probes, strata
    from natural import baselines

    judging = run.of("validation")
    incorrect, complexity = run.problems.incorrect[judging], run.problems.complexity[judging]
    simple = baselines.simple_scores(run)
    log.info("TF-IDF")
    text, crossed = baselines.text_scores(run, seed)
    covariates = {name: simple[name] for name in baselines.COVARIATES}
    everything = {**covariates, **crossed}
    without = baselines.together(everything, run, seed)
    scores = {
        "always positive": np.ones(len(run.problems.problems)),
        **simple,
        **text,
        "lengths, complexity, lines and nodes": baselines.together(covariates, run, seed),
        "these and TF-IDF together": without,
    }
    known = {name: when for name, (when, _) in baselines.SIMPLE.items()}
    rows = [
        {
            "name": name,
            "known": known.get(name, baselines.BEFORE),
            "auroc": baselines.area(values[judging], incorrect, draws),
            "within_complexity": strata.auroc_within(values[judging], incorrect, complexity, draws),
        }
        for name, values in scores.items()
    ]
    gains = []
    for position, row in best.items():
        log.info("what the probe at %s, layer %d, adds", position, row["layer"])
        x = run.resid(row["layer"], position)
        score = baselines.cross_fitted(probes.PenaltySearch(seed), x, run, seed)
        with_probe = baselines.together({**everything, "probe": score}, run, seed)
        gain = {
            "position": position,
            "layer": row["layer"],
            "probe": baselines.area(score[judging], incorrect, draws),
            "probe_within_complexity": strata.auroc_within(score[judging], incorrect, complexity, draws),
            "without": baselines.area(without[judging], incorrect, draws),
            "with_probe": baselines.area(with_probe[judging], incorrect, draws),
            "gain": baselines.gain(with_probe[judging], without[judging], incorrect, draws),
        }
        gains.append(gain)
    return {"baselines": rows, "gains": gains}


def measure(run: LabelledRun, seed: int, n_resamples: int, log: logging.Logger) -> dict[str, Any]:
    """Everything that the page shows, as plain numbers."""
    from common.evaluation.bootstrap import draws_by_label
    from common.evaluation.cards import always_positive_f1
    from common.handoffs import SPLIT_NAMES
    from natural import pass_rates

    judging = run.of("validation")
    incorrect = run.problems.incorrect[judging]
    draws = draws_by_label(incorrect, n_resamples, seed)
    rows = layer_probes(run, seed, draws, log)
    return {
        "run": run.generations.path.name,
        "experiment": run.generations.manifest["experiment"],
        "n": {name: int(run.of(name).sum()) for name in SPLIT_NAMES},
        "left_out": run.problems.left_out,
        "seed": seed,
        "n_resamples": n_resamples,
        "incorrect_in_validation": int(incorrect.sum()),
        "f1_of_always_incorrect": always_positive_f1(int(incorrect.sum()), len(incorrect)),
        "probes": rows,
        **compare(run, chosen(rows), seed, draws, log),
        "by_difficulty": pass_rates.by_difficulty(run),
        "by_temperature": pass_rates.by_temperature(run),
        "errors": pass_rates.errors(run),
    }


def parse(argv: list[str]) -> argparse.Namespace:
    """Raises: ConfigError."""
    parser = Parser(prog="-m natural.probes", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of the phases' artifacts")
    parser.add_argument("--run", type=Path, help="run of phase 1 (default: the only experiment's newest)")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write; the tables go beside it, as .md")
    parser.add_argument("--page", type=Path, help="page whose tables are filled")
    parser.add_argument("--seed", type=int, default=42, help="seed of folds and resamples (default: 42)")
    parser.add_argument(
        "--n-resamples", type=int, default=N_RESAMPLES, help=f"bootstrap resamples (default: {N_RESAMPLES})"
    )
    args = parser.parse_args(argv)
    if args.n_resamples < 100 or args.seed < 0:
        raise ConfigError(
            f"--n-resamples is {args.n_resamples}, --seed is {args.seed}\nGive 100 resamples or more, and a seed from 0"
        )
    return args


def main(argv: list[str]) -> int:
    args, log = parse(argv), new_log()
    from threadpoolctl import threadpool_limits

    from common.handoffs.document import as_json
    from natural.labelled_run import read_run
    from natural.page import fill
    from natural.tables import tables_of

    with threadpool_limits(1):  # of products this small, several threads take longer
        results = as_json(measure(read_run(args.data_dir, args.run), args.seed, args.n_resamples, log))
    tables = tables_of(results)
    write_json(args.out, results)
    text = "\n\n".join(f"## {name}\n\n{table}" for name, table in tables.items())
    args.out.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    if args.page:
        fill(args.page, tables)
    log.info("wrote %s", args.out)
    return 0


if __name__ == "__main__":
    exit_with(main)
