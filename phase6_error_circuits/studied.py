"""What a later phase works on: the contrast, format and templates that the gate has chosen, and their pairs."""

from collections.abc import Sequence

from common import handoffs
from common.errors import PipelineError
from common.handoffs.error_gate import ErrorGateDocument, Studied
from common.phases.context import RunContext
from common.words import percent
from phase6_error_circuits.pair import ErrorPair, pair_of


def studied_pairs(ctx: RunContext) -> tuple[Studied, list[ErrorPair]]:
    """The choice of the gate, and all pairs of it: real and null ones, of both splits and all shapes.

    Raises: PipelineError where nothing passed the gate.
    """
    artifact = ctx.read(handoffs.ERROR_GATE)
    chosen = choice_in(artifact.document(), artifact.manifest["command"])
    pairs = [pair_of(row) for row in ctx.read(handoffs.ERROR_PAIRS).table("pairs.parquet")]
    return chosen, of_choice(pairs, chosen)


def choice_in(document: ErrorGateDocument, command: str) -> Studied:
    """Raises: PipelineError where the gate has chosen nothing; `command` is what made its run."""
    if document.studied is not None:
        return document.studied
    gate, pairs, best = handoffs.ERROR_GATE.phase, handoffs.ERROR_PAIRS.phase, percent(document.both_signs.rate)
    raise PipelineError(
        f"no two errors passed the gate of phase {gate}: at best {best} of the pairs have both signs right, and what "
        f"carries an answer that the model does not give means little\n"
        f"Give another --model, other --contrasts of phase {pairs}, or go on with: {command} --force"
    )


def of_choice(pairs: Sequence[ErrorPair], chosen: Studied) -> list[ErrorPair]:
    """The pairs of what is studied."""
    return [
        pair
        for pair in pairs
        if (pair.contrast, pair.format) == (chosen.contrast, chosen.format) and pair.template in chosen.templates
    ]
