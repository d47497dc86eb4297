"""Pairs whose tokens mean the same place by place, null pairs among their clean prompts, and what lengths tell.

A circuit is found place by place, so pairs are of use together only if the roles of their tokens and their named
positions are the same. Within one shape the length of a part may tell which prompt is the corrupted one: where a
bracket is missing, something else has to be longer. So several shapes are kept, and how much lengths tell is reported.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from common.handoffs.error_pairs import PartLengths, ShapeOfPairs
from phase6_error_circuits.pair import REPORT, SELECT, SPLITS
from phase6_error_circuits.pairs.alignment import Aligned

TOO_FEW, FURTHER = "of a shape with too few pairs", "of further shapes"


@dataclass(frozen=True)
class Shape:
    """Real pairs of one shape, and null pairs: the places of two of them, whose clean prompts make one."""

    pairs: list[Aligned]
    nulls: list[tuple[int, int]]

    def described(self) -> ShapeOfPairs:
        first, splits = self.pairs[0], Counter(pair.draw.split for pair in self.pairs)
        return ShapeOfPairs(
            n_tokens=len(first.clean_ids),
            select=splits[SELECT],
            held_out=splits[REPORT],
            null_pairs=len(self.nulls),
            roles=first.roles,
            positions=first.positions,
        )


def shapes_of(
    pairs: Iterable[Aligned], changed: Sequence[str], fewest: int, n_shapes: int, refused: Counter[str]
) -> list[Shape]:
    """The most frequent shape, and those with which the lengths of the `changed` parts tell least.

    Shapes have `fewest` pairs or more, and half of that in each split; pairs of others are counted in `refused`.
    """
    groups: defaultdict[object, list[Aligned]] = defaultdict(list)
    for pair in pairs:
        groups[pair.shape].append(pair)
    large = [group for group in groups.values() if _is_large(group, fewest)]
    refused.update({TOO_FEW: sum(map(len, groups.values())) - sum(map(len, large))})
    left = sorted(large, key=len, reverse=True)
    kept, left = left[:1], left[1:]
    while left and len(kept) < n_shapes:
        together = [pair for group in kept for pair in group]
        told = [sum(_tells(role, [*together, *group]) for role in changed) for group in left]
        kept.append(left.pop(told.index(min(told))))  # the most frequent of equals
    refused.update({FURTHER: sum(map(len, left))})
    return [Shape(group, null_pairs(group)) for group in kept]


def _is_large(group: Sequence[Aligned], fewest: int) -> bool:
    n = Counter(pair.draw.split for pair in group)
    return len(group) >= fewest and all(2 * n[split] >= fewest - 1 for split in SPLITS)


def null_pairs(pairs: Sequence[Aligned]) -> list[tuple[int, int]]:
    """Each pair with the next one of its split that has another clean program, the last with the first."""
    nulls = []
    for split in SPLITS:
        places = [place for place, pair in enumerate(pairs) if pair.draw.split == split]
        following = [*places[1:], *places[:1]]
        nulls += [
            (one, other)
            for one, other in zip(places, following, strict=True)
            if pairs[one].clean_ids != pairs[other].clean_ids
        ]
    return nulls


def lengths_of(shapes: Sequence[Shape], roles: Iterable[str]) -> dict[str, PartLengths]:
    """The parts whose number of tokens differs between the two prompts of some pair."""
    pairs = [pair for shape in shapes for pair in shape.pairs]
    differ = [
        role for role in dict.fromkeys(roles) if any(pair.counts[0][role] != pair.counts[1][role] for pair in pairs)
    ]
    return {role: _lengths(role, shapes, pairs) for role in differ}


def _lengths(role: str, shapes: Sequence[Shape], pairs: Sequence[Aligned]) -> PartLengths:
    clean, corrupted = (Counter(pair.counts[arm][role] for pair in pairs) for arm in (0, 1))
    within = sum(_tells(role, shape.pairs) * len(shape.pairs) for shape in shapes) / len(pairs)
    return PartLengths(
        clean={str(n): clean[n] for n in sorted(clean)},
        corrupted={str(n): corrupted[n] for n in sorted(corrupted)},
        tells=_tells(role, pairs),
        tells_within=within,
    )


def _tells(role: str, pairs: Sequence[Aligned]) -> float:
    """The largest share of prompts whose kind is guessed right from one part's number of tokens, by a threshold."""
    clean, corrupted = (np.array([pair.counts[arm][role] for pair in pairs]) for arm in (0, 1))
    thresholds = np.unique(np.concatenate([clean, corrupted]))
    right = [((clean >= one).mean() + (corrupted < one).mean()) / 2 for one in thresholds]
    return float(max(max(one, 1 - one) for one in right))
