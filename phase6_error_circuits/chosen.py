"""Which contrast is studied, and in which format, as the gate of phase 6.1b says of what is asked for."""

from collections.abc import Iterator
from dataclasses import dataclass

from common.errors import ConfigError, suggestion
from common.handoffs.error_gate import ErrorGateDocument, GateOfContrast, GateVerdict, Studied
from common.words import number, percent

AUTO = "auto"
_ORDER = (GateVerdict.STOP, GateVerdict.WEAK, GateVerdict.PASS)


def studied_by(gate: ErrorGateDocument, contrast: str, form: str, force: bool) -> Studied:
    """What the gate chose where that is asked for, else of what fits the one that is nearest to passing.

    Raises: ConfigError where it is unknown, or the model does not tell its errors apart and neither `force` is given
    nor the gate was forced.
    """
    chosen = gate.studied
    if chosen is not None and contrast in (AUTO, chosen.contrast) and form in (AUTO, chosen.format):
        return chosen
    nearest = _nearest(gate, contrast, form)
    passed = nearest.found
    if not passed.verdict.goes_on and not force:
        one = passed.together.select
        raise ConfigError(
            f"the model {passed.verdict} of {nearest.contrast}, {nearest.format}: both signs are right in "
            f"{percent(one.both_signs.rate)} of {one.n} pairs, the logit difference is {number(one.clean)} after clean "
            f"and {number(one.corrupted)} after corrupted prompts (phase 6.1b)\n"
            f"Give another --contrast, or --force to look at what it has all the same"
        )
    return Studied(
        contrast=nearest.contrast,
        format=nearest.format,
        templates=passed.templates or [*passed.by_template],
        verdict=passed.verdict,
        forced=not passed.verdict.goes_on,
    )


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


def _nearest(gate: ErrorGateDocument, contrast: str, form: str) -> _Candidate:
    """Of the contrasts and formats that fit the settings, the one nearest to passing."""
    known = [*_candidates(gate)]
    fitting = [one for one in known if contrast in (AUTO, one.contrast) and form in (AUTO, one.format)]
    if not fitting:
        names = sorted({f"{one.contrast} {one.format}" for one in known})
        wanted = " ".join(word for word in (contrast, form) if word != AUTO)
        raise ConfigError(
            f"phase 6.1b knows no pairs of '{wanted}'.{suggestion(wanted, names)}\n"
            f"Give a --contrast and --format of these: {', '.join(names)}; or make them with phase 6.1"
        )
    return max(fitting, key=lambda one: one.nearness)


def _candidates(gate: ErrorGateDocument) -> Iterator[_Candidate]:
    for contrast, formats in gate.contrasts.items():
        for form, result in formats.items():
            yield _Candidate(contrast, form, result)
