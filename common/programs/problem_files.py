"""The problems that programs are judged by, where the programs bring no tests."""

from typing import Any

from common.errors import ConfigError
from common.problems.datasets import DATASETS, published_rows
from common.problems.evalplus import is_evalplus_row
from common.problems.files import problems_of
from common.programs.suites import Suite, suite_of_problem


class Problems:
    """Suites in the order of their dataset, and by task_id: 2, "2" and "Mbpp/2" name the same one.

    `format` says what the dataset is, for the log.
    Raises: ConfigError naming the place; AssetError for a dataset that is not on this disk.
    """

    def __init__(self, dataset: str):
        rows, _ = published_rows(dataset)
        problems, published = problems_of(rows), [row for _, row in rows]
        self.dataset = dataset
        self.format = f"{'the problems of' if dataset in DATASETS else problem_format(published[0])} {dataset}"
        self.in_order: list[tuple[str | int, Suite]] = [
            (row["task_id"], suite_of_problem(problem, row)) for problem, row in zip(problems, published, strict=True)
        ]
        self._by_number = {_parts(task_id)[1]: (_parts(task_id)[0], suite) for task_id, suite in self.in_order}

    def find(self, task_id: str | int, where: str) -> Suite:
        """The suite of one problem. Raises: ConfigError when there is none."""
        prefix, number = _parts(task_id)
        other, suite = self._by_number.get(number, (prefix, None))
        if suite is None or (prefix and other and prefix != other):
            raise ConfigError(
                f"{where}: the dataset has no problem {task_id!r}: {self.dataset}, where the first "
                f"is {self.in_order[0][0]!r}\nGive its task_id as it stands there, or add tests"
            )
        return suite


def problem_format(row: dict[str, Any]) -> str:
    """What a row of problems looks like, for the log."""
    if is_evalplus_row(row):
        return "EvalPlus' problem file"
    if "canonical_solution" in row:
        return "HumanEval's problem file"
    if "test" in row and "test_list" in row:
        return "mbppplus' problem file"
    return "MBPP's problem file"


def _parts(task_id: str | int) -> tuple[str, str]:
    prefix, _, number = str(task_id).rpartition("/")
    return prefix.casefold(), number
