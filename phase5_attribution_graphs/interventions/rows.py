"""Rows of effects.parquet: one for each change of a prompt's run."""

from typing import Any

from common.tables import TableRow
from phase5_attribution_graphs.interventions.measuring import Effects

ZERO, MEAN, INHIBIT, ZERO_EACH = "zero", "mean", "inhibit", "zero_each"
PATCH, PATCH_BACK, STEER = "patch", "patch_back", "steer"
NONE, UNKNOWN = -1, float("nan")


def effect_row(
    intervention: str, named: str, fixed: str, n_latents: int, effects: Effects, number: int, whole: float, **more: Any
) -> TableRow:
    """`number` is the change's place in `effects`, `whole` the difference that `share` is a share of."""
    effect = float(effects.capped[number])
    return {
        "intervention": intervention,
        "set": named,
        "fixed": fixed,
        "n_latents": n_latents,
        "layer": NONE,
        "pos": NONE,
        "latent": NONE,
        "coefficient": UNKNOWN,
        "source_record": NONE,
        "effect": effect,
        "effect_before_cap": float(effects.before_cap[number]),
        "whole": whole,
        "share": effect / whole if whole else UNKNOWN,
        "rank": NONE,
        "n_nulls": NONE,
        "p": UNKNOWN,
        **more,
    }
