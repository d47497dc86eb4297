"""Values without parts as tagged JSON, exact types kept. One table: class, tag, how to encode and decode it.

Classes of modules that few programs use are known by name, so that a server need not hold the modules.
"""

import datetime
import decimal
import fractions
import importlib
import sys
from collections.abc import Callable
from typing import Any

from common.sandbox.proxies.channel import Unsupported

PLAIN_INT = 2**53  # below it, JSON numbers are the ints themselves


def _encode_zone(zone: Any) -> Any:
    if zone is None:
        return None
    if type(zone) is datetime.timezone:
        offset = zone.utcoffset(None)
        named = len(zone.__getinitargs__()) > 1  # type: ignore[attr-defined]
        return ["fixed", offset.days, offset.seconds, offset.microseconds, zone.tzname(None) if named else None]
    if type(zone).__module__ == "zoneinfo" and zone.key:
        return ["zone", zone.key]
    raise Unsupported(f"a time zone of class {type(zone).__name__}")


def _decode_zone(node: Any) -> Any:
    if node is None:
        return None
    if node[0] == "zone":
        return importlib.import_module("zoneinfo").ZoneInfo(node[1])
    _, days, seconds, microseconds, name = node
    offset = datetime.timedelta(days, seconds, microseconds)
    if name is None:
        return datetime.timezone(offset) if offset else datetime.UTC
    return datetime.timezone(offset, name)


def _encode_datetime(value: datetime.datetime) -> list[Any]:
    moment = [value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond]
    return [moment, value.fold, _encode_zone(value.tzinfo)]


def _encode_time(value: datetime.time) -> list[Any]:
    moment = [value.hour, value.minute, value.second, value.microsecond]
    return [moment, value.fold, _encode_zone(value.tzinfo)]


def _decode_path(name: str, text: str) -> Any:
    kinds = ("PosixPath", "PurePosixPath", "PureWindowsPath")
    return getattr(importlib.import_module("pathlib"), kinds[kinds.index(name)])(text)


_hex = float.fromhex
_Encode = Callable[[Any], list[Any]]
_LEAVES: dict[str, tuple[str, _Encode, Callable[..., Any]]] = {
    "builtins.float": ("f", lambda v: [v.hex()], _hex),
    "builtins.str": ("s", lambda v: [v], lambda text: text),
    "builtins.bytes": ("y", lambda v: [v.hex()], bytes.fromhex),
    "builtins.complex": ("c", lambda v: [v.real.hex(), v.imag.hex()], lambda a, b: complex(_hex(a), _hex(b))),
    "builtins.range": (
        "r",
        lambda v: [hex(v.start), hex(v.stop), hex(v.step)],
        lambda *ends: range(*[int(end, 16) for end in ends]),
    ),
    "builtins.memoryview": ("view", lambda v: [v.tobytes().hex()], lambda text: memoryview(bytes.fromhex(text))),
    "builtins.ellipsis": ("ellipsis", lambda v: [], lambda: ...),
    "builtins.NotImplementedType": ("notimplemented", lambda v: [], lambda: NotImplemented),
    "decimal.Decimal": ("decimal", lambda v: [str(v)], lambda text: decimal.Decimal(str(text))),
    "fractions.Fraction": (
        "fraction",
        lambda v: [hex(v.numerator), hex(v.denominator)],
        lambda top, bottom: fractions.Fraction(int(top, 16), int(bottom, 16)),
    ),
    "datetime.datetime": (
        "datetime",
        _encode_datetime,
        lambda moment, fold, zone: datetime.datetime(*moment, tzinfo=_decode_zone(zone), fold=fold),
    ),
    "datetime.date": ("date", lambda v: [v.year, v.month, v.day], datetime.date),
    "datetime.time": (
        "time",
        _encode_time,
        lambda moment, fold, zone: datetime.time(*moment, tzinfo=_decode_zone(zone), fold=fold),
    ),
    "datetime.timedelta": ("timedelta", lambda v: [v.days, v.seconds, v.microseconds], datetime.timedelta),
    "datetime.timezone": ("timezone", lambda v: [_encode_zone(v)], _decode_zone),
    "zoneinfo.ZoneInfo": ("zoneinfo", lambda v: [_encode_zone(v)], _decode_zone),
    "uuid.UUID": ("uuid", lambda v: [v.hex], lambda text: importlib.import_module("uuid").UUID(text)),
    "array.array": (
        "array",
        lambda v: [v.typecode, v.tobytes().hex()],
        lambda code, text: importlib.import_module("array").array(code, bytes.fromhex(text)),
    ),
    "pathlib.PosixPath": ("path", lambda v: ["PosixPath", str(v)], _decode_path),
    "pathlib.PurePosixPath": ("path", lambda v: ["PurePosixPath", str(v)], _decode_path),
    "pathlib.PureWindowsPath": ("path", lambda v: ["PureWindowsPath", str(v)], _decode_path),
}
_DECODE: dict[str, Callable[..., Any]] = {tag: decode for tag, _, decode in _LEAVES.values()}
_DECODE["i"] = lambda text: int(text, 16)


def encode_leaf(value: Any, kind: type) -> Any | None:
    """`value` of exactly the class `kind` as JSON, or None when it is no leaf (None itself is "N")."""
    if value is None:
        return "N"
    if kind is bool:
        return "T" if value else "F"  # not JSON's true: it equals 1, and a change between the two must show
    if kind is int:
        return value if -PLAIN_INT < value < PLAIN_INT else ["i", hex(value)]
    if kind is str:
        return ["s", value]
    if kind is float:
        return ["f", value.hex()]
    module = kind.__module__
    leaf = _LEAVES.get(f"{module}.{kind.__qualname__}")
    if leaf is not None and getattr(sys.modules.get(module), kind.__qualname__, kind) is kind:
        tag, encode, _ = leaf
        return [tag, *encode(value)]
    if module == "numpy" and hasattr(value, "dtype") and value.ndim == 0 and kind.__name__ != "ndarray":
        return _encode_scalar(value)
    return None


def decode_leaf(tag: str) -> Callable[..., Any] | None:
    """The function that rebuilds values with this tag from what follows it."""
    return _DECODE.get(tag)


def _encode_scalar(value: Any) -> list[Any]:
    numpy = sys.modules["numpy"]
    as_array = numpy.asarray(value)
    if as_array.dtype.hasobject or as_array.dtype.names:
        raise Unsupported(f"a numpy scalar of dtype {as_array.dtype}")
    return ["scalar", numpy.lib.format.dtype_to_descr(as_array.dtype), as_array.tobytes().hex()]


def _decode_scalar(description: Any, text: str) -> Any:
    import numpy

    return numpy.frombuffer(bytes.fromhex(text), numpy.dtype(str(description)))[0]


_DECODE["scalar"] = _decode_scalar
