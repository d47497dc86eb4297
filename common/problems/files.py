"""Problems from a file: .jsonl, one object per line, or .json, a list of objects; either plain or gzipped (.gz)."""

import codecs
import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from common.errors import ConfigError
from common.problems.formats import problem_of
from common.problems.json_values import as_object, parsed
from common.problems.problem import Problem, shown

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
    content = content.removeprefix(codecs.BOM_UTF8)
    if not content.strip():
        raise ConfigError(f"{path}: holds no problem\nWrite one object per problem, as in MBPP's mbpp.jsonl")
    values = _lines(content, path) if _unpacked_name(path).suffix == ".jsonl" else _items(content, path)
    return [(place, as_object(value, place)) for place, value in values]


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


def _lines(content: bytes, path: Path) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            place = f"{path}, line {number}"
            yield place, _parsed(line, place)


def _items(content: bytes, path: Path) -> list[tuple[str, Any]]:
    items = _parsed(content, str(path))
    if not isinstance(items, list) or not items:
        raise ConfigError(
            f"{path}: holds {shown(items)}\nWrite a list of objects, or one object per line into a .jsonl file"
        )
    return [(f"{path}, item {number}", item) for number, item in enumerate(items, start=1)]


def _parsed(content: bytes, where: str) -> Any:
    # EvalPlus writes inputs as Python does, infinite ones too; the rows' other fields hold none.
    return parsed(content, where, float if b'"plus_input"' in content else _refuse_constant)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
