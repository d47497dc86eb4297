"""A candidate's value, rebuilt in the judge from tagged JSON that a hostile program may have written.

Caps before anything is built: bytes, brackets, digits, items, levels. No pickle, no eval, no
class of the candidate. What a value costs to hash or compare is capped by the judge's own
CPU and memory limits (judge_process.py), because no check here could foresee it.
"""

import collections
import datetime
import decimal
import fractions
import json
from collections.abc import Callable, Iterator
from typing import Any

from common.sandbox.encoding import MAX_DEPTH, MAX_ITEMS

# A JSON text builds at most one object per comma or bracket: refused before it costs memory.
MAX_SEPARATORS = 10 * MAX_ITEMS


class DecodeError(Exception):
    """The bytes are not a value that the encoder could have written, or are beyond a cap."""


class OpaqueUse(Exception):
    """A trusted expression needs more of a candidate's object than its identity."""

    def __init__(self, type_name: str, decided: bool) -> None:
        super().__init__(f"an object of class {type_name}")
        self.decided = decided


class Opaque:
    """Stands for an object whose behaviour is the candidate's own code: it equals nothing.

    Comparing, ordering or calculating with it does not hold (`decided`); asking for its text, length or
    items would need its code, which the judge never runs, and cannot be judged at all.
    """

    def __init__(self, type_name: str, is_true: bool = False) -> None:
        self.type_name, self.is_true = type_name, is_true

    def __bool__(self) -> bool:
        if not self.is_true:
            raise OpaqueUse(self.type_name, decided=True)
        return True

    def __repr__(self) -> str:
        return f"<{self.type_name}>"


def _refuse(decided: bool) -> Callable[..., Any]:
    def refuse(self: Opaque, *_arguments: Any) -> Any:
        raise OpaqueUse(self.type_name, decided)

    return refuse


for _operator in (
    "eq ne lt le gt ge add radd sub rsub mul rmul truediv rtruediv floordiv rfloordiv mod rmod pow rpow "
    "neg pos abs invert int float complex index round and rand or ror xor rxor lshift rshift hash"
).split():
    setattr(Opaque, f"__{_operator}__", _refuse(decided=True))
for _operator in "str len iter next getitem contains call format reversed".split():
    setattr(Opaque, f"__{_operator}__", _refuse(decided=False))


class OneShotIterator:
    """The items of a generator or other iterator: to be read once, and equal to no list."""

    def __init__(self, items: list[Any]) -> None:
        self._items = iter(items)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._items)


def parse(frame: bytes) -> Any:
    """The JSON of one frame. Raises: DecodeError on anything malformed or beyond the caps."""
    if frame.count(b",") + frame.count(b"[") + frame.count(b"{") > MAX_SEPARATORS:
        raise DecodeError("the answer has too many parts")
    try:
        return json.loads(frame.decode("ascii"))
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise DecodeError(f"the answer is not JSON: {type(error).__name__}") from error


class _Decoder:
    """Decodes one value and counts what it has read."""

    def __init__(self) -> None:
        self.items = 0

    def decode(self, node: Any, depth: int = 0) -> Any:
        self.items += 1
        if self.items > MAX_ITEMS or depth > MAX_DEPTH:
            raise DecodeError("the value has too many items or levels")
        if node is None or type(node) in (bool, int):
            return node
        if type(node) is not list or not node or type(node[0]) is not str:
            raise DecodeError("a value without a tag")
        tag, *body = node
        if tag == "too_large":
            raise DecodeError("the value has too many items or levels")
        if tag in _LEAVES:
            return _LEAVES[tag](*body)
        if tag in _CONTAINERS:
            (items,) = body
            return _collapsing(_CONTAINERS[tag], [self.decode(item, depth + 1) for item in _listed(items)])
        if tag in _MAPPINGS:
            (pairs,) = body
            entries = [[self.decode(part, depth + 1) for part in _listed(pair)] for pair in _listed(pairs)]
            return _collapsing(_MAPPINGS[tag], entries)
        raise DecodeError(f"an unknown tag {tag[:20]!r}")


def _listed(node: Any) -> list[Any]:
    if type(node) is not list:
        raise DecodeError("items that are no list")
    return node


def _text(node: Any) -> str:
    if type(node) is not str:
        raise DecodeError("a text that is none")
    return node


def _collapsing(build: Callable[[Any], Any], items: list[Any]) -> Any:
    """A container, or, when it would have to hash an opaque object, an opaque object itself."""
    try:
        return build(items)
    except OpaqueUse:
        return Opaque("a collection of objects")


def _hex_int(node: Any) -> int:
    return int(_text(node), 16)


def _opaque(type_name: Any, is_true: Any) -> Opaque:
    return Opaque(_text(type_name)[:200], is_true is True)


_CONTAINERS: dict[str, Callable[[list[Any]], Any]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "deque": collections.deque,
    "keys": lambda items: dict.fromkeys(items).keys(),
    "values": lambda items: dict(enumerate(items)).values(),
    "items": lambda items: dict(items).items(),
    "iterator": OneShotIterator,
}

_MAPPINGS: dict[str, Callable[[list[Any]], Any]] = {
    "dict": dict,
    "ordered": collections.OrderedDict,
    "counter": lambda pairs: collections.Counter(dict(pairs)),
}

_LEAVES: dict[str, Callable[..., Any]] = {
    "str": _text,
    "float": lambda node: float.fromhex(_text(node)),
    "int": _hex_int,
    "complex": lambda real, imag: complex(float.fromhex(_text(real)), float.fromhex(_text(imag))),
    "bytes": lambda node: bytes.fromhex(_text(node)),
    "bytearray": lambda node: bytearray.fromhex(_text(node)),
    "range": lambda start, stop, step: range(_hex_int(start), _hex_int(stop), _hex_int(step)),
    "decimal": lambda node: decimal.Decimal(_text(node)),
    "fraction": lambda top, bottom: fractions.Fraction(_hex_int(top), _hex_int(bottom)),
    "date": lambda node: datetime.date.fromisoformat(_text(node)),
    "datetime": lambda node: datetime.datetime.fromisoformat(_text(node)),
    "time": lambda node: datetime.time.fromisoformat(_text(node)),
    "timedelta": lambda days, seconds, micros: datetime.timedelta(days, seconds, micros),
    "opaque": _opaque,
}


def decode(node: Any) -> Any:
    """The value that `node` describes. Raises: DecodeError, and nothing else but MemoryError."""
    try:
        return _Decoder().decode(node)
    except (ValueError, TypeError, OverflowError, ArithmeticError, RecursionError) as error:
        raise DecodeError(f"not a value: {type(error).__name__}") from error
