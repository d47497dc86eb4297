"""Four directions, each a latent with its runner-ups, and words on what is significant.

- predict_incorrect, predict_correct: the largest t, the smallest t;
- steer_incorrect, steer_correct: the largest difference of firing fractions, to either side.

Only latents that passed the general-text filter are ranked, and only those whose statistic has the
direction's sign. Ties go to the larger |t|, then to the lower layer and latent. Whether a direction is
significant is told by its latent's family-wise p, which is that of its t in all four. The best of those that the
filter left out stands beside each, so that what the filter costs is seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import false_discovery_control

from common.evaluation.permutation import family_wise_p
from common.evaluation.statistics import ALPHA
from common.handoffs.selected import LeftOutLatent, RankedLatent, SelectedDirection, SelectedLatent
from common.words import p_words

N_OF_A_DIRECTION = 20
N_TOP_PROBLEMS = 10

DIRECTIONS = {  # name -> column, sign that it must have, words
    "predict_incorrect": ("t", 1, "largest Welch t: more active on problems that fail"),
    "predict_correct": ("t", -1, "smallest Welch t: more active on problems that pass"),
    "steer_incorrect": ("separation", -1, "largest f_incorrect - f_correct: fires on more of the problems that fail"),
    "steer_correct": ("separation", 1, "largest f_correct - f_incorrect: fires on more of the problems that pass"),
}
STATISTICS = (
    "n_active", "f_correct", "f_incorrect", "separation", "t", "t_active", "df", "p", "q", "p_max", "auroc",
    "general_text_rate", "decoder_norm", "undecided",
)  # fmt: skip


def best(columns: dict[str, np.ndarray], direction: str, n: int = N_OF_A_DIRECTION, *, kept: bool = True) -> np.ndarray:
    """Rows of the latents that have the direction most, best first; fewer than `n` when no more have its sign.

    They are those that passed the filter or, unless `kept`, those that it left out.
    """
    column, sign, _ = DIRECTIONS[direction]
    strength = sign * columns[column]
    rows = np.flatnonzero((columns["kept"] == kept) & (strength > 0))
    order = np.lexsort((rows, -np.abs(columns["t"][rows]), -strength[rows]))
    return rows[order[:n]]


def add_family_statistics(columns: dict[str, np.ndarray], null_maximum: np.ndarray) -> None:
    """Add p_max over the kept latents of all layers, and q (Benjamini-Hochberg) over those of them that fire.

    NaN for the others.
    """
    kept, family = columns["kept"], in_family(columns)
    columns["q"], columns["p_max"] = np.full(len(kept), np.nan), np.full(len(kept), np.nan)
    if family.any():
        columns["q"][family] = false_discovery_control(columns["p"][family])
    if kept.any():
        columns["p_max"][kept] = family_wise_p(np.abs(columns["t"][kept]), null_maximum)


def in_family(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Which latents could be found at all: they passed the filter, and fire on a problem."""
    return columns["kept"] & (columns["n_active"] > 0)


def directions(
    columns: dict[str, np.ndarray],
    sae_ids: dict[int, str],
    limits: dict[int, float],
    url: Callable[[int, int], str | None],
) -> dict[str, SelectedDirection]:
    """The four directions; `sae_ids` and general-text `limits` by layer.

    `url` gives the page of a layer's latent on Neuronpedia, where it has one.
    """
    selected = {}
    for name, (_, _, criterion) in DIRECTIONS.items():
        latents = [
            SelectedLatent(
                rank=rank,
                layer=(layer := int(columns["layer"][row])),
                latent=(latent := int(columns["latent"][row])),
                sae_id=sae_ids[layer],
                neuronpedia=url(layer, latent),
                **{key: _json_number(columns[key][row]) for key in STATISTICS},
                significant=bool(columns["p_max"][row] <= ALPHA),
            )
            for rank, row in enumerate(best(columns, name), start=1)
        ]
        significant = bool(latents) and latents[0].significant
        selected[name] = SelectedDirection(
            criterion=criterion,
            significant=significant,
            conclusion=_of_direction(latents),
            latents=latents,
            left_out=_best_left_out(columns, name, limits),
        )
    return selected


def ranked_latent(columns: dict[str, np.ndarray], row: int) -> RankedLatent:
    """What is said of a latent wherever it stands, kept or not."""
    return RankedLatent(**{name: _json_number(columns[name][row]) for name in RankedLatent.__dataclass_fields__})


def _best_left_out(columns: dict[str, np.ndarray], direction: str, limits: dict[int, float]) -> LeftOutLatent | None:
    """The best latent that the filter took away from a direction; None where it took none that has its sign."""
    left_out, kept = best(columns, direction, 1, kept=False), best(columns, direction, 1)
    if not len(left_out):
        return None
    strength = np.abs(columns[DIRECTIONS[direction][0]])
    latent = ranked_latent(columns, int(left_out[0]))
    stronger = not len(kept) or bool(strength[left_out[0]] > strength[kept[0]])
    return LeftOutLatent(**vars(latent), limit=limits[latent.layer], stronger=stronger)


def conclusion(columns: dict[str, np.ndarray], null_maximum: np.ndarray) -> str:
    """What the family-wise test says, in words made from the numbers."""
    kept = np.flatnonzero(columns["kept"])
    if not len(kept):
        return "Nothing can be selected: every latent fires too often on general text."
    n_significant, n_firing = int((columns["p_max"][kept] <= ALPHA).sum()), int(in_family(columns).sum())
    top = kept[np.argmax(np.abs(columns["t"][kept]))]
    n_layers = len(np.unique(columns["layer"][kept]))
    line = np.quantile(null_maximum, 1 - ALPHA)
    p = p_words(float(columns["p_max"][top]))
    facts = (
        f"the largest |t| among those that pass the general-text filter is {abs(columns['t'][top]):.2f} (layer "
        f"{columns['layer'][top]}, latent {columns['latent'][top]}; family-wise {p}), and with permuted labels the "
        f"largest of all reaches {line:.2f} in {100 * ALPHA:g} % of {len(null_maximum):,} permutations"
    )
    family = f"{n_firing:,} latents that fire in {n_layers} layer{'s' if n_layers > 1 else ''}"
    if n_significant == 0:
        return f"Nothing is significant: of {family}, {facts}."
    verb = "is" if n_significant == 1 else "are"
    return f"{n_significant:,} of {family} {verb} significant at a family-wise {ALPHA:g}: {facts}."


def top_problems(
    selected: dict[str, SelectedDirection],
    activations: dict[tuple[int, int], np.ndarray],
    task_ids: list[int],
    texts: list[str],
    pass_rate: np.ndarray,
) -> list[dict[str, Any]]:
    """The ten problems on which each selected latent is most active, of those on which it fires."""
    rows = []
    for direction, entry in selected.items():
        for latent in entry.latents:
            values = activations[latent.layer, latent.latent]
            places = [i for i in np.argsort(-values, kind="stable")[:N_TOP_PROBLEMS] if values[i] > 0]
            rows += [
                {
                    **_named(direction, latent),
                    "place": place,
                    "task_id": task_ids[i],
                    "activation": float(values[i]),
                    "pass_rate": float(pass_rate[i]),
                    "text": texts[i],
                }
                for place, i in enumerate(places, start=1)
            ]
    return rows


def _named(direction: str, latent: SelectedLatent) -> dict[str, Any]:
    return {"direction": direction, "rank": latent.rank, "layer": latent.layer, "latent": latent.latent}


def _of_direction(latents: list[SelectedLatent]) -> str:
    if not latents:
        return "No latent has this direction."
    first = latents[0]
    t = "infinite" if first.t is None else f"{first.t:.2f}"
    word = "significant" if first.significant else "not significant"
    return (
        f"Layer {first.layer}, latent {first.latent}: t = {t}, separation {first.separation:+.3f}, "
        f"family-wise {p_words(first.p_max)}, {word} at {ALPHA:g}."
    )


def _json_number(value: Any) -> Any:
    """JSON has neither NaN nor infinity: null stands for both."""
    number = value.item()
    return number if math.isfinite(number) else None
