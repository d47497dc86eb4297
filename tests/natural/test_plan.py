"""Covers natural.plan and natural.screening: what designs cost and could find, and which direction is judged."""

import functools

import numpy as np
import pytest
from documents import made
from scipy.stats import binomtest

from common.errors import ConfigError, MissingArtifactError
from common.handoffs.steering import CoefficientCurve, CoefficientsDocument, CurvePoint, LayerAndCoefficient
from natural import plan
from natural.screening import chosen_direction, screened


@pytest.mark.parametrize("budget", [3000, 8000, 40_000])
def test_a_design_has_the_most_problems_that_its_programs_are_enough_for(budget):
    found = list(plan.designs(budget, 388))
    assert found
    for design in found:
        more = plan.Design(design.n_directions, design.n_controls, design.n_problems + 1)
        assert design.n_programs <= budget
        assert more.n_programs > budget or design.n_problems == 388


def test_programs_are_those_that_the_phases_write():
    design = plan.Design(n_directions=1, n_controls=19, n_problems=10)
    screening, again = 48 * (1 + 4 * 4), 48 * (1 + 4)
    signs, judging = 12 * (1 + 2 * 38), 10 * (1 + 1 + 38)
    assert design.n_programs == screening + again + signs + judging
    assert plan.Design(4, 19, 10).before_judging == screening + 12 * (1 + 2 * 4 * 38)


def test_the_smallest_effect_is_found_in_four_of_five_runs_drawn_program_by_program():
    """An own simulation, without a library of ours: each program is corrected, corrupted or left."""
    p_of = functools.cache(lambda gained, changed: binomtest(gained, changed).pvalue if changed else 1.0)
    design, changed, rng = plan.Design(1, 19, 150), 0.03, np.random.default_rng(0)
    effect = plan.smallest_effect(design, changed)
    spread = np.hypot(np.sqrt(2 * changed / 150), plan.OWN_SPREAD)

    def share(effect: float) -> float:
        found = []
        for _ in range(1500):
            drawn = rng.choice(3, size=150, p=[effect + changed, changed, 1 - effect - 2 * changed])
            gained, lost = (drawn == 0).sum(), (drawn == 1).sum()
            best = rng.normal(0, spread, size=38).max()
            found.append(
                p_of(int(gained), int(gained + lost)) < 0.05 and gained > lost and (gained - lost) / 150 > best
            )
        return float(np.mean(found))

    assert share(effect) > 0.77 and share(effect - plan.STEP) < 0.83


def curve(*points: tuple[float, float]) -> list[CurvePoint]:
    return [
        made(CurvePoint, {"layer": 3, "coefficient": c, "net_change": {"value": net, "low": net, "high": net}})
        for c, net in points
    ]


def document(**directions: CoefficientCurve) -> CoefficientsDocument:
    return made(CoefficientsDocument, {"directions": directions})


def tuned(wanted: str, chosen: float | None, *points: tuple[float, float]) -> CoefficientCurve:
    dose = None if chosen is None else LayerAndCoefficient(layer=3, coefficient=chosen)
    return made(CoefficientCurve, {"wanted": wanted, "curve": curve(*points), "chosen": dose})


def test_the_direction_with_the_largest_wanted_change_is_judged():
    found = document(
        steer_correct=tuned("raise", 0.3, (0.3, 0.02), (-0.3, 0.9)),
        steer_incorrect=tuned("lower", -0.3, (-0.3, -0.10), (0.3, 0.2)),
        probe=tuned("raise", 0.15, (0.15, 0.08)),
    )
    assert chosen_direction(found) == "steer_incorrect"


def test_a_direction_that_breaks_every_output_is_not_judged():
    found = document(steer_correct=tuned("raise", None, (0.3, 0.5)), probe=tuned("raise", 0.15, (0.15, -0.02)))
    assert chosen_direction(found) == "probe"
    with pytest.raises(ConfigError, match="coefficients"):
        chosen_direction(document(steer_correct=tuned("raise", None, (0.3, 0.5))))


def test_a_folder_without_phase_3_2_says_so(tmp_path):
    with pytest.raises(MissingArtifactError, match=r"3\.2"):
        screened(tmp_path)
