"""A plain value as tagged JSON, written in the child. Nothing here is trusted: the judge checks all.

Exact classes only: int and bool, list and tuple stay apart, and whatever is not plain is not sent at all.
"""

from typing import Any

MAX_ITEMS = 200_000
MAX_DEPTH = 60
_PLAIN_INT = 2**53
NOT_PLAIN = ["not_plain"]

# Bound now: the candidate may replace the builtins, and these run after it.
_type = type
_SEQUENCES = {list: "list", tuple: "tuple", set: "set", frozenset: "frozenset"}


class _NotPlain(Exception):
    """The value is of another class, or has more items or levels than the judge would read."""


class _Encoder:
    """Encodes one value and counts what it has written."""

    def __init__(self) -> None:
        self.items = 0

    def encode(self, value: Any, depth: int = 0) -> Any:
        self.items += 1
        if self.items > MAX_ITEMS or depth > MAX_DEPTH:
            raise _NotPlain
        kind = _type(value)
        if value is None or kind is bool:
            return value
        if kind is int:
            return value if -_PLAIN_INT < value < _PLAIN_INT else ["int", hex(value)]
        if kind is str:
            return ["str", value]
        if kind is float:
            return ["float", value.hex()]
        if kind in _SEQUENCES:
            return [_SEQUENCES[kind], [self.encode(item, depth + 1) for item in value]]
        if kind is dict:
            pairs = value.items()
            return ["dict", [[self.encode(key, depth + 1), self.encode(item, depth + 1)] for key, item in pairs]]
        if kind is bytes:
            return ["bytes", value.hex()]
        if kind is complex:
            return ["complex", value.real.hex(), value.imag.hex()]
        raise _NotPlain


def encode(value: Any) -> Any:
    """`value` as JSON-ready lists and scalars; NOT_PLAIN for other classes, 200,000 items or 60 levels."""
    try:
        return _Encoder().encode(value)
    except _NotPlain:
        return NOT_PLAIN
