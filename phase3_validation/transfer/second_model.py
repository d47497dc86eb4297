"""Phase 3.6: whether the same latents, thresholds and coefficients hold elsewhere.

    python3 run.py phase 3.6 --model google/gemma-2-2b --to google/gemma-2-2b-it     # another model of the same shape
    python3 run.py phase 3.6 --model google/gemma-2-2b --to-dataset humaneval        # other problems
    python3 run.py phase 3.6 --to google/gemma-2-2b-it --to-dataset humaneval        # both

"There" is the other model, on the other dataset; what is not given is as it was.

1. The model there writes its own program for every problem of hyperparams and validation, from prompts of the same
   form, and its residual stream at the last prompt token is kept at the layers of the selected latents. Which problems
   of another dataset are which: problems.py.
2. Detection: each latent with the threshold that phase 3.1 found, and with one refitted to the labels there on
   hyperparams, both judged by the labels there on validation.
3. Steering: each direction at the layer and coefficient that phase 3.2 chose in the first model, whose mean norm of
   the residual stream is used too: measuring the other's would be a refit.
"""

import itertools
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from common import handoffs
from common.errors import AssetError, ConfigError
from common.handoffs.changes import TransferDataset, TransferDocument, TransferSite, TransferTarget
from common.handoffs.steering import CoefficientsDocument
from common.interventions.conditions import UNSTEERED, Condition, mean_norms, steered, steering_vectors
from common.interventions.directions import NAMES, Direction, selected_directions
from common.interventions.sampling import spaced
from common.interventions.steered_generation import generate_steered
from common.interventions.steered_rows import steered_draft
from common.model.chat import chat_template_for
from common.model.generation import check_prompts_fit, generate
from common.model.language_model import LanguageModel
from common.phases.context import RunContext
from common.programs.references import check_references
from common.programs.solutions import request_for
from common.programs.writing import Draft, ProgramWriter, batch_by_batch, write_programs
from common.runs.records import RecordWriter
from common.saes.encoder import load_sae
from common.saes.site_check import prompt_fit
from common.saes.sources import sae_source
from phase3_validation.detection.scores import random_latents
from phase3_validation.held_out_use import note_use
from phase3_validation.transfer import figures, findings
from phase3_validation.transfer.config import TransferConfig
from phase3_validation.transfer.detection import TargetProblems
from phase3_validation.transfer.problems import (
    JUDGING,
    SEEN,
    TUNING,
    OtherProblems,
    check_not_trained_on,
    other_problems,
)


@dataclass(frozen=True)
class TransferPlan:
    """What is run. `chosen` is what phase 3.2 wrote; `steered` are the conditions of its directions, by name.

    `other` is the dataset of the splits where it is not the first one.
    `records` holds problem and condition of each record: the unsteered programs of both splits come first.
    """

    directions: list[Direction]
    chosen: CoefficientsDocument
    steered: dict[str, Condition]
    norms: dict[tuple[int, str], float]
    splits: dict[str, list[dict[str, Any]]]
    other: OtherProblems | None
    records: list[tuple[dict[str, Any], Condition]]

    @property
    def layers(self) -> list[int]:
        """Those whose activations are kept."""
        return sorted({direction.layer for direction in self.directions})

    @property
    def n_unsteered(self) -> int:
        return len(self.splits[TUNING]) + len(self.splits[JUDGING])


def plan_of(ctx: RunContext[TransferConfig]) -> TransferPlan:
    chosen = ctx.read(handoffs.COEFFICIENTS).document()
    conditions = {
        name: steered(name, entry.chosen.layer, entry.site, entry.chosen.coefficient)
        for name, entry in chosen.directions.items()
        if entry.chosen and name in NAMES  # fitted directions are the first model's own
    }
    splits, other = splits_of(ctx)
    records = [(problem, UNSTEERED) for name in (TUNING, JUDGING) for problem in splits[name]]
    some = spaced(splits[JUDGING], ctx.config.problems)
    records += [(problem, condition) for condition in conditions.values() for problem in some]
    directions = selected_directions(ctx.read(handoffs.LATENTS))
    return TransferPlan(
        directions, chosen, conditions, mean_norms(ctx.read(handoffs.GENERAL_TEXT)), splits, other, records
    )


def splits_of(ctx: RunContext[TransferConfig]) -> tuple[dict[str, list[dict[str, Any]]], OtherProblems | None]:
    """What tunes and what judges; with the other dataset where it is of one."""

    def own(name: str) -> list[dict[str, Any]]:
        return ctx.read(handoffs.SPLIT).table(handoffs.SPLIT_FILES[name])

    experiment = ctx.config.experiment()
    if "to_dataset" not in experiment:
        return {name: own(name) for name in (TUNING, JUDGING)}, None
    if handoffs.DICTIONARIES.name in ctx.artifacts:
        check_not_trained_on(ctx.read(handoffs.DICTIONARIES), experiment["dataset"], experiment["to_dataset"])
    other = other_problems(ctx.config.to_dataset, [row for name in SEEN for row in own(name)])
    return other.splits, other


def run(ctx: RunContext[TransferConfig], config: TransferConfig) -> None:
    plan = plan_of(ctx)
    readings = note_use(ctx, config.reuse_validation)
    with ctx.write() as out:
        out.conclude = lambda: conclude(ctx, out, plan, readings)
        if plan.other is not None:
            out.details["to_dataset_source"] = plan.other.used.source
        if out.n_wanted:  # the run that only joins what slices left needs no model
            if plan.other is not None:
                failing = check_references(ctx, out, plan.other.used, config.accept_failing_references)
                out.process["failing_references"] = failing
            try:
                write_programs(ctx, out, config.target(), lambda lm: batch_writer(lm, config, plan), earlier={})
            except AssetError as error:
                flag = "--model" if config.target() == config.model else "--to"
                raise AssetError(str(error).replace("--model", flag)) from error


def batch_writer(lm: LanguageModel, config: TransferConfig, plan: TransferPlan) -> ProgramWriter:
    """Writes the programs of a batch of records; unsteered and steered ones are generated apart."""
    source, conditions = sae_source(config.sae, config.model, config.sae_revision), list(plan.steered.values())
    check_same_shape(lm, load_sae(source, plan.layers[0]).d_in, 1 + max(layer for layer, _ in plan.norms), config)
    added = steering_vectors(
        conditions, plan.directions, partial(load_sae, source), plan.norms, seed=config.seed, d_model=lm.d_model
    )
    vector_of = dict(zip(conditions, added, strict=True))
    # The form is that of --model, the words are its own.
    chat = chat_template_for(config.prompt, config.target(), config.target_revision())
    unsteered = [problem for problem, _ in plan.records[: plan.n_unsteered]]
    requests = {problem["task_id"]: request_for(problem, config.seed, chat=chat) for problem in unsteered}
    length_of = dict(zip(requests, check_prompts_fit(lm, list(requests.values())), strict=True))
    steer_prompt, limit = plan.chosen.steer == "all", config.max_new_tokens

    def write(batch: list[int]) -> list[Draft]:
        drafts = []
        for unsteered, group in itertools.groupby(batch, key=lambda index: plan.records[index][1] == UNSTEERED):
            indices = list(group)
            records = [plan.records[index] for index in indices]
            wanted = [requests[problem["task_id"]] for problem, _ in records]
            if unsteered:
                made = [(one, 0.0) for one in generate(lm, wanted, max_new_tokens=limit)]
            else:
                added = [vector_of[condition] for _, condition in records]
                steered = generate_steered(lm, wanted, added, max_new_tokens=limit, steer_prompt=steer_prompt)
                made = [(one.generation, one.trajectory_kl) for one in steered]
            for index, (problem, condition), (generation, kl) in zip(indices, records, made, strict=True):
                tensors = kept_activations(lm, plan.layers, generation.resid_post.get("last"), problem["task_id"])
                drafts.append(
                    steered_draft("steering.parquet", index, problem, condition, generation, kl, tensors=tensors)
                )
        return drafts

    return ProgramWriter(batch_by_batch(write), [length_of[problem["task_id"]] for problem, _ in plan.records])


def kept_activations(lm: LanguageModel, layers: list[int], resid_post: Any, task_id: int) -> dict[str, Any]:
    """The residual stream at the given layers, as phase 1 names it; NaN where there is none.

    Raises: ConfigError when it is not finite.
    """
    if resid_post is not None and not np.isfinite(resid_post[layers]).all():
        raise ConfigError(
            f"the activations of problem {task_id} in {lm.name} are NaN or infinite in {lm.dtype}\n"
            f"Give --dtype bfloat16 or float32"
        )
    none = np.full(lm.d_model, np.nan, dtype=np.float32)
    return {
        f"activations/layer_{layer:02d}/resid_post": none if resid_post is None else resid_post[layer]
        for layer in layers
    }


def check_same_shape(lm: LanguageModel, d_model: int, n_layers: int, config: TransferConfig) -> None:
    if (lm.n_layers, lm.d_model) != (n_layers, d_model):
        raise ConfigError(
            f"{lm.name} has {lm.n_layers} layers of width {lm.d_model}, {config.model} has {n_layers} of {d_model}: "
            f"latents and coefficients of one mean nothing in the other\n"
            f"Give a model of the same shape with --to, such as a fine-tuned one"
        )


def conclude(ctx: RunContext[TransferConfig], out: RecordWriter, plan: TransferPlan, readings: int) -> None:
    """Write predictions, labels, transfer.json and the figure, which follow from all records."""
    config = ctx.config
    if config.threads:  # this process may have loaded no model
        torch.set_num_threads(config.threads)
    rows = out.joined_rows()
    problems = TargetProblems.of(plan.splits, rows[: plan.n_unsteered], config)
    identities = config.experiment()
    names = findings.Names.of(identities)
    sites = judge_latents(ctx, out, plan, problems, names)
    detected = ctx.read(handoffs.DETECTION).document().directions
    steered_at_home = ctx.read(handoffs.STEERING).document().steered
    tuned = {name: entry for name, entry in plan.chosen.directions.items() if name in NAMES}
    steering = findings.steering_entries(rows, plan.n_unsteered, plan.steered, tuned, steered_at_home, plan.norms)
    directions = findings.entries(plan.directions, problems, detected, steering)
    baseline = findings.baseline(detected, problems)
    out.table("predictions.parquet", problems.prediction_rows(detected))
    out.table("labels.parquet", problems.label_rows())
    dataset = None if plan.other is None else dataset_of(plan.other)
    result = TransferDocument(
        experiment=out.identity["experiment"],
        target=TransferTarget(name=names.target, identity=identities["to"], dataset=dataset),
        n=problems.counts,
        left_out=problems.left_out,
        readings=readings,
        seed=config.seed,
        n_resamples=config.n_resamples,
        steer=plan.chosen.steer,
        pass_rate=baseline,
        sites=sites,
        directions=directions,
        sentences=findings.sentences(names, baseline, sites, directions, dataset),
        tables=findings.tables(names, sites, directions),
    )
    out.document("transfer.json", result)
    out.file("figures/transfer.svg", figures.side_by_side(names, directions))
    for sentence in result.sentences:
        ctx.log.info("%s", sentence)
    out.summary = {"target": names.target, "problems": problems.counts[JUDGING], "records": len(rows)}
    out.summary |= {name: findings.in_short(entry) for name, entry in directions.items()}


def dataset_of(other: OtherProblems) -> TransferDataset:
    return TransferDataset(
        identity=other.used.name,
        problems_sha256=other.used.sha256,
        n=other.n,
        n_seen=other.n_seen,
    )


def judge_latents(
    ctx: RunContext[TransferConfig],
    out: RecordWriter,
    plan: TransferPlan,
    problems: TargetProblems,
    names: findings.Names,
) -> list[TransferSite]:
    """Read each layer's activations with its SAE, once; returns what each SAE carries of them, beside that at home.

    Whether the SAEs are of the first model's layers was asked by phase 2; here the question is what they are worth.
    """
    source = sae_source(ctx.config.sae, ctx.config.model, ctx.config.sae_revision)
    sites: list[TransferSite] = []
    table = ctx.read(handoffs.LATENTS).columns("latents.parquet")
    at_home = {site.layer: site.last_prompt_token for site in ctx.read(handoffs.LATENTS).document().sites}
    for layer in plan.layers:
        sae = load_sae(source, layer)
        resid = torch.from_numpy(out.joined_tensor(f"activations/layer_{layer:02d}/resid_post")[: plan.n_unsteered])
        with torch.no_grad():
            latent_acts = sae.encode(resid)
        finite = resid.isfinite().all(dim=1)
        there = prompt_fit(sae, resid[finite], latent_acts[finite])
        sites.append(TransferSite(layer=layer, sae_id=sae.id, **there.as_json(), source=at_home[layer]))
        ctx.log.info("%s at the last prompt token in %s: %s", sae.id, names.target, there)
        for direction in plan.directions:
            if direction.layer == layer:
                activations = latent_acts[:, direction.latent].double().numpy()
                turn = 1 if direction.positive == "incorrect" else -1
                signs = random_latents(table, layer, direction.latent, ctx.config.n_random_latents, ctx.config.seed)
                random = [turn * sign * latent_acts[:, other].double().numpy() for other, sign in signs.items()]
                problems.add(direction, activations, random)
    return sites


def count_records(ctx: RunContext[TransferConfig]) -> int:
    return len(plan_of(ctx).records)
