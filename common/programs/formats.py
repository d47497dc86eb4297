"""The formats of programs that `run.py grade` reads, recognised by the first value of the file."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from common.errors import ConfigError
from common.problems.json_values import as_object, is_zip, values_in
from common.programs import harnesses
from common.programs.problem_files import Problems, problem_format
from common.programs.submissions import FIELDS, ProgramField, Submission, submission_of

HELP = """formats, each recognised by its fields (plain or gzipped; the line "format:" says which was seen):
  JSON lines, or one list     id or task_id; code or generated_code; tests or test_list, and test: a list or one text,
                              HumanEval's check(candidate) too; and setup or test_setup_code, test_imports, entry_point
  HumanEval, EvalPlus         samples: task_id, completion (continues the prompt) or solution (a whole program);
                              with --dataset FILE, their problem file
  bigcode-evaluation-harness  generations.json, with --dataset FILE in the harness's order
  lm-evaluation-harness       samples_*.jsonl: filtered_resps, with the tests in doc
  inspect_ai                  logs: .json, and .eval where inspect_ai is installed
Beside `code`, `generated_code` is the program and `code` the reference. --dataset takes a file of problems (.jsonl or
.json, plain or .gz; of MBPP, mbppplus, HumanEval or EvalPlus) or a name."""

# What tools write besides programs: fields that tell it, its name, and where the programs are.
_RESULTS = (
    ({"hash", "eval"}, "results of EvalPlus", "the samples that they were computed from"),
    ({"results", "configs"}, "results of lm-evaluation-harness", "the samples_*.jsonl of --log_samples"),
    ({"config", "pass@1"}, "results of bigcode-evaluation-harness", "the file of --save_generations"),
)


class Submissions:
    """The programs of one file, each with its tests. Every iteration reads the file again: memory holds one line.

    `format` says what was recognised, for the log.
    """

    def __init__(self, format: str, read: Callable[[], Iterator[Submission]]):
        self.format, self._read = format, read

    def __iter__(self) -> Iterator[Submission]:
        return self._read()


def read_submissions(path: Path, dataset: str | None, field: str | None = None) -> Submissions:
    """The programs of a file of any format in `HELP`.

    `dataset` gives the tests where the file has none, `field` names the one that holds the program.
    Raises: ConfigError naming place, field and what was expected, or the format that cannot be read and what to type;
    AssetError for the dataset.
    """
    first = (str(path), {}) if is_zip(path) else next(values_in(path), None)
    if first is None:
        raise ConfigError(f"{path} holds no program\nGive one JSON object per line, with id, code and tests")
    problems = Problems(dataset) if dataset is not None else None
    format, read = _reader(path, *first, problems, field)
    if problems is not None:
        format += f"; {problems.format}"
    return Submissions(format, read)


def _reader(
    path: Path, where: str, first: Any, problems: Problems | None, field: str | None
) -> tuple[str, Callable[[], Iterator[Submission]]]:
    if isinstance(first, list):
        _refuse_field(field, harnesses.BIGCODE)
        return harnesses.BIGCODE, functools.partial(harnesses.bigcode_generations, path, problems)
    if is_zip(path) or _is_inspect_log(first):
        _refuse_field(field, harnesses.INSPECT)
        return harnesses.INSPECT, functools.partial(harnesses.inspect_log, path, problems)
    row = as_object(first, where)
    if isinstance(row.get("doc"), dict) and ("resps" in row or "filtered_resps" in row):
        return harnesses.LM_EVAL, functools.partial(harnesses.lm_eval_samples, path, problems, field)
    if field is None and not any(name in row for name in FIELDS):
        _refuse_by_name(path, row)
    return _format_of_rows(row), functools.partial(_rows, path, problems, field)


def _refuse_by_name(path: Path, row: dict[str, Any]) -> None:
    """Raises: ConfigError when a row without a program is of a known kind."""
    for fields, name, wanted in _RESULTS:
        if fields <= row.keys():
            raise ConfigError(f"{path} holds {name}, no programs: {', '.join(sorted(row))}\nGive {wanted}")
    if "canonical_solution" in row:
        raise ConfigError(
            f"{path} is {problem_format(row)}: {', '.join(row)}. It holds no programs of a model\n"
            f"Give it beside a file of samples (task_id, solution or completion): --dataset {path}; or judge its own "
            f"solutions with --field canonical_solution"
        )


def _is_inspect_log(first: Any) -> bool:
    return isinstance(first, dict) and isinstance(first.get("eval"), dict) and ("samples" in first or "status" in first)


def _rows(path: Path, problems: Problems | None, field: str | None) -> Iterator[Submission]:
    chosen = ProgramField(field)
    for where, value in values_in(path):
        yield submission_of(as_object(value, where), where, problems, chosen)


def _format_of_rows(row: dict[str, Any]) -> str:
    if "solution" in row or "completion" in row:
        return "samples of HumanEval or EvalPlus"
    if "test_list" in row and "test" in row:
        return "rows of mbppplus"
    return f"rows of {problem_format(row)}" if "canonical_solution" in row else "JSON lines with code"


def _refuse_field(field: str | None, format: str) -> None:
    if field is not None:
        raise ConfigError(f"--field is {field!r}, but {format} have no such fields\nLeave it out")
