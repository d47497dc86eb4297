"""From the effects of single pairs to shares.parquet and to what the document says."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.evaluation.statistics import counted
from common.handoffs.error_patching import (
    FirstOrder,
    OtherShape,
    PatchedHead,
    PatchedPlace,
    PatchingHolds,
    StudiedPairs,
)
from common.handoffs.estimates import Interval
from common.tables import TableRow
from phase6_error_circuits.estimates import Shares, described, names_of_positions
from phase6_error_circuits.pair import ErrorPair
from phase6_error_circuits.patching.config import ErrorPatchingConfig
from phase6_error_circuits.patching.jobs import ATTENTION, EVERYWHERE, FIRST_ORDER, HEAD, MLP, NONE, RESID
from phase6_error_circuits.patching.patches import DENOISING, DIRECTIONS, NOISING

N_STRONGEST = 6  # places of each part that the document names
Key = tuple[str, str, int, int, int]  # direction, part, layer, head, position


@dataclass(frozen=True)
class Patched:
    """The pairs of one shape, and the share that each patch moves."""

    number: int
    pairs: Sequence[ErrorPair]
    facts: StudiedPairs
    shares: dict[Key, Interval]

    def rows(self) -> Iterator[TableRow]:
        """Rows of shares.parquet."""
        names = names_of_positions(self.pairs[0])
        for (direction, part, layer, head, pos), share in self.shares.items():
            yield {
                "shape": self.number,
                "direction": direction,
                "part": part,
                "layer": layer,
                "head": head,
                "pos": pos,
                "position": names.get(pos, ""),
                "share": share.known,
                "share_low": share.known if share.low is None else share.low,
                "share_high": share.known if share.high is None else share.high,
            }

    def of(self, direction: str, part: str) -> dict[tuple[int, int, int], Interval]:
        """Shares of one part, by layer, head and position."""
        return {key[2:]: share for key, share in self.shares.items() if key[:2] == (direction, part)}

    def map(self, direction: str, part: str, column: int = 2) -> tuple[np.ndarray, list[int]]:
        """Layers by positions (or heads, for `column` 1), and which these are; all positions together are last."""
        shares = self.of(direction, part)
        columns = sorted({key[column] for key in shares}, key=lambda one: (one == EVERYWHERE, one))
        layers = max(key[0] for key in shares) + 1
        cells = np.full((layers, len(columns)), np.nan)
        for key, share in shares.items():
            cells[key[0], columns.index(key[column])] = share.known
        return cells, columns


def patched(
    number: int, pairs: Sequence[ErrorPair], rows: Sequence[TableRow], tokenizer: Any, config: ErrorPatchingConfig
) -> Patched:
    """The shares of one shape, from its rows of effects.parquet."""
    target = {row["direction"]: np.array(row["effects"]) for row in rows if row["part"] == NONE}
    corrupted, clean = target[DENOISING], target[NOISING]
    shares = Shares(clean - corrupted, config.n_resamples, config.seed)
    share_of: dict[Key, Interval] = {}
    for row in rows:
        if row["part"] != NONE:
            effects = np.array(row["effects"]).reshape(-1, len(pairs))
            keys = [_key(row, place) for place in row["positions"]]
            share_of |= zip(keys, shares.of_each(effects), strict=True)
    return Patched(number, pairs, described(pairs, clean, corrupted, shares, tokenizer), share_of)


def _key(row: TableRow, place: int) -> Key:
    head, pos = (place, EVERYWHERE) if row["part"] == FIRST_ORDER else (row["head"], place)
    return row["direction"], row["part"], row["layer"], head, pos


def strongest(studied: Patched) -> list[PatchedPlace]:
    """Of attention and the MLP the places that move most, of the stream single positions."""
    return [place for part in (RESID, ATTENTION, MLP) for place in _places(studied, part)[:N_STRONGEST]]


def path(studied: Patched) -> list[PatchedPlace]:
    """By layer, the position of the stream that carries most."""
    places = _places(studied, RESID)
    layers = sorted({place.layer for place in places})
    return [next(place for place in places if place.layer == layer) for layer in layers]


def _places(studied: Patched, part: str) -> list[PatchedPlace]:
    """All places of a part, by the size of what patching them moves, the mean of both directions."""
    there, back = studied.of(DENOISING, part), studied.of(NOISING, part)
    places = [key for key in there if part != RESID or key[2] != EVERYWHERE]
    places.sort(key=lambda key: -abs(there[key].known + back[key].known))
    tokens = {EVERYWHERE: "", **dict(enumerate(studied.facts.tokens))}
    return [
        PatchedPlace(part=part, layer=key[0], pos=key[2], token=tokens[key[2]], denoising=there[key], noising=back[key])
        for key in places
    ]


def heads(studied: Patched) -> dict[str, FirstOrder]:
    """By direction, the heads that were patched exactly, beside what the gradient says of them."""
    by_direction = {}
    for direction in DIRECTIONS:
        first, exact = studied.of(direction, FIRST_ORDER), studied.of(direction, HEAD)
        patched_heads = [
            PatchedHead(layer=layer, head=head, first_order=first[layer, head, EVERYWHERE].known, exact=share)
            for (layer, head, _), share in exact.items()
        ]
        patched_heads.sort(key=lambda one: -abs(one.exact.known))
        by_direction[direction] = FirstOrder(
            heads=patched_heads,
            largest_miss=max((abs(one.first_order - one.exact.known) for one in patched_heads), default=0.0),
            same_sign=counted(sum(one.first_order * one.exact.known > 0 for one in patched_heads), len(patched_heads)),
        )
    return by_direction


def holds(studied: Patched) -> PatchingHolds:
    """How far what must be exact is from being so."""
    before, end, everywhere = [0.0], [0.0], [0.0]
    first = studied.pairs[0].positions["diff_first"]
    for direction in DIRECTIONS:
        shares = studied.of(direction, RESID)
        last = max(layer for layer, _, _ in shares)
        for (layer, _, pos), share in shares.items():
            if pos == EVERYWHERE:
                everywhere.append(abs(share.known - 1))
            elif pos < first:
                before.append(abs(share.known))
            elif layer == last:
                end.append(abs(share.known - (pos == studied.facts.n_tokens - 1)))
    return PatchingHolds(before_difference=max(before), last_layer=max(end), all_positions=max(everywhere))


def beside(studied: Patched, other: Patched) -> OtherShape:
    """Another shape's shares at named positions, and how far they are from those of the studied pairs."""
    ours, theirs = studied.of(DENOISING, RESID), other.of(DENOISING, RESID)
    differences = [
        abs(ours[layer, EVERYWHERE, studied.facts.positions[name]].known - theirs[layer, EVERYWHERE, pos].known)
        for name, pos in other.facts.positions.items()
        for layer in {layer for layer, _, _ in theirs}
    ]
    return OtherShape(pairs=other.facts, largest_difference=max(differences))
