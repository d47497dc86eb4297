"""What every layer is read for: the latents that are judged, a probe of its stream, the selection on other draws.

A layer's SAE and activations are gone when the next one is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from common import handoffs
from common.evaluation import probes
from common.evaluation.probes import CrossFitted
from common.evaluation.stability import Selections, redrawn
from common.handoffs.detection import DIFFERENCE_OF_MEANS, LOGISTIC_REGRESSION, PROBE, ProbeLayers
from common.interventions.directions import Direction
from common.phases.command_line import build_command
from common.phases.context import RunContext
from common.programs.judged_problems import JudgedProblems
from common.saes.activations import StoredText, layer_activations
from common.saes.encoder import load_sae
from common.saes.site_check import checked_sae
from common.saes.sources import SaeSource
from phase3_validation.detection.config import DetectionConfig
from phase3_validation.detection.scores import Score, probe_score, random_latents

N_DRAWS = 10  # of split and selection: enough to see whether one latent stands out


@dataclass(frozen=True)
class Layers:
    """Probes of every layer; means and activations of latents, [n problems], of those that hold a direction."""

    probes: dict[int, CrossFitted]
    means: dict[int, Float[np.ndarray, " n"]]
    activations: dict[tuple[int, int], Float[np.ndarray, " n"]]
    selections: Selections

    @property
    def chosen(self) -> ProbeLayers:
        """The layer that cross-validation on sae prefers; of equal ones the lowest."""
        areas = {layer: probe.cross_validated for layer, probe in self.probes.items()}
        by_name = {str(layer): area for layer, area in areas.items()}
        return ProbeLayers(layer=max(areas, key=areas.__getitem__), cross_validated_auroc=by_name)

    def probe_scores(self, layer: int) -> list[Score]:
        """What a direction of this layer is compared with: two probes of its stream, and that of the chosen layer."""
        best = self.chosen.layer
        return [
            probe_score(LOGISTIC_REGRESSION, self.probes[layer], layer),
            Score(DIFFERENCE_OF_MEANS, self.means[layer]),
            probe_score(PROBE, self.probes[best], best),
        ]


def read_layers(
    ctx: RunContext,
    config: DetectionConfig,
    problems: JudgedProblems,
    source: SaeSource,
    latents: dict[str, np.ndarray],
    wanted: dict[int, list[int]],
) -> Layers:
    """Read every layer that phase 2 analysed. `latents` are the columns of latents.parquet, `wanted` whose latents."""
    rebuild = build_command(handoffs.GENERAL_TEXT, config, ctx.preset, ctx.data_dir)
    text = StoredText(ctx.read(handoffs.GENERAL_TEXT), rebuild)
    looked_at, selects = problems.split != "validation", problems.split == "sae"
    selections = Selections(problems.incorrect[looked_at], _draws(ctx, problems, looked_at, config.seed))
    layers = Layers({}, {}, {}, selections)
    for layer in np.unique(latents["layer"]).tolist():
        if layer in wanted:
            sae, _ = checked_sae(source, text, layer, config.accept_bad_fit, ctx.log)
        else:
            sae = load_sae(source, layer)  # phase 2 has checked it
        resid = layer_activations(ctx.read(handoffs.GENERATIONS), layer, problems.task_ids)
        x = resid.double().numpy()
        layers.probes[layer] = probes.cross_fitted_regression(x, selects, problems.incorrect, config.seed)
        ctx.log.info("layer %d: cross-validated AUROC of a probe %.3f", layer, layers.probes[layer].cross_validated)
        with torch.no_grad():
            latent_acts = sae.encode(resid).numpy()
        if layer in wanted:
            layers.means[layer] = probes.difference_of_means(x, x[selects], problems.incorrect[selects])
            layers.activations.update(
                {(layer, latent): latent_acts[:, latent].astype(np.float64) for latent in wanted[layer]}
            )
        here = latents["layer"] == layer
        kept = np.zeros(latent_acts.shape[1], dtype=bool)
        kept[latents["latent"][here & latents["kept"]]] = True
        selections.add(layer, latent_acts[looked_at], kept)
    return layers


def drawn_latents(
    directions: Sequence[Direction], latents: dict[str, np.ndarray], n: int, seed: int
) -> dict[str, dict[int, int]]:
    """Random latents of each direction's layer with their signs, by the direction's name."""
    return {each.name: random_latents(latents, each.layer, each.latent, n, seed) for each in directions}


def wanted_latents(directions: Sequence[Direction], drawn: dict[str, dict[int, int]]) -> dict[int, list[int]]:
    """Selected and random latents of each layer that holds a direction, ascending."""
    latents_of: dict[int, set[int]] = {}
    for each in directions:
        latents_of.setdefault(each.layer, set()).update({each.latent, *drawn[each.name]})
    return {layer: sorted(indices) for layer, indices in latents_of.items()}


def _draws(ctx: RunContext, problems: JudgedProblems, looked_at: Bool[np.ndarray, " n"], seed: int) -> np.ndarray:
    task_ids = np.array(problems.task_ids)[looked_at]
    n_selected = int((problems.split == "sae").sum())
    seeds = [[seed, draw] for draw in range(N_DRAWS)]
    return redrawn(problems.complexity[looked_at].astype(float), _groups(ctx, task_ids), n_selected, seeds)


def _groups(ctx: RunContext, task_ids: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """A number for each problem, which near duplicates share."""
    groups: list[Any] = ctx.read(handoffs.SPLIT).document().groups
    together = {task_id: min(group.task_ids) for group in groups for task_id in group.task_ids}
    return np.array([together.get(task_id, task_id) for task_id in task_ids.tolist()])
