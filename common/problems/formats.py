"""The schemas that a row of problems may be in, told apart by the fields that only one of them has."""

from collections.abc import Mapping
from typing import Any

from common.problems.evalplus import evalplus_problem, is_evalplus_row
from common.problems.humaneval import humaneval_problem
from common.problems.problem import Problem, problem_from_row


def problem_of(row: Mapping[str, Any], where: str) -> Problem:
    """The problem in a row of MBPP, sanitized MBPP or MBPP+, of HumanEval or HumanEval+, or of EvalPlus' release files.

    `where` opens every message: "problems.jsonl, line 3".
    Raises: ConfigError naming the field, what it holds and what was expected.
    """
    if is_evalplus_row(row):
        return evalplus_problem(row, where)
    if "canonical_solution" in row:
        return humaneval_problem(row, where)
    return problem_from_row(row, where)
