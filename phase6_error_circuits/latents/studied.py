"""Which pairs are looked at: shapes of the contrasts that the gate lets through, with their held-out and null pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common import handoffs
from common.errors import ConfigError
from common.phases.context import RunContext
from phase6_error_circuits.latents.chosen import Chosen, chosen_contrasts
from phase6_error_circuits.latents.nodes import places_of
from phase6_error_circuits.pair import NULL, REPORT, SELECT, ErrorPair, by_shape, chosen, pair_of


@dataclass(frozen=True)
class StudiedShape:
    """The pairs of one shape: those that select, those of other words, and pairs of two clean programs."""

    contrast: str
    format: str
    template: str
    shape: int
    select: list[ErrorPair]
    held_out: list[ErrorPair]
    null_pairs: list[ErrorPair]

    @property
    def example(self) -> ErrorPair:
        return self.select[0]

    @property
    def places(self) -> list[str]:
        """Names of the positions of a stream, which begins where the code does."""
        return places_of(self.example)[self.example.code_start :]

    @property
    def named(self) -> dict[str, int]:
        """The named positions, as indices into a stream."""
        return {name: pos - self.example.code_start for name, pos in self.example.positions.items()}

    @property
    def words(self) -> str:
        return f"{self.contrast}, {self.template}, shape {self.shape}, {self.format}"


def shapes_in(ctx: RunContext, contrasts: tuple[str, ...], n_pairs: int) -> list[StudiedShape]:
    """The shapes of some contrasts, contrast by contrast, the one with most pairs first.

    `n_pairs` of each kind, at most. Raises: ConfigError where there is nothing to look at.
    """
    gate = ctx.read(handoffs.ERROR_GATE).document()
    pairs = [pair_of(row) for row in ctx.read(handoffs.ERROR_PAIRS).table("pairs.parquet")]
    shapes = [shape for one in chosen_contrasts(gate, contrasts) for shape in _shapes_of(one, pairs, n_pairs)]
    if not shapes:
        raise ConfigError(
            f"no pair of {', '.join(contrasts)} is left to look at: phase 6.1 made {len(pairs)} pairs\n"
            f"Make more of them with: python3 run.py phase 6.1 --n-pairs 100"
        )
    return shapes


def shapes_of_format(pairs: Sequence[ErrorPair], form: str, n_pairs: int) -> list[StudiedShape]:
    """Every shape of every contrast in one format, whatever the gate says of it; `n_pairs` of each kind, at most."""
    templates: dict[str, dict[str, None]] = {}
    for pair in pairs:
        if pair.format == form and not pair.is_null:
            templates.setdefault(pair.contrast, {})[pair.template] = None
    known = [Chosen(contrast, form, tuple(names)) for contrast, names in templates.items()]
    return [shape for one in known for shape in _shapes_of(one, pairs, n_pairs)]


def _shapes_of(one: Chosen, pairs: Sequence[ErrorPair], n_pairs: int) -> list[StudiedShape]:
    real = chosen(pairs, contrast=one.contrast, format=one.format, templates=one.templates)
    null = by_shape(
        chosen(pairs, contrast=one.contrast, format=one.format, templates=one.templates, split=SELECT, kind=NULL)
    )
    shapes = []
    for key, members in by_shape(real).items():
        contrast, template, form, shape = key
        select = [pair for pair in members if pair.split == SELECT]
        held_out = [pair for pair in members if pair.split == REPORT]
        if select:
            disjoint = disjoint_nulls(null.get(key, []))
            cut = (pairs[:n_pairs] for pairs in (select, held_out, disjoint))
            shapes.append(StudiedShape(contrast, form, template, shape, *cut))
    return sorted(shapes, key=lambda shape: (-len(shape.select), -len(shape.null_pairs)))


def disjoint_nulls(pairs: Sequence[ErrorPair]) -> list[ErrorPair]:
    """Null pairs no two of which share a program.

    Phase 6.1 makes them in a circle, each with the next: over a whole circle everything linear cancels, and the largest
    node of the mean would come out far too small.
    """
    seen: set[tuple[int, ...]] = set()
    kept = []
    for pair in pairs:
        programs = {tuple(pair.clean_ids), tuple(pair.corrupted_ids)}
        if not programs & seen:
            seen |= programs
            kept.append(pair)
    return kept
