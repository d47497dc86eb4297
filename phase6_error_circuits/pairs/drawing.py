"""Draws of a template, until enough pairs of one shape are aligned in every format, and why the others were refused."""

import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from common.model.answers import Front
from common.seeds import direction_seed
from phase6_error_circuits.pair import SPLITS
from phase6_error_circuits.pairs.alignment import Aligned, Draw, align
from phase6_error_circuits.pairs.formats import PromptFormat
from phase6_error_circuits.pairs.templates import PairTemplate

DRAWN_TOGETHER = 100
HOPELESS = 0.25  # of the draws that may be made: without an aligned one among them no more are


@dataclass
class Drawn:
    """What became of the draws in one format. Of each shape and split no more are kept than are asked for."""

    n_draws: int = 0
    n_aligned: int = 0
    kept: list[Aligned] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    n_by_shape: defaultdict[Any, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def take(self, one: Aligned | str, n_of_split: int) -> None:
        self.n_draws += 1
        if isinstance(one, str):
            self.refused[one] += 1
            return
        self.n_aligned += 1
        if self.n_by_shape[one.shape][one.draw.split] < n_of_split:
            self.n_by_shape[one.shape][one.draw.split] += 1
            self.kept.append(one)

    def is_full(self, n_of_split: int) -> bool:
        """Whether one shape has as many pairs as are asked for, in both splits."""
        return any(all(n[split] >= n_of_split for split in SPLITS) for n in self.n_by_shape.values())


@dataclass(frozen=True)
class Source:
    """What aligns draws: a tokenizer with what stands in front, the formats; how many pairs and draws there may be."""

    tokenizer: Any
    front: Front
    formats: list[PromptFormat]
    n_of_split: int
    n_draws: int
    seed: int


def draw_pairs(template: PairTemplate, source: Source, formats: list[PromptFormat]) -> dict[str, Drawn]:
    """Draws of a template in some of the formats, by the format's name.

    Once the most frequent shape is full in every format, as many are drawn again, for the sake of other shapes.
    """
    rng = random.Random(direction_seed(source.seed, f"{template.contrast}/{template.name}", 0))
    by_format = {form.name: Drawn() for form in formats}
    seen: set[tuple[str, str]] = set()
    n_drawn, most = 0, source.n_draws
    while n_drawn < most and formats:
        draws = []
        for _ in range(min(DRAWN_TOGETHER, most - n_drawn)):
            split = SPLITS[n_drawn % len(SPLITS)]
            draw = Draw(split, *template.draw(rng, split))
            n_drawn += 1
            if draw.codes not in seen:
                seen.add(draw.codes)
                draws.append(draw)
        for form in formats:
            for one in align(source.tokenizer, form, source.front, draws):
                by_format[form.name].take(one, source.n_of_split)
        if n_drawn >= HOPELESS * source.n_draws and not any(drawn.n_aligned for drawn in by_format.values()):
            break
        if most == source.n_draws and all(drawn.is_full(source.n_of_split) for drawn in by_format.values()):
            most = min(source.n_draws - 1, 2 * n_drawn)
    return by_format
