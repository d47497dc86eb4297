"""Which pairs are looked at: shapes of the contrasts that the gate lets through, with their held-out and null pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common import handoffs
from common.errors import ConfigError, suggestion
from common.handoffs.error_gate import ErrorGateDocument, GateVerdict
from common.phases.context import RunContext
from phase6_error_circuits.latents.nodes import places_of
from phase6_error_circuits.latents.settings import PASSING, STUDIED
from phase6_error_circuits.pair import FORMATS, NULL, REPORT, SELECT, ErrorPair, by_shape, chosen, pair_of


@dataclass(frozen=True)
class Chosen:
    """A contrast in one format, with the templates of it that go on."""

    contrast: str
    format: str
    templates: tuple[str, ...]


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
    found = [shape for one in chosen_contrasts(gate, contrasts) for shape in _shapes_of(one, pairs, n_pairs)]
    if not found:
        raise ConfigError(
            f"no pair of {', '.join(contrasts)} is left to look at: phase 6.1 made {len(pairs)} pairs\n"
            f"Make more of them with: python3 run.py phase 6.1 --n-pairs 100"
        )
    return found


def shapes_of_format(pairs: Sequence[ErrorPair], form: str, n_pairs: int) -> list[StudiedShape]:
    """Every shape of every contrast in one format, whatever the gate says of it; `n_pairs` of each kind, at most."""
    templates: dict[str, dict[str, None]] = {}
    for pair in pairs:
        if pair.format == form and not pair.is_null:
            templates.setdefault(pair.contrast, {})[pair.template] = None
    known = [Chosen(contrast, form, tuple(own)) for contrast, own in templates.items()]
    return [shape for one in known for shape in _shapes_of(one, pairs, n_pairs)]


def chosen_contrasts(gate: ErrorGateDocument, wanted: tuple[str, ...]) -> list[Chosen]:
    """What the gate lets through of what is wanted. Raises: ConfigError."""
    studied = gate.studied
    if studied is None:
        raise ConfigError(
            f"the model passes the gate of phase 6.1b with none of {len(gate.contrasts)} contrasts: there is no right "
            f"answer to explain\nGive other contrasts to phase 6.1 with --contrasts, or go on all the same with: "
            f"python3 run.py phase 6.1b --force"
        )
    found = [Chosen(studied.contrast, studied.format, tuple(studied.templates))]
    if wanted == (STUDIED,):
        return found
    names = [*gate.contrasts] if wanted == (PASSING,) else [*dict.fromkeys(wanted)]
    for name in names:
        if name not in gate.contrasts:
            raise ConfigError(
                f"--contrasts is '{name}', which phase 6.1b does not know.{suggestion(name, [*gate.contrasts])}\n"
                f"Give {STUDIED}, {PASSING}, or some of: {', '.join(gate.contrasts)}"
            )
    others = [one for name in names if name != studied.contrast and (one := _best(gate, name)) is not None]
    wants_studied = wanted == (PASSING,) or studied.contrast in names
    every = [*(found if wants_studied else []), *others]
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
        own = gate.contrasts[name][form]
        return own.verdict is GateVerdict.PASS, own.together.select.both_signs.rate.value or 0.0

    best = max(usable, key=rank)
    return Chosen(name, best, tuple(gate.contrasts[name][best].templates))


def _shapes_of(one: Chosen, pairs: Sequence[ErrorPair], n_pairs: int) -> list[StudiedShape]:
    real = chosen(pairs, contrast=one.contrast, format=one.format, templates=one.templates)
    null = by_shape(
        chosen(pairs, contrast=one.contrast, format=one.format, templates=one.templates, split=SELECT, kind=NULL)
    )
    found = []
    for key, own in by_shape(real).items():
        contrast, template, form, shape = key
        select = [pair for pair in own if pair.split == SELECT]
        held_out = [pair for pair in own if pair.split == REPORT]
        if select:
            disjoint = disjoint_nulls(null.get(key, []))
            cut = (pairs[:n_pairs] for pairs in (select, held_out, disjoint))
            found.append(StudiedShape(contrast, form, template, shape, *cut))
    return sorted(found, key=lambda shape: (-len(shape.select), -len(shape.null_pairs)))


def disjoint_nulls(pairs: Sequence[ErrorPair]) -> list[ErrorPair]:
    """Null pairs no two of which share a program.

    Phase 6.1 makes them in a circle, each with the next: over a whole circle everything linear cancels, and the largest
    node of the mean would come out far too small.
    """
    seen: set[tuple[int, ...]] = set()
    found = []
    for pair in pairs:
        programs = {tuple(pair.clean_ids), tuple(pair.corrupted_ids)}
        if not programs & seen:
            seen |= programs
            found.append(pair)
    return found
