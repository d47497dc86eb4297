"""A candidate's plain value, rebuilt in the judge from tagged JSON that a hostile program may have written.

Caps before anything is built: bytes, brackets, digits, items, levels. No pickle, no eval, no
class of the candidate. What a value costs to hash or compare is capped by the judge's own
CPU and memory limits (judge_process.py), because no check here could foresee it.
"""

import json
from collections.abc import Callable
from typing import Any

from common.sandbox.encoding import MAX_DEPTH, MAX_ITEMS

# A JSON text builds at most one object per comma or bracket: refused before it costs memory.
MAX_SEPARATORS = 10 * MAX_ITEMS


class DecodeError(Exception):
    """The bytes are not a value that the encoder could have written, or are beyond a cap."""


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
        if tag in _LEAVES:
            return _LEAVES[tag](*body)
        (items,) = body
        if tag in _CONTAINERS:
            return _CONTAINERS[tag]([self.decode(item, depth + 1) for item in _listed(items)])
        if tag == "dict":
            return dict([self.decode(part, depth + 1) for part in _listed(pair)] for pair in _listed(items))
        raise DecodeError(f"an unknown tag {tag[:20]!r}")


def _listed(node: Any) -> list[Any]:
    if type(node) is not list:
        raise DecodeError("items that are no list")
    return node


def _text(node: Any) -> str:
    if type(node) is not str:
        raise DecodeError("a text that is none")
    return node


_CONTAINERS: dict[str, Callable[[list[Any]], Any]] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
_LEAVES: dict[str, Callable[..., Any]] = {
    "str": _text,
    "float": lambda node: float.fromhex(_text(node)),
    "int": lambda node: int(_text(node), 16),
    "complex": lambda real, imag: complex(float.fromhex(_text(real)), float.fromhex(_text(imag))),
    "bytes": lambda node: bytes.fromhex(_text(node)),
}


def decode(node: Any) -> Any:
    """The value that `node` describes. Raises: DecodeError, and nothing else but MemoryError."""
    try:
        return _Decoder().decode(node)
    except (ValueError, TypeError, OverflowError, ArithmeticError, RecursionError) as error:
        raise DecodeError(f"not a value: {type(error).__name__}") from error
