"""Phase 3.1: whether the selected latents tell, before the model writes, that its program will fail.

    python3 run.py phase 3.1 --model google/gemma-2-2b

1. A score is the latent's activation at the last prompt token; simpler scores stand beside it (scores.py).
2. Each score's threshold is the midpoint between two activations with the largest F1 on `hyperparams`.
3. On `validation`, once: metrics with intervals, by difficulty and temperature, three verdicts (common/evaluation/).
4. On `sae` and `hyperparams` alone the selection is repeated on ten other draws (layers.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from common import handoffs
from common.evaluation.bootstrap import DRAWS
from common.handoffs import SPLIT_FILES, SPLIT_NAMES
from common.handoffs.detection import LATENT, LOGISTIC_REGRESSION, DetectionDocument
from common.interventions.directions import Direction, selected_directions
from common.phases.context import RunContext
from common.programs.judged_problems import JudgedProblems, Samples, judged_problems, judged_samples
from common.saes.sources import sae_source
from common.words import with_bounds
from phase3_validation.detection.config import DetectionConfig
from phase3_validation.detection.evaluation import Evaluation, Judging, Scored
from phase3_validation.detection.figures import Judged, all_figures
from phase3_validation.detection.layers import Layers, drawn_latents, read_layers, wanted_latents
from phase3_validation.detection.scores import BASELINES, Score, simple_scores, text_scores
from phase3_validation.held_out_use import note_use

RANDOM = "random_latent_"


def run(ctx: RunContext, config: DetectionConfig) -> None:
    directions = selected_directions(ctx.read(handoffs.LATENTS))
    problems, samples = _problems(ctx, config)
    source = sae_source(config.sae, config.model, config.sae_revision)
    readings = note_use(ctx, config.reuse_validation)  # no number of validation was seen so far
    with ctx.write() as out:
        evaluation = Evaluation(problems, samples, config.n_resamples, config.seed)
        simple, absent = _simple(problems, config.seed)
        if absent:
            ctx.log.info("not every problem has these, so they are no baselines: %s", ", ".join(absent))
        table = ctx.read(handoffs.LATENTS).columns("latents.parquet")
        drawn = drawn_latents(directions, table, config.n_random_latents, config.seed)
        layers = read_layers(ctx, config, problems, source, table, wanted_latents(directions, drawn))
        predictions, judged = Predictions(evaluation), []
        for direction in directions:
            judging = _judging(evaluation, direction, layers, simple, drawn[direction.name])
            predictions.add(direction.name, [judging.latent, *judging.baselines, *judging.random])
            judged.append(_judged(evaluation, direction, judging))
        out.columns("predictions.parquet", predictions.columns([each.name for each in judged]))
        out.table("labels.parquet", _label_rows(evaluation))
        result = _document(out.identity["experiment"], config, evaluation, judged, readings, absent, layers)
        out.document("detection.json", result)
        for name, data in all_figures(judged).items():
            out.file(f"figures/{name}", data)
        out.summary["problems"] = int(evaluation.judging.sum())
        for each in judged:
            words = _words(each)
            ctx.log.info("%s", words)
            out.summary[each.name] = f"{each.entry.verdict} (AUROC {each.entry.card.auroc.value:.2f})"


def _simple(problems: JudgedProblems, seed: int) -> tuple[list[Score], list[str]]:
    """Scores that need no activation, and the names of those that not every problem has."""
    measured, absent = simple_scores(problems)
    texts, without = text_scores(problems, seed)
    return [*measured, *texts], [*absent, *without]


def _judging(
    evaluation: Evaluation, direction: Direction, layers: Layers, simple: list[Score], drawn: dict[int, int]
) -> Judging:
    """The latent, the baselines and the random latents, each larger for the direction's label, with its threshold."""
    label, layer, latent = direction.positive, direction.layer, direction.latent
    random = [
        evaluation.scored(
            Score(f"{RANDOM}{number}", sign * layers.activations[layer, number], sign).toward(label), label
        )
        for number, sign in drawn.items()
    ]
    return Judging(
        latent=evaluation.scored(Score(LATENT, layers.activations[layer, latent]), label),
        baselines=[evaluation.scored(each.toward(label), label) for each in [*simple, *layers.probe_scores(layer)]],
        random=random,
        stability=layers.selections.stability(direction.name, layer, latent),
    )


def _judged(evaluation: Evaluation, direction: Direction, judging: Judging) -> Judged:
    entry = evaluation.direction(direction.facts, direction.positive, judging)
    probe = next(scored for scored in judging.baselines if scored.score.name == LOGISTIC_REGRESSION)
    positive = evaluation.positive(direction.positive)
    return Judged(direction.name, entry, judging.latent, probe, positive, evaluation.draws)


class Predictions:
    """Columns of predictions.parquet: direction by direction, score by score, hyperparams before validation."""

    def __init__(self, evaluation: Evaluation) -> None:
        problems, parts = evaluation.problems, (evaluation.tuning, evaluation.judging)
        task_ids = np.array(problems.task_ids, dtype=np.int64)
        self._task_id = np.concatenate([task_ids[part] for part in parts])
        self._split = np.concatenate([problems.split[part] for part in parts])
        self._parts: dict[str, list[dict[str, Any]]] = {}

    def add(self, direction: str, scores: list[Scored]) -> None:
        n = len(self._task_id)
        self._parts[direction] = [
            {
                "direction": np.full(n, direction),
                "score": np.full(n, scored.score.name),
                "task_id": self._task_id,
                "split": self._split,
                "value": np.concatenate([scored.tuned, scored.values]),
                "threshold": np.full(n, np.nan if scored.threshold is None else scored.threshold),
            }
            for scored in scores
        ]

    def columns(self, directions: list[str]) -> dict[str, Any]:
        parts = [part for direction in directions for part in self._parts[direction]]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _problems(ctx: RunContext, config: DetectionConfig) -> tuple[JudgedProblems, Samples]:
    split, generations = ctx.read(handoffs.SPLIT), ctx.read(handoffs.GENERATIONS)
    rows = {name: split.table(file) for name, file in SPLIT_FILES.items()}
    problems = judged_problems(rows, generations.table("dataset.parquet"), str(generations.path), config.accept_missing)
    programs: list[dict[str, Any]] = []
    if handoffs.TEMPERATURE.name in ctx.artifacts:
        sampled = ctx.read(handoffs.TEMPERATURE)
        names = sorted(name for name in sampled.manifest["files"] if name.startswith("dataset_temp_"))
        programs = [row for name in names for row in sampled.table(name)]
    samples = judged_samples(programs, problems)
    for name in SPLIT_NAMES:
        incorrect = problems.incorrect[problems.split == name]
        left_out = "".join(f"; left out: {count} {reason}" for reason, count in problems.left_out[name].items())
        ctx.log.info("%s: %d problems, %d incorrect%s", name, len(incorrect), incorrect.sum(), left_out)
    return problems, samples


def _label_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Greedy programs of hyperparams and validation, then the samples by temperature."""
    problems, samples = evaluation.problems, evaluation.samples
    greedy = [
        {
            "task_id": problem["task_id"],
            "split": str(split),
            "temperature": 0.0,
            "sample_index": 0,
            "label": program["label"],
            "complexity": problem["complexity"],
            "stratum": evaluation.stratum_names[stratum],
        }
        for problem, program, split, stratum in zip(
            problems.problems, problems.programs, problems.split, evaluation.stratum, strict=True
        )
        if split != "sae"
    ]
    known = {row["task_id"]: row for row in greedy if row["split"] == "validation"}
    sampled = [
        {**known[row["task_id"]], **{key: row[key] for key in ("temperature", "sample_index", "label")}}
        for rows in samples.by_temperature.values()
        for row in rows
    ]
    return [*greedy, *sampled]


def _document(
    experiment: dict[str, str],
    config: DetectionConfig,
    evaluation: Evaluation,
    judged: list[Judged],
    readings: int,
    absent: list[str],
    layers: Layers,
) -> DetectionDocument:
    problems, samples = evaluation.problems, evaluation.samples
    used = judged[0].entry.baselines
    return DetectionDocument(
        experiment=experiment,
        n={name: int((problems.split == name).sum()) for name in SPLIT_NAMES},
        left_out={**problems.left_out, "samples": samples.left_out},
        seed=config.seed,
        n_resamples=config.n_resamples,
        resamples=DRAWS,
        readings=readings,
        baselines={name: baseline.meaning for name, baseline in BASELINES.items() if name in used},
        baselines_left_out=absent,
        directions={each.name: each.entry for each in judged},
        probes=layers.chosen,
    )


def _words(judged: Judged) -> str:
    """The verdicts of one direction with the numbers that they rest on."""
    entry, area, gain = judged.entry, judged.entry.card.auroc, judged.entry.beyond_difficulty.gain
    stable = entry.stability
    return (
        f"{judged.title}: {entry.verdict}. AUROC {with_bounds(area)}; "
        f"gain over lengths, difficulty and wording {with_bounds(gain, '+.3f')}: "
        f"{entry.beyond_difficulty.verdict}; {entry.against_always.words(entry.positive)}; chosen in "
        f"{stable.same_latent} of {stable.draws} other draws"
    )
