"""Which contrast is studied, in which format and on which pairs: as the gate of phase 6.1b says.

A contrast that the model does not tell apart is refused, unless --force is given here or was given there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from common import handoffs
from common.errors import ConfigError, suggestion
from common.handoffs.error_gate import ErrorGateDocument, GateOfContrast, GateVerdict, Studied
from common.phases.context import RunContext
from common.words import number, percent
from phase6_error_circuits.config import AUTO, StudyConfig
from phase6_error_circuits.pair import ErrorPair, by_shape, chosen, pair_of

_ORDER = (GateVerdict.STOP, GateVerdict.WEAK, GateVerdict.PASS)


def studied_of(ctx: RunContext[StudyConfig]) -> Studied:
    """The contrast that is asked for, else the one that the gate chose.

    Raises: ConfigError where it is unknown, or the model does not tell its errors apart and --force is not given.
    """
    config, gate = ctx.config, ctx.read(handoffs.ERROR_GATE).document()
    if config.contrast == AUTO and config.format == AUTO and gate.studied is not None:
        return gate.studied
    contrast, form, found = _nearest(config, gate)
    if not found.verdict.goes_on and not config.force:
        one = found.together.select
        raise ConfigError(
            f"the model {found.verdict} of {contrast}, {form}: both signs are right in "
            f"{percent(one.both_signs.rate)} of {one.n} pairs, the logit difference is {number(one.clean)} after clean "
            f"and {number(one.corrupted)} after corrupted prompts (phase 6.1b)\n"
            f"Give another --contrast, or --force to look at what it has all the same"
        )
    return Studied(
        contrast=contrast,
        format=form,
        templates=found.templates or [*found.by_template],
        verdict=found.verdict,
        forced=not found.verdict.goes_on,
    )


def studied_shapes(ctx: RunContext[StudyConfig], studied: Studied, split: str | None) -> list[list[ErrorPair]]:
    """The pairs of each template and shape of what is studied, the largest group first."""
    return _largest_first(_pairs(ctx), studied, split)


def _pairs(ctx: RunContext[StudyConfig]) -> list[ErrorPair]:
    return [pair_of(row) for row in ctx.read(handoffs.ERROR_PAIRS).table("pairs.parquet")]


def null_pairs(ctx: RunContext[StudyConfig], like: ErrorPair) -> list[ErrorPair]:
    """Two clean prompts each, of the template and shape of a pair, from the pairs that select."""
    own = {"contrast": like.contrast, "format": like.format, "templates": [like.template], "shape": like.shape}
    return chosen(_pairs(ctx), **own, split="select", kind="null")


def _largest_first(pairs: Sequence[ErrorPair], studied: Studied, split: str | None) -> list[list[ErrorPair]]:
    own = chosen(pairs, contrast=studied.contrast, format=studied.format, templates=studied.templates, split=split)
    return sorted(by_shape(own).values(), key=len, reverse=True)


@dataclass(frozen=True)
class _Candidate:
    contrast: str
    format: str
    found: GateOfContrast

    @property
    def nearness(self) -> tuple[int, float, float]:
        """How near to passing it is."""
        one = self.found.together.select
        return _ORDER.index(self.found.verdict), one.both_signs.rate.value or 0, one.clean_above.rate.value or 0


def _nearest(config: StudyConfig, gate: ErrorGateDocument) -> tuple[str, str, GateOfContrast]:
    """Of the contrasts and formats that fit the settings, the one nearest to passing."""
    known = [*_candidates(gate)]
    fitting = [one for one in known if config.contrast in (AUTO, one.contrast) and config.format in (AUTO, one.format)]
    if not fitting:
        names = sorted({f"{one.contrast} {one.format}" for one in known})
        wanted = " ".join(word for word in (config.contrast, config.format) if word != AUTO)
        raise ConfigError(
            f"phase 6.1b knows no pairs of '{wanted}'.{suggestion(wanted, names)}\n"
            f"Give a --contrast and --format of these: {', '.join(names)}; or make them with phase 6.1"
        )
    best = max(fitting, key=lambda one: one.nearness)
    return best.contrast, best.format, best.found


def _candidates(gate: ErrorGateDocument) -> Iterator[_Candidate]:
    for contrast, formats in gate.contrasts.items():
        for form, found in formats.items():
            yield _Candidate(contrast, form, found)
