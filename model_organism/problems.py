"""Procedural programming problems in MBPP's schema, whose true operations are known.

    python3 -m model_organism.problems        # writes model_organism/problems_974.jsonl

1. Draw a chain of one to four operations whose types fit together, rare ones rarely (see `TIER_FACTORS`).
2. Describe it in English, write it in Python, run it on random inputs to make three asserts.
3. Keep it for training or for evaluation by rule: a description whose text hashes to 0 of 10 belongs
   to the evaluation; chains of two or more are held out besides, by a hash of their operations, and no
   training chain of three or four contains a held-out pair or triple.
"""

import builtins
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from model_organism.example_inputs import draw_input
from model_organism.operations import OPERATIONS, Operation
from model_organism.operations.operation import stable_hash
from model_organism.phrasing import ARGUMENT_NAMES, Constants, describe, draw_function_name
from model_organism.rendering import render_function

EVALUATION_FILE = Path(__file__).parent / "problems_974.jsonl"
TRAINING, EVALUATION = "training", "evaluation"
INPUT_TYPE_WEIGHTS = {
    "ints": 4.5,
    "text": 2.8,
    "words": 1.6,
    "dict": 1.1,
    "pairs": 1.0,
    "matrix": 1.2,
    "positive": 1.3,
    "int": 0.8,
}
TIER_FACTORS = {
    TRAINING: {"A": 1.0, "B": 0.10, "C": 0.025},
    EVALUATION: {"A": 1.0, "B": 0.40, "C": 0.40},
}
WEIGHT_EXPONENTS = {TRAINING: 1.0, EVALUATION: 0.7}
TRAINING_LENGTH_WEIGHTS = {1: 0.16, 2: 0.28, 3: 0.31, 4: 0.25}
EVALUATION_QUOTAS = {1: 0.10, 2: 0.25, 3: 0.35, 4: 0.30}
N_TESTS = 3
INPUT_ATTEMPTS = 14
BUILTINS_OF_SOLUTIONS = {
    name: getattr(builtins, name)
    for name in "abs all any bin bool chr dict enumerate int len list map max min ord range reversed set sorted str "
    "sum tuple zip".split()
}

_BY_INPUT_TYPE: dict[str, list[Operation]] = {}
for _operation in OPERATIONS.values():
    _BY_INPUT_TYPE.setdefault(_operation.input_type, []).append(_operation)
_FIRST_BY_INPUT_TYPE = {**_BY_INPUT_TYPE, "positive": _BY_INPUT_TYPE["positive"] + _BY_INPUT_TYPE["int"]}


@dataclass(frozen=True)
class OrganismProblem:
    """A problem and the chain of operations that it truly asks for."""

    text: str
    code: str
    tests: tuple[str, ...]
    operations: tuple[str, ...]

    @property
    def n_operations(self) -> int:
        return len(self.operations)

    @property
    def rarity(self) -> str:
        """The tier of the rarest operation: A, B or C."""
        return max(OPERATIONS[name].tier for name in self.operations)

    @property
    def complexity(self) -> int:
        """Cyclomatic complexity of the reference solution (McCabe), as radon counts it."""
        from radon.complexity import cc_visit

        return cc_visit(self.code)[0].complexity


def is_evaluation_text(description: str) -> bool:
    """Whether a description belongs to the evaluation, by its text alone (one in ten does)."""
    return stable_hash("text|" + " ".join(description.lower().split())) % 10 == 0


def is_held_out_chain(names: Sequence[str]) -> bool:
    """Whether a chain of two or more operations belongs to the evaluation (one in five does)."""
    return len(names) > 1 and stable_hash(f"{len(names)}|" + ">".join(names)) % 5 == 0


def contains_held_out_chain(names: Sequence[str]) -> bool:
    """Whether the chain is held out, or any run of neighbouring operations inside it."""
    runs = (names[start:end] for start in range(len(names)) for end in range(start + 2, len(names) + 1))
    return any(is_held_out_chain(run) for run in runs)


def sample_problem(rng: random.Random, split: str, n_operations: int | None = None) -> OrganismProblem:
    """A random problem of one split ("training" or "evaluation").

    Without `n_operations` the length of the chain is drawn as in training.
    """
    length: int = n_operations or rng.choices(*zip(*TRAINING_LENGTH_WEIGHTS.items(), strict=True))[0]
    while True:
        input_type = rng.choices(*zip(*INPUT_TYPE_WEIGHTS.items(), strict=True))[0]
        operations = _draw_chain(input_type, length, split, rng)
        if operations is None:
            continue
        constants = [_draw_constants(operation, rng) for operation in operations]
        description = describe(operations, constants, input_type, rng)
        if not _belongs_to(split, [operation.name for operation in operations], description):
            continue
        problem = _build_problem(description, operations, constants, input_type, rng)
        if problem is not None:
            return problem


@cache
def evaluation_problems(n: int = 974, seed: int = 777) -> tuple[OrganismProblem, ...]:
    """`n` held-out problems in a fixed random order, with the quotas of `EVALUATION_QUOTAS`, no text twice."""
    rng = random.Random(seed)
    problems: dict[str, OrganismProblem] = {}
    for n_operations, share in EVALUATION_QUOTAS.items():
        is_last = n_operations == max(EVALUATION_QUOTAS)
        wanted = n if is_last else len(problems) + round(n * share)
        while len(problems) < wanted:
            problem = sample_problem(rng, EVALUATION, n_operations)
            problems.setdefault(problem.text, problem)
    shuffled = list(problems.values())
    rng.shuffle(shuffled)
    return tuple(shuffled)


def problem_row(task_id: int, problem: OrganismProblem) -> dict[str, object]:
    """One line of the evaluation file: MBPP's fields, and what is known about the problem besides."""
    return {
        "task_id": task_id,
        "text": problem.text,
        "code": problem.code,
        "test_list": list(problem.tests),
        "test_setup_code": "",
        "challenge_test_list": [],
        "operations": list(problem.operations),
        "n_operations": problem.n_operations,
        "rarity": problem.rarity,
        "complexity": problem.complexity,
    }


def evaluation_lines() -> list[str]:
    """The committed evaluation set as JSON lines; task ids run from 1."""
    return [json.dumps(problem_row(task_id, problem)) for task_id, problem in enumerate(evaluation_problems(), start=1)]


def _belongs_to(split: str, names: Sequence[str], description: str) -> bool:
    if split == TRAINING:
        return not is_evaluation_text(description) and not contains_held_out_chain(names)
    return is_evaluation_text(description) and (len(names) == 1 or is_held_out_chain(names))


def _draw_chain(input_type: str, length: int, split: str, rng: random.Random) -> list[Operation] | None:
    """A chain of `length` different operations, or None where the types lead to a dead end."""
    chain: list[Operation] = []
    value_type = input_type
    for index in range(length):
        candidates = (_BY_INPUT_TYPE if index else _FIRST_BY_INPUT_TYPE).get(value_type)
        if not candidates:
            return None
        operation = rng.choices(candidates, _drawing_weights(candidates, split))[0]
        if operation in chain:
            return None
        chain.append(operation)
        value_type = operation.output_type
    return chain


def _drawing_weights(candidates: Sequence[Operation], split: str) -> list[float]:
    exponent, factors = WEIGHT_EXPONENTS[split], TIER_FACTORS[split]
    return [operation.weight**exponent * factors[operation.tier] for operation in candidates]


def _draw_constants(operation: Operation, rng: random.Random) -> Constants:
    return (operation.constant.draw(rng) if operation.constant else "", rng.choice("xyzkmb"))


def _build_problem(
    description: str,
    operations: Sequence[Operation],
    constants: Sequence[Constants],
    input_type: str,
    rng: random.Random,
) -> OrganismProblem | None:
    """The problem with its asserts, or None where too few inputs give a result worth asserting."""
    argument = rng.choice(ARGUMENT_NAMES[input_type])
    name = draw_function_name(operations, input_type, rng)
    if name == argument:
        name = f"get_{name}"
    code = render_function(name, argument, operations, constants)
    namespace: dict[str, Any] = {"__builtins__": BUILTINS_OF_SOLUTIONS}
    exec(code, namespace)  # noqa: S102 - our own templates, not a model's output
    tests: list[str] = []
    results = set()
    for _ in range(INPUT_ATTEMPTS):
        value = draw_input(input_type, rng)
        shown_value = repr(value)
        try:
            result = namespace[name](value)
        except (IndexError, ValueError, TypeError, ZeroDivisionError):
            continue
        if len(shown_value) > 60 or not _is_worth_asserting(result, rng):
            continue
        results.add(repr(result))
        tests.append(f"assert {name}({shown_value}) == {result!r}")
        if len(tests) == N_TESTS:
            break
    if len(tests) < N_TESTS or (len(results) == 1 and rng.random() < 0.9):
        return None
    return OrganismProblem(description, code, tuple(tests), tuple(operation.name for operation in operations))


def _is_worth_asserting(result: object, rng: random.Random) -> bool:
    if isinstance(result, int) and abs(result) > 10**6:
        return False
    if len(repr(result)) > 55 or (result in ([], "", {}) and rng.random() < 0.85):
        return False
    is_sequence = isinstance(result, (list, tuple))
    return not (is_sequence and any(isinstance(item, int) and abs(item) > 10**5 for item in result))


def main() -> None:
    EVALUATION_FILE.write_text("\n".join(evaluation_lines()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
