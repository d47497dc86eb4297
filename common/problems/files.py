"""Problems from a file: .jsonl, one object per line, or .json, a list of objects; either plain or gzipped (.gz)."""

import codecs
import gzip
import json
import shlex
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from common.errors import ConfigError
from common.problems.formats import problem_of
from common.problems.record import Problem, shown

SUFFIXES = (".jsonl", ".json")


def is_problem_file(path: Path) -> bool:
    """Whether the name says so."""
    return _unpacked_name(path).suffix in SUFFIXES


def problem_stem(path: Path) -> str:
    return _unpacked_name(path).stem


def _unpacked_name(path: Path) -> Path:
    return Path(path.name.removesuffix(".gz"))


def read_problem_bytes(path: Path) -> bytes:
    """The file's bytes, unpacked where its name ends in .gz, as HumanEval and EvalPlus are published.

    Raises: ConfigError when it is not there, no file, may not be read, or has another suffix.
    """
    if not is_problem_file(path):
        raise ConfigError(
            f"{path}: a file of problems ends in {' or '.join(SUFFIXES)}\nRename it, or write it in one of these forms"
        )
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file\nGive the path of an existing {' or '.join(SUFFIXES)} file") from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: cannot be read ({reason})\nGive a file that this user may read") from None


def rows_in(content: bytes, path: Path) -> list[tuple[str, dict[str, Any]]]:
    """The rows in a file's content, in the file's order, each with its place. A byte order mark is accepted.

    Raises: ConfigError naming the file and the line (.jsonl) or item (.json).
    """
    text = _decoded(content, path)
    return _rows_of_lines(text, path) if _unpacked_name(path).suffix == ".jsonl" else _rows_of_list(text, path)


def problems_of(rows: Iterable[tuple[str, Mapping[str, Any]]]) -> tuple[Problem, ...]:
    """The problems in rows with their places, in their order.

    Raises: ConfigError naming the place, the field, what it holds, and what was expected.
    """
    problems: list[Problem] = []
    place_of_id: dict[int, str] = {}
    for place, row in rows:
        problem = problem_of(row, place)
        if problem.task_id in place_of_id:
            raise ConfigError(
                f"{place}: field 'task_id' is {problem.task_id}, already used by {place_of_id[problem.task_id]}\n"
                "Give that entry another number: every problem has its own"
            )
        place_of_id[problem.task_id] = place
        problems.append(problem)
    return tuple(problems)


def _decoded(content: bytes, path: Path) -> str:
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8\n"
            f"Convert it with: iconv -f <its encoding> -t utf-8 {shlex.quote(str(path))}"
        ) from None
    if not text.strip():
        raise ConfigError(f"{path}: holds no problem\nWrite one object per problem, as in MBPP's mbpp.jsonl")
    return text


def _rows_of_lines(text: str, path: Path) -> list[tuple[str, dict[str, Any]]]:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            place = f"{path}, line {number}"
            rows.append((place, _object(_parsed(line, place), place)))
    return rows


def _rows_of_list(text: str, path: Path) -> list[tuple[str, dict[str, Any]]]:
    items = _parsed(text, str(path))
    if not isinstance(items, list) or not items:
        raise ConfigError(
            f"{path}: holds {shown(items)}\nWrite a list of objects, or one object per line into a .jsonl file"
        )
    places = [f"{path}, item {number}" for number in range(1, len(items) + 1)]
    return [(place, _object(item, place)) for place, item in zip(places, items, strict=True)]


def _parsed(text: str, where: str) -> Any:
    # EvalPlus writes inputs as Python does, infinite ones too; the rows' other fields hold none.
    parse_constant = float if '"plus_input"' in text else _refuse_constant
    try:
        return json.loads(text, parse_constant=parse_constant)
    except json.JSONDecodeError as error:
        spot = f"column {error.colno}" if "\n" not in text else f"line {error.lineno}, column {error.colno}"
        raise ConfigError(f"{where}: is not JSON ({error.msg} at {spot})\nWrite one JSON object per problem") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"{where}: is not JSON that can be read ({error})\nWrite one JSON object per problem"
        ) from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(
            f'{where}: is {shown(value)}\nWrite an object with the fields "task_id", "text", "code", "test_list"'
        )
    return value
