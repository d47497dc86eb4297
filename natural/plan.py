"""What steering could find with a number of programs, from the simulation that phase 3.3 judges its nulls by.

    python3 -m natural.plan --page docs/natural/plan.md

A design is how many directions are steered, against how many controls of each kind, on how many problems. It is settled
before phase 3.2 runs, when nothing is known of the effect and the controls are a guess: so the smallest effect that
would be found in 80 % of runs is given for several guesses.

1. Programs: phase 3.2 screens four directions with every coefficient on problems that tune, and once more those that
   are steered; phase 3.3 writes there with both signs of every control, and then, on the problems that judge, each
   direction and each control with its better sign.
2. The verdict as in phase 3.3: McNemar, Holm over the directions, and beyond every control. Its simulation is that of
   common/interventions/power.py.
3. A guess: the share of programs that a control changes each way. Net changes of controls differ by what that share
   makes of chance, and by one point more.
"""

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.cli import Parser, exit_with, new_log
from common.errors import ConfigError
from common.handoffs.steering import MIN_CONTROLS
from common.interventions.power import ENOUGH, SEED, STEP, simulate
from natural.page import fill
from natural.tables import table

BUDGET, JUDGING = 8000, 388  # programs in all; problems of MBPP held for reporting
KINDS = 2  # of controls: matched latents, random directions
SCREENED = 4  # directions of phase 3.2: two latents, the difference of means, the probe
COEFFICIENTS = (
    -0.3,
    -0.15,
    0.15,
    0.3,
)  # in norms of the stream: at 0.1 the pilot saw nothing, at 0.5 broken output
TRIED_ON, SIGNS_ON = 48, 12  # problems of phase 3.2; problems on which a control gets its better sign
DIRECTIONS, CONTROLS = (1, 2, 4), (MIN_CONTROLS, 40)
CHANGED = (0.01, 0.03, 0.06)  # share of programs that a control corrects, and corrupts
OWN_SPREAD = 0.01  # what controls differ by besides chance
HIGHEST = 0.5  # effects that are looked at


@dataclass(frozen=True)
class Design:
    """How many of everything; `n_problems` judge."""

    n_directions: int
    n_controls: int
    n_problems: int

    @property
    def n_programs(self) -> int:
        return self.before_judging + self.n_problems * self.of_a_problem

    @property
    def before_judging(self) -> int:
        """Programs of phase 3.2, and those that give each control its sign."""
        again = [self.n_directions] if self.n_directions < SCREENED else []
        tried = sum(TRIED_ON * (1 + n * len(COEFFICIENTS)) for n in (SCREENED, *again))
        return tried + SIGNS_ON * (1 + 2 * self._n_controls)

    @property
    def of_a_problem(self) -> int:
        return 1 + self.n_directions + self._n_controls

    @property
    def _n_controls(self) -> int:
        return self.n_directions * KINDS * self.n_controls


def designs(budget: int, n_judging: int) -> Iterator[Design]:
    """For each number of directions and controls, the most problems that the programs are enough for."""
    for n_directions in DIRECTIONS:
        for n_controls in CONTROLS:
            empty = Design(n_directions, n_controls, 0)
            n_problems = min(n_judging, (budget - empty.before_judging) // empty.of_a_problem)
            if n_problems > 0:
                yield Design(n_directions, n_controls, n_problems)


def settled() -> Design:
    """The design of docs/natural/plan.md: the first, which finds the smallest effect."""
    return next(designs(BUDGET, JUDGING))


def smallest_effect(design: Design, changed: float) -> float | None:
    """The smallest effect that would be found in 80 % of runs, as a share of the problems; None where none would."""
    spread = math.hypot(math.sqrt(2 * changed / design.n_problems), OWN_SPREAD)
    kinds = [_spread_out(design.n_controls, spread)] * KINDS
    for step in range(1, round(HIGHEST / STEP) + 1):
        generator = np.random.default_rng(SEED)
        is_found = simulate(design.n_problems, step * STEP, changed, kinds, design.n_directions, generator)
        if is_found.mean() >= ENOUGH:
            return step * STEP
    return None


def _spread_out(n: int, spread: float) -> np.ndarray:
    """Net changes of `n` controls, with a mean of zero and this standard deviation."""
    line = np.linspace(-1.0, 1.0, n)
    return line * spread / line.std(ddof=1)


def plan_table(budget: int, n_judging: int) -> str:
    columns = ["directions", "controls of each kind", "problems that judge", "programs in all"]
    columns += [f"controls change {100 * changed:.0f} % each way" for changed in CHANGED]
    rows = []
    for design in designs(budget, n_judging):
        counts = (design.n_directions, design.n_controls, design.n_problems, design.n_programs)
        rows.append([*map(str, counts), *(_points(smallest_effect(design, changed)) for changed in CHANGED)])
    return table(columns, rows)


def _points(effect: float | None) -> str:
    return "none" if effect is None else f"{100 * effect:.0f} points"


def main(argv: list[str]) -> int:
    parser = Parser(prog="-m natural.plan", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=BUDGET, help=f"programs in all (default: {BUDGET})")
    parser.add_argument("--judging", type=int, default=JUDGING, help=f"problems that may judge (default: {JUDGING})")
    parser.add_argument("--page", type=Path, help="page whose table 'steering designs' is filled")
    args = parser.parse_args(argv)
    if min(args.programs, args.judging) < 1:
        raise ConfigError(f"--programs is {args.programs}, --judging {args.judging}\nGive 1 or more of each")
    designs = plan_table(args.programs, args.judging)
    if args.page:
        fill(args.page, {"steering designs": designs})
    else:
        new_log().info("\n%s", designs)
    return 0


if __name__ == "__main__":
    exit_with(main)
