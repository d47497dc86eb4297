"""From attention by section to the tables, and to what is said of every direction."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from common.handoffs.changes import AttentionMoved, AttentionUnmoved
from common.handoffs.steering import RANDOM_DIRECTION, CoefficientCurve, CoefficientsDocument
from common.interventions.conditions import ITSELF, NONE, UNSTEERED, Condition, steered
from phase3_validation.attention.movement import displaced, movement


def make_conditions(entries: dict[str, CoefficientCurve], n_random: int) -> list[Condition]:
    """Unsteered; then each direction that 3.2 chose a coefficient for, and behind it its random directions."""
    conditions = [UNSTEERED]
    for name, entry in entries.items():
        if entry.chosen:
            place = (entry.chosen.layer, entry.site, entry.chosen.coefficient)
            conditions.append(steered(name, *place))
            conditions += [Condition(name, RANDOM_DIRECTION, index, *place) for index in range(n_random)]
    return conditions


def first_reached(condition: Condition) -> int:
    """The first block whose attention reads what was added: its own only where that stands before the attention."""
    return condition.layer + (condition.site != "resid_pre")


@dataclass(frozen=True)
class Measured:
    """Attention of every condition, the unsteered one first.

    `layers` are those with attention, from the first that is steered on; `sections` those that the prompts have.
    """

    task_ids: Sequence[int]
    conditions: Sequence[Condition]
    layers: Sequence[int]
    sections: Sequence[str]
    attention: Float[np.ndarray, "conditions problems layers heads sections"]

    @property
    def own(self) -> dict[str, int]:
        """Number of the condition that is a direction itself, by its name."""
        return {condition.direction: i for i, condition in enumerate(self.conditions) if condition.control == ITSELF}

    def displaced_by_random(self, direction: str) -> dict[int, Float[np.ndarray, " problems"]]:
        """What each random direction displaces, by its number; none where the direction reaches no attention."""
        reached = [i for i, layer in enumerate(self.layers) if layer >= first_reached(self._condition(direction))]
        wanted = (direction, RANDOM_DIRECTION)
        return {
            condition.control_index: displaced(self.attention[0][:, reached], self.attention[number][:, reached])
            for number, condition in enumerate(self.conditions)
            if (condition.direction, condition.control) == wanted and reached
        }

    def changes_by_random(self, direction: str) -> Float[np.ndarray, "n_random layers heads sections"]:
        """Mean change under each random direction, in the direction's own layer and after."""
        start = sum(layer < self._condition(direction).layer for layer in self.layers)
        wanted = (direction, RANDOM_DIRECTION)
        numbers = [
            n for n, condition in enumerate(self.conditions) if (condition.direction, condition.control) == wanted
        ]
        return (self.attention[numbers] - self.attention[:1]).mean(axis=1)[:, start:]

    def before_and_after(self, direction: str) -> tuple[np.ndarray, np.ndarray, list[int]]:
        """Attention without and with a direction, in its own layer and after, and these layers."""
        start = sum(layer < self._condition(direction).layer for layer in self.layers)
        after = self.attention[self.own[direction]]
        return self.attention[0][:, start:], after[:, start:], list(self.layers[start:])

    def attention_columns(self) -> dict[str, np.ndarray]:
        """The columns of attention.parquet: unsteered, then direction by direction; controls are left out."""
        parts = [self._long(NONE, self.attention[0], self.layers)]
        for direction in self.own:
            _, after, layers = self.before_and_after(direction)
            parts.append(self._long(direction, after, layers))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def control_columns(self) -> dict[str, list]:
        """The columns of controls.parquet: direction by direction, number by number, problem by problem."""
        rows = [
            (task_id, direction, number, float(share))
            for direction in self.own
            for number, shares in self.displaced_by_random(direction).items()
            for task_id, share in zip(self.task_ids, shares, strict=True)
        ]
        names = ("task_id", "direction", "control_index", "displaced")
        return {name: [row[i] for row in rows] for i, name in enumerate(names)}

    def head_control_columns(self) -> dict[str, list]:
        """The columns of head_controls.parquet: direction by direction, number by number."""
        rows = [
            (direction, number, layers[layer], head, self.sections[section], float(change))
            for direction in self.own
            for layers in [self.before_and_after(direction)[2]]
            for (number, layer, head, section), change in np.ndenumerate(self.changes_by_random(direction))
        ]
        names = ("direction", "control_index", "layer", "head", "section", "change")
        return {name: [row[i] for row in rows] for i, name in enumerate(names)}

    def _condition(self, direction: str) -> Condition:
        return self.conditions[self.own[direction]]

    def _long(self, direction: str, attention: np.ndarray, layers: Sequence[int]) -> dict[str, np.ndarray]:
        """One row per number of `attention`, [problems, layers, heads, sections], with what its place stands for."""
        places = np.indices(attention.shape).reshape(4, -1)
        return {
            "task_id": np.asarray(self.task_ids, dtype=np.int64)[places[0]],
            "direction": np.full(attention.size, direction),
            "layer": np.asarray(layers, dtype=np.int64)[places[1]],
            "head": places[2],
            "section": np.array(self.sections, dtype=str)[places[3]],
            "attention": attention.ravel(),
        }


def moved_by(
    measured: Measured,
    coefficients: CoefficientsDocument,
    norms: dict[tuple[int, str], float],
    draws: Float[np.ndarray, "r problems"],
) -> dict[str, AttentionMoved | AttentionUnmoved]:
    """What every direction does to attention."""
    entries: dict[str, AttentionMoved | AttentionUnmoved] = {}
    for name, chosen in coefficients.directions.items():
        facts = {"latent": chosen.latent, "wanted": chosen.wanted, "site": chosen.site}
        if name not in measured.own:
            entries[name] = AttentionUnmoved(**facts, layer=None, coefficient=None, why=chosen.why, moves=[])
            continue
        condition = measured.conditions[measured.own[name]]
        before, after, layers = measured.before_and_after(name)
        by_random = list(measured.displaced_by_random(name).values())
        changes = measured.changes_by_random(name)
        moved = movement(before, after, by_random, changes, layers, measured.sections, first_reached(condition), draws)
        place = {"layer": condition.layer, "coefficient": condition.coefficient}
        entries[name] = AttentionMoved(**facts, **place, norm=norms[condition.layer, condition.site], **vars(moved))
    return entries
