"""Problems from a file: .jsonl, one object per line, or .json, a list of objects."""

import codecs
import json
import shlex
from pathlib import Path
from typing import Any, NoReturn

from common.errors import ConfigError
from common.problems.formats import problem_of
from common.problems.record import Problem, shown

SUFFIXES = (".jsonl", ".json")


def read_problem_bytes(path: Path) -> bytes:
    """The file's bytes.

    Raises: ConfigError when it is not there, no file, may not be read, or has another suffix.
    """
    if path.suffix not in SUFFIXES:
        raise ConfigError(
            f"{path}: a file of problems ends in {' or '.join(SUFFIXES)}\nRename it, or write it in one of these forms"
        )
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file\nGive the path of an existing {' or '.join(SUFFIXES)} file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})\nGive a file that this user may read") from None


def problems_in(content: bytes, path: Path) -> tuple[Problem, ...]:
    """The problems in a file's content, in the file's order. A byte order mark is accepted.

    Raises: ConfigError naming the file, the line (.jsonl) or item (.json), the field, what it
    holds, and what was expected.
    """
    text = _decoded(content, path)
    rows = _rows_of_lines(text, path) if path.suffix == ".jsonl" else _rows_of_list(text, path)
    problems: list[Problem] = []
    place_of_id: dict[int, str] = {}
    for place, row in rows:
        problem = problem_of(row, f"{path}, {place}")
        earlier = place_of_id.setdefault(problem.task_id, place)
        if earlier != place:
            raise ConfigError(
                f"{path}, {place}: field 'task_id' is {problem.task_id}, already used by {earlier}\n"
                "Give that entry another number: every problem has its own"
            )
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
            place = f"line {number}"
            rows.append((place, _object(_parsed(line, f"{path}, {place}"), f"{path}, {place}")))
    return rows


def _rows_of_list(text: str, path: Path) -> list[tuple[str, dict[str, Any]]]:
    items = _parsed(text, str(path))
    if not isinstance(items, list) or not items:
        raise ConfigError(
            f"{path}: holds {shown(items)}\nWrite a list of objects, or one object per line into a .jsonl file"
        )
    places = [f"item {number}" for number in range(1, len(items) + 1)]
    return [(place, _object(item, f"{path}, {place}")) for place, item in zip(places, items, strict=True)]


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
