"""Phase 3.1: whether the selected latents tell, before the model writes, that its program will fail.

    python3 run.py phase 3.1 --model google/gemma-2-2b

1. A score is the latent's activation at the last prompt token; simpler scores stand beside it (scores.py).
2. Each score's threshold is the midpoint between two activations with the largest F1 on `hyperparams`.
3. On `validation`, once: metrics with intervals, by difficulty and temperature, a verdict (common/evaluation/).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from common import handoffs
from common.evaluation.bootstrap import DRAWS
from common.handoffs.detection import ALWAYS_POSITIVE, LATENT, LOGISTIC_REGRESSION, DetectionDocument
from common.interventions.directions import Direction, selected_directions
from common.phases.command_line import build_command
from common.phases.context import RunContext
from common.programs.labels import SPLITS, JudgedProblems, Samples, judged_problems, judged_samples
from common.saes.activations import StoredText, layer_activations
from common.saes.encoder import LayerSae
from common.saes.fit import checked_sae
from common.saes.sources import sae_source
from phase3_validation.detection.config import DetectionConfig
from phase3_validation.detection.evaluation import Evaluation, Scored
from phase3_validation.detection.figures import Judged, all_figures
from phase3_validation.detection.scores import MEANING, Score, probe_scores, random_latents, simple_scores
from phase3_validation.readings import note_reading

RANDOM = "random_latent_"


def run(ctx: RunContext, config: DetectionConfig) -> None:
    directions = selected_directions(ctx.read(handoffs.LATENTS))
    problems, samples = _problems(ctx, config)
    source = sae_source(config.sae, config.model, config.sae_revision)
    readings = note_reading(ctx, config.again)  # no number of validation was seen so far
    with ctx.write() as out:
        evaluation = Evaluation(problems, samples, config.n_resamples, config.seed)
        simple, absent = simple_scores(problems)
        if absent:
            ctx.log.info("not every problem has these, so they are no baselines: %s", ", ".join(absent))
        predictions, judged = Predictions(evaluation), {}
        for layer in sorted({direction.layer for direction in directions}):
            own = [direction for direction in directions if direction.layer == layer]
            judged |= _judge_layer(ctx, config, layer, own, source, evaluation, simple, predictions)
        ordered = [judged[direction.name] for direction in directions]
        out.columns("predictions.parquet", predictions.columns([each.name for each in ordered]))
        out.table("labels.parquet", _label_rows(evaluation))
        found = _document(out.identity["experiment"], config, evaluation, ordered, readings, absent)
        out.document("detection.json", found)
        for name, data in all_figures(ordered).items():
            out.file(f"figures/{name}", data)
        out.summary["problems"] = int(evaluation.judging.sum())
        for each in ordered:
            words = _words(each)
            ctx.log.info("%s", words)
            out.summary[each.name] = f"{each.entry.verdict} (AUROC {each.entry.card.auroc.value:.2f})"


def _judge_layer(
    ctx: RunContext,
    config: DetectionConfig,
    layer: int,
    directions: list[Direction],
    source: Any,
    evaluation: Evaluation,
    simple: list[Score],
    predictions: Predictions,
) -> dict[str, Judged]:
    """All directions whose latent is of one layer. Its SAE and activations are gone when this returns."""
    generations, task_ids = ctx.read(handoffs.GENERATIONS), evaluation.problems.task_ids
    rebuild = build_command(handoffs.GENERAL_TEXT, config, ctx.preset, ctx.data_dir)
    text = StoredText(ctx.read(handoffs.GENERAL_TEXT), rebuild)
    sae, _ = checked_sae(source, text, layer, config.accept_bad_fit, ctx.log)
    resid = layer_activations(generations, layer, task_ids)
    baselines = [*simple, *probe_scores(resid, evaluation.problems, config.seed)]
    table = ctx.read(handoffs.LATENTS).columns("latents.parquet")
    drawn = {
        direction.name: random_latents(table, layer, direction.latent, config.n_random_latents, config.seed)
        for direction in directions
    }
    wanted = sorted({latent for random in drawn.values() for latent in random} | {each.latent for each in directions})
    activations = _activations(sae, resid, wanted)
    judged = {}
    for direction in directions:
        label = direction.positive
        latent, beside, random = _scored(evaluation, direction, activations, baselines, drawn[direction.name])
        predictions.add(direction.name, [latent, *beside, *random])
        entry = evaluation.direction(direction.facts, label, latent, beside, random)
        probe = next(scored for scored in beside if scored.score.name == LOGISTIC_REGRESSION)
        judged[direction.name] = Judged(
            direction.name, entry, latent, probe, evaluation.positive(label), evaluation.draws
        )
    return judged


def _scored(
    evaluation: Evaluation,
    direction: Direction,
    activations: dict[int, Any],
    baselines: list[Score],
    random: dict[int, int],
) -> tuple[Scored, list[Scored], list[Scored]]:
    """The latent, the baselines and the random latents, each larger for the direction's label, with its threshold."""
    label = direction.positive
    own = evaluation.scored(Score(LATENT, activations[direction.latent]), label)
    beside = [evaluation.scored(score.toward(label), label) for score in baselines]
    drawn = [
        evaluation.scored(Score(f"{RANDOM}{latent}", sign * activations[latent], sign).toward(label), label)
        for latent, sign in random.items()
    ]
    return own, beside, drawn


def _activations(sae: LayerSae, resid: Any, latents: list[int]) -> dict[int, Any]:
    """Activations of some latents on every problem, [n] float64, by latent."""
    with torch.no_grad():
        chosen = sae.encode(resid)[:, latents].double().numpy()
    return {latent: chosen[:, column] for column, latent in enumerate(latents)}


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
    rows = {name: split.table(f"{name}_{{dataset}}.parquet") for name in SPLITS}
    problems = judged_problems(rows, generations.table("dataset.parquet"), str(generations.path), config.accept_missing)
    programs: list[dict[str, Any]] = []
    if handoffs.TEMPERATURE.name in ctx.artifacts:
        sampled = ctx.read(handoffs.TEMPERATURE)
        names = sorted(name for name in sampled.manifest["files"] if name.startswith("dataset_temp_"))
        programs = [row for name in names for row in sampled.table(name)]
    samples = judged_samples(programs, problems)
    for name in SPLITS:
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
) -> DetectionDocument:
    problems, samples = evaluation.problems, evaluation.samples
    used = judged[0].entry.baselines
    return DetectionDocument(
        experiment=experiment,
        n={name: int((problems.split == name).sum()) for name in SPLITS},
        left_out={**problems.left_out, "samples": samples.left_out},
        seed=config.seed,
        n_resamples=config.n_resamples,
        resamples=DRAWS,
        readings=readings,
        baselines={name: meaning for name, meaning in MEANING.items() if name in used},
        baselines_left_out=absent,
        directions={each.name: each.entry for each in judged},
    )


def _words(judged: Judged) -> str:
    """The verdict of one direction with the numbers that it rests on."""
    entry, area, f1 = judged.entry, judged.entry.card.auroc, judged.entry.card.f1
    always = entry.baselines[ALWAYS_POSITIVE].f1.value
    return (
        f"{judged.title}: {entry.verdict}. AUROC {area.value:.3f} ({area.low:.3f} to {area.high:.3f}), "
        f"F1 {f1.value:.3f} against {always:.3f} of always saying {entry.positive}"
    )
