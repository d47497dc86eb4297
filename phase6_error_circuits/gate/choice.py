"""Which templates of a contrast go on, and which contrast and format the later phases study.

1. Every template has a verdict of its own, by its pairs that select. The contrast has the best of them, and goes on
   with the templates that have it.
2. Of the contrasts that pass, in whichever format, that is studied whose smaller logit difference is the largest: both
   answers are clear there. Where none passes, that of the WEAK ones between whose prompts the difference is largest;
   with --force, of all.

Held-out pairs have no part in it; what they say of the choice is reported beside it.
"""

from collections.abc import Iterable, Mapping, Sequence

from common.handoffs.error_gate import GateFigures, GateOfContrast, GateResult, GateVerdict, Studied
from common.model.tokenization import TextOfToken
from phase6_error_circuits.gate.figures import Answered, gate_figures
from phase6_error_circuits.pair import NULL, REAL, REPORT, SELECT

ORDER = (GateVerdict.PASS, GateVerdict.WEAK, GateVerdict.STOP)
Contrasts = dict[str, dict[str, GateOfContrast]]  # by name and format


def gate_result(pairs: Sequence[Answered], words: TextOfToken) -> GateResult:
    """Pairs that select, pairs held out, null pairs."""

    def of(kind: str, *splits: str) -> GateFigures | None:
        return gate_figures([one for one in pairs if one.pair.kind == kind and one.pair.split in splits], words)

    select = of(REAL, SELECT)
    assert select is not None, "phase 6.1 keeps no shape without pairs that select"
    return GateResult(select=select, held_out=of(REAL, REPORT), null_pairs=of(NULL, SELECT, REPORT))


def gate_of_contrast(pairs: Sequence[Answered], words: TextOfToken) -> GateOfContrast:
    """All templates of a contrast in one format."""
    names = dict.fromkeys(one.pair.template for one in pairs)
    results = {name: gate_result([one for one in pairs if one.pair.template == name], words) for name in names}
    verdict = min((result.verdict for result in results.values()), key=ORDER.index)
    best = [name for name, result in results.items() if result.verdict is verdict]
    together = gate_result([one for one in pairs if one.pair.template in best], words)
    return GateOfContrast(
        verdict=verdict, templates=best if verdict.goes_on else [], together=together, by_template=results
    )


def clearness(figures: GateFigures) -> float:
    """The smaller of the two logit differences, each in the direction that is right."""
    return min(figures.clean, -figures.corrupted)


def difference(figures: GateFigures) -> float:
    return figures.clean - figures.corrupted


def studied(contrasts: Mapping[str, Mapping[str, GateOfContrast]], force: bool) -> Studied | None:
    """What the later phases study; None where nothing goes on."""
    every = [(name, form, gate) for name, forms in contrasts.items() for form, gate in forms.items()]
    for verdict in ORDER if force else ORDER[:2]:
        of_it = [one for one in every if one[2].verdict is verdict]
        if of_it:
            measure = clearness if verdict is GateVerdict.PASS else difference
            name, form, gate = max(of_it, key=lambda one: measure(one[2].together.select))
            return Studied(
                contrast=name,
                format=form,
                templates=gate.templates or list(gate.by_template),
                verdict=verdict,
                forced=not verdict.goes_on,
            )
    return None


def nearest(gates: Iterable[GateOfContrast]) -> GateOfContrast:
    """The one with the most pairs of which both signs are right."""
    return max(gates, key=lambda gate: gate.together.select.both_signs.rate.known)
