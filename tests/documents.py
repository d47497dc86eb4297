"""Documents made by hand: what a test says of them, and values that mean nothing for all else that is declared."""

import dataclasses
import enum
import functools
import types
import typing
from typing import Any

from common.handoffs.document import Worded, from_json
from common.runs.artifacts import ArtifactWriter


def write(out: ArtifactWriter, name: str, given: Any) -> None:
    """One of an artifact's documents. A key that is not declared is refused when it is written."""
    out.document(name, filled(out.schema.kind_of(name), given))


def filled(kind: Any, given: Any) -> Any:
    """`given`, plain, with every declared key that it lacks."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        classes = [each for each in arguments if dataclasses.is_dataclass(each) or typing.get_origin(each)]
        fitting = [each for each in classes if isinstance(given, dict) and _fits(each, given)]
        return filled(min(fitting, key=lambda each: len(dataclasses.fields(each))), given) if fitting else given
    if origin is list:
        return [filled(arguments[0], each) for each in given]
    if origin is dict:
        return {key: filled(arguments[1], each) for key, each in given.items()}
    if dataclasses.is_dataclass(kind) and isinstance(given, dict):
        hints = _hints(kind)
        required = [f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING]
        added = {name: blank(hints[name]) for name in required if name not in given}
        return {key: filled(hints[key], each) if key in hints else each for key, each in given.items()} | added
    return given


def blank(kind: Any) -> Any:
    """A value of a declared kind that means nothing."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return None if type(None) in arguments else blank(arguments[0])
    if dataclasses.is_dataclass(kind):
        return "no measurable effect" if issubclass(kind, Worded) else filled(kind, {})
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return next(iter(kind)).value
    return {int: 0, float: 0.0, str: "", bool: False, list: [], dict: {}, type(None): None}[origin or kind]


_hints = functools.cache(typing.get_type_hints)


def _fits(kind: Any, given: dict[str, Any]) -> bool:
    return dataclasses.is_dataclass(kind) and {*given} <= {field.name for field in dataclasses.fields(kind)}


def made(kind: Any, given: Any) -> Any:
    """A document, or a part of one, as an object of its class."""
    return from_json(kind, filled(kind, given))
