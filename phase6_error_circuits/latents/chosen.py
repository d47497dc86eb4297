"""Which contrasts phases 6.3 to 6.5 look at, of those that the gate of phase 6.1b lets through."""

from dataclasses import dataclass

from common.errors import ConfigError, suggestion
from common.handoffs.error_gate import ErrorGateDocument, GateVerdict
from phase6_error_circuits.pair import FORMATS

STUDIED, PASSING = "studied", "passing"


@dataclass(frozen=True)
class Chosen:
    """A contrast in one format, with the templates of it that go on."""

    contrast: str
    format: str
    templates: tuple[str, ...]


def chosen_contrasts(gate: ErrorGateDocument, wanted: tuple[str, ...]) -> list[Chosen]:
    """What the gate lets through of what is wanted: the studied contrast, then the others in the gate's order.

    Raises: ConfigError.
    """
    studied = gate.studied
    if studied is None:
        raise ConfigError(
            f"the model passes the gate of phase 6.1b with none of {len(gate.contrasts)} contrasts: there is no right "
            f"answer to explain\nGive other contrasts to phase 6.1 with --contrasts, or go on all the same with: "
            f"python3 run.py phase 6.1b --force"
        )
    first = [Chosen(studied.contrast, studied.format, tuple(studied.templates))]
    if wanted == (STUDIED,):
        return first
    for name in () if wanted == (PASSING,) else wanted:
        if name not in gate.contrasts:
            raise ConfigError(
                f"--contrasts is '{name}', which phase 6.1b does not know.{suggestion(name, [*gate.contrasts])}\n"
                f"Give {STUDIED}, {PASSING}, or some of: {', '.join(gate.contrasts)}"
            )
    names = [name for name in gate.contrasts if wanted == (PASSING,) or name in wanted]
    others = [one for name in names if name != studied.contrast and (one := _best(gate, name)) is not None]
    wants_studied = wanted == (PASSING,) or studied.contrast in names
    every = [*(first if wants_studied else []), *others]
    if not every:
        raise ConfigError(
            f"--contrasts is '{','.join(wanted)}', and the model does not tell these apart\n"
            f"Give {STUDIED}, which is {studied.contrast}, or {PASSING}"
        )
    return every


def _best(gate: ErrorGateDocument, name: str) -> Chosen | None:
    """The format in which a contrast passes with most pairs, else in which it goes on at all."""
    usable = [form for form in FORMATS if form in gate.contrasts[name] and gate.contrasts[name][form].verdict.goes_on]
    if not usable:
        return None

    def rank(form: str) -> tuple[bool, float]:
        gated = gate.contrasts[name][form]
        return gated.verdict is GateVerdict.PASS, gated.together.select.both_signs.rate.value or 0.0

    best = max(usable, key=rank)
    return Chosen(name, best, tuple(gate.contrasts[name][best].templates))
