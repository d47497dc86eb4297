"""Latents to compare a direction with: of the same SAE, as long and as often active, but with nothing to say.

A control passed the same general-text filter as the direction's latent, fires on about as many problems, and fires as
often on problems that pass as on those that fail. What it does when it is added is what any vector of
the SAE's vocabulary does there.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Int

from common.errors import ConfigError
from common.handoffs.selected import SelectedDocument
from common.handoffs.steering import MATCH_LIMIT, MIN_CONTROLS, Match
from common.interventions.directions import Direction

MAX_SEPARATION = 0.01
LEAST_SPREAD = 1e-3  # of log norms: SAEs whose decoder rows are scaled to length 1 differ by rounding alone


def matched_latents(
    columns: dict[str, np.ndarray], layer: int, latent: int, n_problems: int, k: int, selected: Collection[int] = ()
) -> list[int]:
    """The k controls of one latent, nearest first; fewer where the layer has no more.

    `columns` are those of latents.parquet; `selected` are latents of the layer that were selected themselves. A
    candidate passed the general-text filter, fires on some problem, and has |f_correct - f_incorrect| < 0.01. Distance
    is Euclidean in (log decoder norm, share of the problems on which it fires), each divided by its standard deviation
    over the candidates; ties go to the lower latent.
    """
    own = (columns["layer"] == layer) & (columns["latent"] == latent)
    assert own.sum() == 1, f"latents.parquet has {own.sum()} rows of layer {layer}, latent {latent}"
    rows = _candidate_rows(columns, layer, [latent, *selected])
    if not len(rows):
        return []
    log_norm = np.log(np.maximum(columns["decoder_norm"], np.finfo(np.float64).tiny))
    share = columns["n_active"] / n_problems
    norm_spread, share_spread = max(log_norm[rows].std(), LEAST_SPREAD), share[rows].std() or 1.0
    distance = np.hypot(
        (log_norm[rows] - log_norm[own]) / norm_spread,
        (share[rows] - share[own]) / share_spread,
    )
    order = np.lexsort((columns["latent"][rows], distance))
    return columns["latent"][rows[order[:k]]].tolist()


def _candidate_rows(columns: dict[str, np.ndarray], layer: int, without: Collection[int]) -> Int[np.ndarray, " n"]:
    """Rows of a layer's latents that can be controls: see `matched_latents`."""
    return np.flatnonzero(
        (columns["layer"] == layer)
        & columns["kept"]
        & (columns["n_active"] > 0)
        & (columns["decoder_norm"] > 0)
        & (np.abs(columns["separation"]) < MAX_SEPARATION)
        & ~np.isin(columns["latent"], [*without])
    )


def candidates_of(direction: Direction, columns: dict[str, np.ndarray], selected: SelectedDocument) -> list[int]:
    """The latents that can be controls of a direction, ascending; `selected` is what phase 2 selected.

    Raises: ConfigError when there is none.
    """
    return _some(direction, _candidates(direction, columns, selected))


def controls_of(direction: Direction, columns: dict[str, np.ndarray], selected: SelectedDocument, k: int) -> list[int]:
    """The matched latents of a direction, k or fewer; `selected` is what phase 2 selected.

    Raises: ConfigError when there is none.
    """
    chosen = _selected_there(direction, selected)
    return _some(direction, matched_latents(columns, direction.layer, direction.latent, selected.problems, k, chosen))


def _candidates(direction: Direction, columns: dict[str, np.ndarray], selected: SelectedDocument) -> list[int]:
    without = [direction.latent, *_selected_there(direction, selected)]
    return sorted(columns["latent"][_candidate_rows(columns, direction.layer, without)].tolist())


def _selected_there(direction: Direction, selected: SelectedDocument) -> set[int]:
    entries = [entry for group in selected.directions.values() for entry in group.latents]
    return {entry.latent for entry in entries if entry.layer == direction.layer}


def _some(direction: Direction, latents: list[int]) -> list[int]:
    if not latents:
        raise ConfigError(
            f"no latent of layer {direction.layer} can be a control of {direction.name}: none fires on a problem, has "
            f"|f_correct - f_incorrect| below {MAX_SEPARATION:g} and passes the general-text filter\n"
            f"Run phase 2 on other --layers, or with other SAEs"
        )
    return latents


def match_of(columns: dict[str, np.ndarray], direction: Direction, controls: Sequence[int], n_problems: int) -> Match:
    """How alike the controls are to the direction's latent: firing rate on the problems, decoder norm."""
    place = {
        int(latent): row for row, latent in enumerate(columns["latent"]) if columns["layer"][row] == direction.layer
    }
    measured = {"firing rate": columns["n_active"] / n_problems, "decoder norm": columns["decoder_norm"]}
    own = {name: float(values[place[direction.latent]]) for name, values in measured.items()}
    each = {name: [float(values[place[latent]]) for latent in controls] for name, values in measured.items()}
    return match(own, each)


def match(own: dict[str, float], each: dict[str, list[float]]) -> Match:
    """How alike controls are to a direction, from what was measured of both."""
    factors = {name: [factor(own[name], value) for value in values] for name, values in each.items()}
    worst = {name: None if math.inf in of_one else max(of_one, default=1.0) for name, of_one in factors.items()}
    n_worse = sum(max(of_one) > MATCH_LIMIT for of_one in zip(*factors.values(), strict=True))
    return Match(own=own, each=each, worst=worst, n_worse=n_worse, limit=MATCH_LIMIT)


def factor(one: float, other: float) -> float:
    """By which factor two quantities differ, 1 or more; infinite where one of them is not above zero."""
    low, high = sorted((one, other))
    return high / low if low > 0 else math.inf


def match_words(matched: Match) -> str:
    """'3 of 20 matched latents differ from it by more than a factor of 1.5 (firing rate: up to 3.4)'."""
    n = len(next(iter(matched.each.values())))
    far = [
        f"{name}: {'beyond any factor' if worst is None else f'up to {worst:.2g}'}"
        for name, worst in matched.worst.items()
        if worst is None or worst > matched.limit
    ]
    beside = f" ({', '.join(far)})" if far else ""
    differ = f"{matched.n_worse or 'none'} of {n} matched latents"
    return f"{differ} differ from it by more than a factor of {matched.limit:g}{beside}"


def warn_of_too_few_to_judge(
    directions: Sequence[Direction], columns: dict[str, np.ndarray], selected: SelectedDocument, log: logging.Logger
) -> None:
    """Before hours are spent on coefficients of directions that no phase could judge by them."""
    for direction in directions:
        n = len(_candidates(direction, columns, selected))
        if n < MIN_CONTROLS:
            words = "%s: %d latents of layer %d can be matched controls, and a verdict takes %d"
            log.warning(words, direction.name, n, direction.layer, MIN_CONTROLS)


def warn_of_few(direction: str, n_matched: int, k: int, log: logging.Logger) -> None:
    if n_matched < k:
        log.warning("%s: its layer has %d of %d matched latents", direction, n_matched, k)
    fewest = min(n_matched, k)
    if fewest < MIN_CONTROLS:
        log.warning(
            "%s: first among %d controls of a kind has a rank p of %.2f at best; with %d it is 0.05",
            direction,
            fewest,
            1 / (1 + fewest),
            MIN_CONTROLS,
        )
