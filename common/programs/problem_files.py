"""The problems that programs are judged by, where the programs bring no tests: a file of any schema, or a dataset."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from common.errors import ConfigError
from common.problems.datasets import DATASETS, load_problems
from common.problems.hub_datasets import hub_rows
from common.programs.json_values import as_object, field_of, values_in
from common.programs.suites import Suite, suite_of

# Datasets whose tests are more than the asserts that a model is shown: they are judged by the rows as published.
_HUB = {
    "humaneval": ("openai/openai_humaneval", "openai_humaneval"),
    "humaneval+": ("evalplus/humanevalplus", "default"),
    "mbpp+": ("evalplus/mbppplus", "default"),
}


class Problems:
    """Suites in the order of their dataset, and by task_id: 2, "2" and "Mbpp/2" name the same one.

    `format` says what the dataset is, for the log.
    """

    def __init__(self, dataset: str, format: str, suites: Iterable[tuple[str | int, Suite]]):
        self.dataset, self.format = dataset, format
        self.in_order = list(suites)
        self._by_number: dict[str, list[tuple[str, Suite]]] = {}
        for task_id, suite in self.in_order:
            prefix, number = _parts(task_id)
            same_number = self._by_number.setdefault(number, [])
            if prefix in [other for other, _ in same_number]:
                raise ConfigError(f"{dataset}: task_id {task_id!r} stands there twice\nLeave one of them out")
            same_number.append((prefix, suite))
        if not self.in_order:
            raise ConfigError(f"{dataset} holds no problem\nGive a file with one problem per line, or a dataset's name")

    def find(self, task_id: str | int, where: str) -> Suite:
        """The suite of one problem. Raises: ConfigError when there is none, or one in each of two families."""
        prefix, number = _parts(task_id)
        found = [suite for other, suite in self._by_number.get(number, []) if "" in (prefix, other) or prefix == other]
        if len(found) != 1:
            first = self.in_order[0][0]
            raise ConfigError(
                f"{where}: the dataset has {len(found) or 'no'} problem {task_id!r}: {self.dataset}, where the first "
                f"is {first!r}\nGive its task_id as it stands there, or add tests"
            )
        return found[0]


def read_problems(dataset: str) -> Problems:
    """The problems of a dataset by name, or of a file in the schema of MBPP, HumanEval or EvalPlus.

    Raises: ConfigError naming the place; AssetError for a dataset that is not on this disk.
    """
    if dataset in _HUB:
        rows, _ = hub_rows(f"the problems of {dataset}", *_HUB[dataset])
        return _of_rows(dataset, ((f"{dataset}, row {n}", row) for n, row in enumerate(rows, 1)))
    if dataset in DATASETS or not Path(dataset).is_file():
        problems = load_problems(dataset).problems  # says which names there are
        suites = ((p.task_id, Suite(p.test_list, p.entry_point, p.test_setup_code)) for p in problems)
        return Problems(dataset, f"the problems of {dataset}", suites)
    return _of_rows(dataset, values_in(Path(dataset)))


def _of_rows(dataset: str, rows: Iterable[tuple[str, Any]]) -> Problems:
    suites, format = [], ""
    for where, value in rows:
        row = as_object(value, where)
        format = format or problem_format(row)
        task_id = field_of(row, ("task_id",), (str, int), where)
        suites.append((task_id, suite_of(row, where, row.get("code"))))
    return Problems(dataset, f"{format} {dataset}", suites)


def problem_format(row: dict[str, Any]) -> str:
    """What a row of problems looks like, for the log."""
    if "base_input" in row:
        return "EvalPlus' problem file"
    if "canonical_solution" in row:
        return "HumanEval's problem file"
    if "test" in row and "test_list" in row:
        return "mbppplus' problem file"
    return "MBPP's problem file"


def _parts(task_id: str | int) -> tuple[str, str]:
    prefix, _, number = str(task_id).rpartition("/")
    return prefix.casefold(), number
