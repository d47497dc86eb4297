"""Declared JSON documents: a frozen dataclass for each, written and read with no key lost, added or misspelt.

- Keys are the fields, in their order. A field that has a default is left out of the JSON while it has it.
- Enums are their value. What can be written as words (`Worded`) is a string.
- Where a field may be of several classes, the keys tell which.
"""

import dataclasses
import enum
import functools
import types
import typing
from typing import Any, Self


class Worded:
    """What stands as words in a document: those of `str`."""

    @classmethod
    def from_words(cls, words: str) -> Self:
        """Raises: ValueError for words that none has."""
        raise NotImplementedError


class DocumentError(ValueError):
    """A document does not have the form that is declared for it."""


def as_json(value: Any) -> Any:
    """Plain dicts, lists and values of a document or a part of one."""
    if isinstance(value, Worded):
        return str(value)
    if dataclasses.is_dataclass(value):
        fields = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {field.name: as_json(part) for field, part in fields if not _is_left_out(field, part)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, dict):
        return {key: as_json(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(part) for part in value]
    return value


def from_json(kind: Any, value: Any, place: str = "") -> Any:
    """A document of a declared kind, from plain values; `place` names what is read in an error.

    Raises: DocumentError.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        return _one_of(arguments, value, place)
    if origin is list and isinstance(value, list):
        return [from_json(arguments[0], part, f"{place}[{number}]") for number, part in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        return {key: from_json(arguments[1], part, f"{place}.{key}") for key, part in value.items()}
    if isinstance(kind, type) and issubclass(kind, Worded) and isinstance(value, str):
        return _from_words(kind, value, place)
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return _dataclass(kind, value, place)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _of_enum(kind, value, place)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(kind, type) and isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise DocumentError(f"{place.lstrip('.') or 'the document'} is {value!r:.60}, and no {_name(kind)}")


def _dataclass(kind: Any, value: dict[str, Any], place: str) -> Any:
    hints, fields = _hints(kind), {field.name: field for field in dataclasses.fields(kind)}
    unknown = [key for key in value if key not in fields]
    missing = [name for name, field in fields.items() if name not in value and field.default is dataclasses.MISSING]
    if unknown or missing:
        what = f"has the unknown key '{unknown[0]}'" if unknown else f"lacks the key '{missing[0]}'"
        raise DocumentError(f"{place.lstrip('.') or 'the document'} {what}: it is no {kind.__name__}")
    return kind(**{key: from_json(hints[key], part, f"{place}.{key}") for key, part in value.items()})


def _one_of(kinds: tuple[Any, ...], value: Any, place: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    tried = [kind for kind in kinds if kind is not type(None)]
    for kind in tried[:-1]:
        try:
            return from_json(kind, value, place)
        except DocumentError:
            continue
    return from_json(tried[-1], value, place)


def _of_enum(kind: Any, value: Any, place: str) -> Any:
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(repr(one.value) for one in kind)
        raise DocumentError(f"{place.lstrip('.')} is {value!r:.60}, and none of {known}") from None


def _from_words(kind: type[Worded], words: str, place: str) -> Worded:
    try:
        return kind.from_words(words)
    except ValueError as error:
        raise DocumentError(f"{place.lstrip('.')} is {words!r:.60}, and no {_name(kind)}") from error


def _is_left_out(field: dataclasses.Field, value: Any) -> bool:
    return field.default is not dataclasses.MISSING and value == field.default


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind))
