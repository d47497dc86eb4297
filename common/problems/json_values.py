"""JSON out of the files that people have: a line each or one document, plain or gzipped.

A line ends at \\n and nowhere else: text may hold U+0085 or U+2028, at which str.splitlines would cut it in two.
"""

import gzip
import itertools
import json
import shlex
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from common.errors import ConfigError
from common.problems.problem import shown

_GZIP, _ZIP, _PARQUET = b"\x1f\x8b", b"PK\x03\x04", b"PAR1"
_BOM = b"\xef\xbb\xbf"

Readable = IO[bytes] | gzip.GzipFile


def values_in(path: Path) -> Iterator[tuple[str, Any]]:
    """Each value with its place ("in.jsonl, line 3"): of every line, or the items of one list, or one object.

    Holds one line at a time, but a document that spreads over lines whole.
    Raises: ConfigError, naming the place.
    """
    with _opened(path) as file:
        yield from values_of(file, str(path))


def values_of(file: Readable, name: str) -> Iterator[tuple[str, Any]]:
    """The same of bytes that are no file's: standard input, or a text in memory."""
    lines = ((f"{name}, line {n}", line) for n, line in enumerate(file, 1) if line.strip())
    for where, line in itertools.islice(lines, 1):
        first = _first_value(line.removeprefix(_BOM), file, where)
        if not isinstance(first, list):
            yield where, first
            break
        _refuse_more(file, name)
        yield from ((f"{name}, item {n}", item) for n, item in enumerate(first, 1))
    for where, line in lines:
        yield where, parsed(line, where)


def is_zip(path: Path) -> bool:
    """Whether the file is a zip archive, by its first bytes. Raises: ConfigError when it cannot be read."""
    return _first_bytes(path).startswith(_ZIP)


def field_of(row: dict, names: tuple[str, ...], kinds: tuple[type, ...], where: str, default: Any = None) -> Any:
    """The first of the fields `names` that is not null; `default`, unless None, when there is none.

    Raises: ConfigError, naming field and kind.
    """
    name = next((name for name in names if row.get(name) is not None), None)
    if name is None and default is not None:
        return default
    wanted = " or ".join(kind.__name__ for kind in kinds)
    if name is None:
        raise ConfigError(f"{where}: field '{' or '.join(names)}' is missing\nGive it a value of type {wanted}")
    if not isinstance(row[name], kinds) or isinstance(row[name], bool):
        raise ConfigError(f"{where}: field '{name}' is {shown(row[name])}\nGive it a value of type {wanted}")
    return row[name]


def as_object(value: Any, where: str) -> dict[str, Any]:
    """`value`, which is an object. Raises: ConfigError, showing it."""
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: is {shown(value)}, no object\nWrite one object per line, or a list of objects")
    return value


def parsed(line: bytes, where: str, constant: Callable[[str], Any] | None = None) -> Any:
    """The value of a line or a document; `constant` reads NaN, Infinity and -Infinity, which are no JSON.

    Raises: ConfigError, saying what is wrong.
    """
    try:
        return json.loads(_decoded(line, where), parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise _no_json(error, where) from error


def _first_value(line: bytes, rest: Readable, where: str) -> Any:
    """The value that begins at `line`: a line's, or, where it breaks off at the line's end, a document's."""
    text = _decoded(line, where)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        if error.pos < len(text.rstrip()):
            raise _no_json(error, where) from error
    except (ValueError, RecursionError) as error:
        raise _no_json(error, where) from error
    return parsed(line + rest.read(), where)


def _no_json(error: Exception, where: str) -> ConfigError:
    reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
    return ConfigError(f"{where}: is not JSON ({reason})\nWrite one object per line, or a list of objects")


def _decoded(line: bytes, where: str) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{where}: byte 0x{line[error.start]:02x} is not UTF-8\n"
            f"Convert the file with: iconv -f <its encoding> -t utf-8"
        ) from error


def _refuse_more(rest: Readable, name: str) -> None:
    if more := rest.read(1 << 16).strip():
        raise ConfigError(f"{name}: {more[:40]!r} follows the end of a list\nGive one list, or one object per line")


@contextmanager
def _opened(path: Path) -> Iterator[Readable]:
    """The file's bytes, unpacked. Raises: ConfigError when it cannot be read, or is of another kind."""
    first = _first_bytes(path)
    if first.startswith(_PARQUET):
        read = f"import pandas; pandas.read_parquet({str(path)!r})"
        command = f"{read}.to_json({str(path.with_suffix('.jsonl'))!r}, orient='records', lines=True)"
        raise ConfigError(f"{path} is a Parquet file\nConvert it with: python3 -c {shlex.quote(command)}")
    if first.startswith(_ZIP):
        raise ConfigError(f"{path} is a zip archive\nTake a file out of it: unzip {shlex.quote(str(path))}")
    try:
        with gzip.open(path) if first.startswith(_GZIP) else open(path, "rb") as file:
            yield file
    except (OSError, EOFError, zlib.error) as error:
        raise _cannot_be_read(path, error) from error


def _first_bytes(path: Path) -> bytes:
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path} is no file, and what is read here is read more than once\nGive a file")
    try:
        with open(path, "rb") as file:
            return file.read(4)
    except OSError as error:
        raise _cannot_be_read(path, error) from error


def _cannot_be_read(path: Path, error: Exception) -> ConfigError:
    reason = getattr(error, "strerror", None) or error
    return ConfigError(f"{path} cannot be read: {reason}\nGive a file of JSON lines in UTF-8")
