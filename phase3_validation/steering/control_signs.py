"""Controls treated as the direction was: each gets the sign that is better for it, before it is compared.

Phase 3.2 chose the direction's sign on hyperparams. Beside controls that nobody turned its good way, the best of two
directions would too often be first among them. So every control is added with both signs, at the length of the
direction's coefficient, to a sample of hyperparams that is the same for all, and the better sign goes to validation.

Records of this come first, in tuning.parquet. What follows needs all of them: a slice of later records computes what
is missing of them, whoever's they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from common.handoffs.steering import CoefficientsDocument
from common.interventions.conditions import UNSTEERED, Condition, rows_by_condition
from common.interventions.steered_programs import SteeringPlan
from common.runs.records import RecordWriter
from common.tables import TableRow
from phase3_validation.steering.choice import better_coefficient

TUNING = "tuning.parquet"

ControlConditions = dict[str, dict[str, dict[int, Condition]]]  # by direction, kind and index


@dataclass(frozen=True)
class ControlledPlan:
    """What is run. `coefficients` is what phase 3.2 wrote; `own` is by direction's name; `controls` have its sign.

    A direction without an admissible coefficient is in `coefficients` alone. `tuned_on` are the problems of the sample.
    """

    base: SteeringPlan
    coefficients: CoefficientsDocument
    own: dict[str, Condition]
    controls: ControlConditions
    tuned_on: list[dict[str, Any]]

    @property
    def both_signs(self) -> SteeringPlan:
        """Every control with both signs."""
        both = [each for control in _every(self.controls) for each in (control, turned(control))]
        return replace(self.base, conditions=[UNSTEERED, *both])

    @property
    def n_for_signs(self) -> int:
        """Records of the sample, which come first."""
        return len(self.tuned_on) * len(self.both_signs.conditions) if self.own else 0

    @property
    def n_conditions(self) -> int:
        """Of one problem of validation."""
        return 1 + len(self.own) + sum(1 for _ in _every(self.controls))

    def steering(self, controls: ControlConditions) -> SteeringPlan:
        """Each direction and its controls, which have their signs."""
        conditions = [UNSTEERED]
        for name, own in self.own.items():
            conditions += [own, *_every({name: controls[name]})]
        return replace(self.base, conditions=conditions)


def turned(control: Condition) -> Condition:
    """The same vector with the other sign."""
    return replace(control, coefficient=-control.coefficient)


def controls_with_signs(plan: ControlledPlan, rows: Sequence[TableRow]) -> ControlConditions:
    """The controls, each with its better sign; `rows` are those of tuning.parquet."""
    of_condition: Mapping[Condition, Sequence[TableRow]] = rows_by_condition(rows)

    def signed(name: str, control: Condition) -> Condition:
        after = {each.coefficient: of_condition[each] for each in (control, turned(control))}
        wanted = plan.coefficients.directions[name].wanted
        return replace(control, coefficient=better_coefficient(of_condition[UNSTEERED], after, control.layer, wanted))

    return {
        name: {kind: {i: signed(name, each) for i, each in group.items()} for kind, group in kinds.items()}
        for name, kinds in plan.controls.items()
    }


def saved_rows(out: RecordWriter, n: int) -> list[TableRow]:
    """Those of the first `n` records, which are all on disk."""
    return [out.saved_records[index][TUNING] for index in range(n)]


def _every(controls: ControlConditions) -> Iterator[Condition]:
    for kinds in controls.values():
        for group in kinds.values():
            yield from group.values()
