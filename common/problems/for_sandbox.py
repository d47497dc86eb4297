"""What the sandbox judges a program by: its problem's tests, with the reference solution where they ask for it."""

import functools
from collections.abc import Mapping
from typing import Any

from common.problems.syntax import unbound_names
from common.sandbox import Program

REFERENCE = "reference"  # what the tests of EvalPlus' release files call the reference solution


def program_for(problem: Mapping[str, Any], code: str) -> Program:
    """`code` as a program of a problem, which is a row of phase 0 or 0.1."""
    tests = tuple(problem["test_list"])
    return Program(
        code=code,
        tests=tests,
        entry_point=problem["entry_point"],
        setup=problem["test_setup_code"],
        reference=problem["code"] if any(map(_asks_for_reference, tests)) else "",
    )


@functools.lru_cache(maxsize=4096)  # every sample of a problem has its tests
def _asks_for_reference(test: str) -> bool:
    return REFERENCE in test and REFERENCE in unbound_names(test)
