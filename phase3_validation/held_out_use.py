"""Which selections of latents, and ways to steer with them, were evaluated on a validation split
(common/runs/held_out_log.py).
"""

from typing import Any

from common import handoffs
from common.files import digest_of
from common.interventions.directions import selected_directions
from common.phases.context import RunContext
from common.runs.held_out_log import note


def note_use(ctx: RunContext, reuse: bool) -> int:
    """Note that this run evaluates its selection on its validation split; returns how many selections have by now.

    A reading is of a model's programs for one split; phases that evaluate the same selection share it. What phase
    3.2 chose is part of the selection of those phases that read it: coefficients are not to be tried on validation.
    Raises: ConfigError when another selection was evaluated before, unless `reuse`.
    """
    entry = _entry_of(ctx)

    def refusal(other: dict[str, Any]) -> str:
        return (
            f"the validation split was evaluated with another selection, begun on {other['utc']} "
            f"(phase {other['phase']}: {_words(other)}); this one is {_words(entry)}\n"
            f"Choosing by what validation says makes its figures worthless. Go back to the earlier choice by "
            f"giving its run with --input; or, if you know why you read it again: {ctx.again} --reuse-validation "
            f"(the report will count the readings)"
        )

    return note(ctx.data_dir, entry, reuse, _compatible, refusal)


def _compatible(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether both evaluate the same choices; a phase that does not steer goes with any coefficient."""
    ways = {one["steering"], other["steering"]} - {None}
    return one["selection"] == other["selection"] and len(ways) < 2


def _steering(ctx: RunContext) -> dict[str, Any] | None:
    """What phase 3.2 chose, for a phase that reads it: where, and how much of each direction."""
    if handoffs.COEFFICIENTS.name not in ctx.artifacts:
        return None
    coefficients = ctx.read(handoffs.COEFFICIENTS).document()
    chosen = {
        name: entry.chosen and {**vars(entry.chosen), "site": entry.site}
        for name, entry in coefficients.directions.items()
    }
    return {"steer": coefficients.steer, "chosen": chosen}


def _entry_of(ctx: RunContext) -> dict[str, Any]:
    known, steering = ctx.config.experiment(), _steering(ctx)
    latents = {d.name: [d.layer, d.latent] for d in selected_directions(ctx.read(handoffs.LATENTS))}
    selected = {"sae": known["sae"], "latents": latents}
    return {
        "phase": ctx.phase.id,
        "model": known["model"],
        "dataset": known["dataset"],
        "prompt": known["prompt"],
        "split": ctx.read(handoffs.SPLIT).content_sha256,
        "selection": digest_of(selected),
        **selected,
        "steering": steering and digest_of(steering),
        "how": steering,
    }


def _words(entry: dict[str, Any]) -> str:
    latents = ", ".join(f"{name} {layer}/{latent}" for name, (layer, latent) in entry["latents"].items())
    chosen = (entry["how"] or {"chosen": {}})["chosen"]
    ways = [f"{name} {way and way['coefficient']} at layer {way and way['layer']}" for name, way in chosen.items()]
    return f"{latents} of {entry['sae']}" + (f", steered by {', '.join(ways)}" if ways else "")
