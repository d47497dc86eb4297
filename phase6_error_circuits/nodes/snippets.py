"""Rows of snippets.parquet: programs token by token, with a latent's activation at each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from common.model.tokenization import TextOfToken
from common.saes.dictionary import Latent
from common.tables import TableRow
from phase6_error_circuits.nodes.told import NodesPlan
from phase6_error_circuits.pair import SPLITS

PAIR, TOP = "pair", "top"


def snippet_rows(plan: NodesPlan, results: Sequence[Mapping[str, Any]], n: int, words: TextOfToken) -> list[TableRow]:
    """Of each latent in each format the example pairs, then the `n` programs of each split in which it fires most."""
    rows = []
    for form in dict.fromkeys(group.shape.format for group in plan.groups):
        of_format = [
            (group.shape, one) for group, one in zip(plan.groups, results, strict=True) if group.shape.format == form
        ]
        for number, latent in enumerate(plan.latents(form)):
            known = [row for shape, one in of_format for row in _rows(shape, one, number)]
            rows += [_of(latent, form, row, words) for row in (*_pairs(known), *_tops(known, n))]
    return rows


def _rows(shape: Any, one: Mapping[str, Any], number: int) -> Iterator[TableRow]:
    """What a record keeps of a latent, with its token ids."""
    first = shape.example.code_start
    for what, kept in one["kept"][number].items():
        for place, ids, acts in kept:
            pair, split, arm, error = one["programs"][place]
            peak = max(acts)
            facts = {"contrast": shape.contrast, "template": shape.template, "shape": shape.shape}
            facts |= {"what": what, "split": split, "pair": pair, "arm": arm, "error": error, "peak": peak}
            pos = first + acts.index(peak) if peak > 0 else -1
            yield {**facts, "position": pos, "first": first, "ids": ids, "activations": acts}


def _pairs(rows: Sequence[TableRow]) -> Iterator[TableRow]:
    """Both programs of each example, clean before corrupted."""
    ranks: dict[tuple[str, str, str, int, int], int] = {}
    seen: Counter[str] = Counter()
    for row in (row for row in rows if row["what"] == PAIR):
        key = row["split"], row["contrast"], row["template"], row["shape"], row["pair"]
        if key not in ranks:
            ranks[key] = seen[row["split"]]
            seen[row["split"]] += 1
        yield {**row, "rank": ranks[key]}


def _tops(rows: Sequence[TableRow], n: int) -> Iterator[TableRow]:
    """The strongest of each split over all shapes; what is the same up to the peak counts once."""
    for split in SPLITS:
        different: dict[tuple[int, ...], TableRow] = {}
        tops = [row for row in rows if row["what"] == TOP and row["split"] == split]
        for row in sorted(tops, key=lambda row: -row["peak"]):
            different.setdefault(tuple(row["ids"][: row["position"] - row["first"] + 1]), row)
        for rank, row in enumerate([*different.values()][:n]):
            yield {**row, "rank": rank}


def _of(latent: Latent, form: str, row: TableRow, words: TextOfToken) -> TableRow:
    """A row of the table; blanks of its tokens can be seen."""
    layer, number = latent
    known = {name: value for name, value in row.items() if name != "ids"}
    return {"layer": layer, "latent": number, "format": form, **known, "tokens": [words(one) for one in row["ids"]]}
