"""A pair of programs as prompts of equal length: what phase 6.1 makes, and every later phase is given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

SELECT, REPORT = SPLITS = ("select", "report")
SEED, NEUTRAL, CHAT, FEW_SHOT = FORMATS = ("seed", "neutral", "chat", "few-shot")
REAL, NULL = KINDS = ("real", "null")
DIFF_FIRST, DIFF_LAST, AFTER_DIFF, CODE_END, RAISE, END = POSITIONS = (
    "diff_first",
    "diff_last",
    "after_diff",
    "code_end",
    "raise",
    "end",
)


@dataclass(frozen=True, kw_only=True)
class ErrorPair:
    """One row of pairs.parquet, whose columns say what each field means (common/handoffs/error_circuits.py).

    `positions` holds the named places by name, in the order of POSITIONS; all are indices from the first token.
    """

    record: int
    pair: int
    kind: str
    contrast: str
    template: str
    format: str
    split: str
    shape: int
    corruption: str
    clean: str
    corrupted: str
    clean_error: str
    corrupted_error: str
    clean_ids: list[int]
    corrupted_ids: list[int]
    roles: list[str]
    code_start: int
    positions: dict[str, int]
    clean_token: int
    corrupted_token: int

    @property
    def n_tokens(self) -> int:
        return len(self.clean_ids)

    @property
    def is_null(self) -> bool:
        return self.kind == NULL

    @property
    def is_held_out(self) -> bool:
        return self.split == REPORT

    @property
    def answers(self) -> tuple[int, int]:
        """The two tokens of which the metric is the difference of logits."""
        return self.clean_token, self.corrupted_token

    def as_row(self) -> dict[str, Any]:
        row = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "positions"}
        return {**row, **self.positions}


def pair_of(row: Mapping[str, Any]) -> ErrorPair:
    """The pair that a row of the table holds."""
    plain = {name: value for name, value in row.items() if name not in POSITIONS}
    return ErrorPair(**plain, positions={name: row[name] for name in POSITIONS})


def by_shape(pairs: Iterable[ErrorPair]) -> dict[tuple[str, str, str, int], list[ErrorPair]]:
    """Pairs by contrast, template, format and shape: those that share their positions."""
    by_shape: dict[tuple[str, str, str, int], list[ErrorPair]] = {}
    for pair in pairs:
        by_shape.setdefault((pair.contrast, pair.template, pair.format, pair.shape), []).append(pair)
    return by_shape


def chosen(
    pairs: Sequence[ErrorPair],
    *,
    contrast: str,
    format: str,
    templates: Iterable[str] | None = None,
    split: str | None = None,
    kind: str = REAL,
    shape: int | None = None,
) -> list[ErrorPair]:
    """The pairs of a contrast in one format; of all templates, splits and shapes where none is named."""
    wanted = None if templates is None else {*templates}
    return [
        pair
        for pair in pairs
        if (pair.contrast, pair.format, pair.kind) == (contrast, format, kind)
        and (wanted is None or pair.template in wanted)
        and (split is None or pair.split == split)
        and (shape is None or pair.shape == shape)
    ]
