"""Which contrast is studied, in which format and on which pairs: as the gate of phase 6.1b says (chosen.py).

A contrast that the model does not tell apart is refused, unless --force is given here or was given there.
"""

from collections.abc import Sequence

from common import handoffs
from common.handoffs.error_gate import Studied
from common.phases.context import RunContext
from phase6_error_circuits.chosen import studied_by
from phase6_error_circuits.config import StudyConfig
from phase6_error_circuits.pair import ErrorPair, by_shape, chosen, pair_of


def studied_of(ctx: RunContext[StudyConfig]) -> Studied:
    """The contrast that the settings name, which are the gate's where none was typed. Raises: ConfigError."""
    config, gate = ctx.config, ctx.read(handoffs.ERROR_GATE).document()
    return studied_by(gate, config.contrast, config.format, config.force)


def studied_shapes(ctx: RunContext[StudyConfig], studied: Studied, split: str | None) -> list[list[ErrorPair]]:
    """The pairs of each template and shape of what is studied, the largest group first."""
    return _largest_first(_pairs(ctx), studied, split)


def _pairs(ctx: RunContext[StudyConfig]) -> list[ErrorPair]:
    return [pair_of(row) for row in ctx.read(handoffs.ERROR_PAIRS).table("pairs.parquet")]


def null_pairs(ctx: RunContext[StudyConfig], like: ErrorPair) -> list[ErrorPair]:
    """Two clean prompts each, of the template and shape of a pair, from the pairs that select."""
    alike = {"contrast": like.contrast, "format": like.format, "templates": [like.template], "shape": like.shape}
    return chosen(_pairs(ctx), **alike, split="select", kind="null")


def _largest_first(pairs: Sequence[ErrorPair], studied: Studied, split: str | None) -> list[list[ErrorPair]]:
    some = chosen(pairs, contrast=studied.contrast, format=studied.format, templates=studied.templates, split=split)
    return sorted(by_shape(some).values(), key=len, reverse=True)
