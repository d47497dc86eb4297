"""Programs in the files of evaluation harnesses: bigcode-evaluation-harness, lm-evaluation-harness, inspect_ai."""

import importlib
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.errors import ConfigError
from common.problems.extraction import extract_program
from common.problems.json_values import as_object, field_of, is_zip, values_in
from common.problems.problem import shown
from common.programs.problem_files import Problems
from common.programs.submissions import Submission, made
from common.programs.suites import Suite, has_tests, suite_of
from common.sandbox.entry_point import defined_names, parse_quietly

BIGCODE = "generations of bigcode-evaluation-harness"
LM_EVAL = "samples of lm-evaluation-harness"
INSPECT = "a log of inspect_ai"
_BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)


def bigcode_generations(path: Path, problems: Problems | None) -> Iterator[Submission]:
    """`[[program, ...], ...]`: whole programs, by the index of their problem in the dataset.

    Raises: ConfigError, also when the programs seem to be of other problems than those in the dataset's order.
    """
    if problems is None:
        raise ConfigError(
            f"{path} holds {BIGCODE}, which bring no tests\n"
            f"Give the problems in the order in which the harness read them: --dataset FILE"
        )
    values, n_related = list(values_in(path)), 0
    if len(values) > len(problems.in_order):
        raise ConfigError(
            f"{path} holds programs of {len(values)} problems, and {problems.dataset} only {len(problems.in_order)}\n"
            f"Give the dataset that they were written for"
        )
    for (where, programs), (task_id, suite) in zip(values, problems.in_order, strict=False):
        if not isinstance(programs, list) or not all(isinstance(program, str) for program in programs):
            raise ConfigError(f"{where}: {shown(programs)} in {BIGCODE}\nGive a list of programs for each problem")
        n_related += any(_may_be_tested(program, suite) for program in programs) or not programs
        yield from (made(task_id, program, suite, where) for program in programs)
    if 2 * n_related < len(values):
        raise ConfigError(
            f"{path}: only {n_related} of {len(values)} problems have a program that mentions the tested function, so "
            f"{problems.dataset} is another dataset, or in another order\n"
            f"Give the problems that the harness read, in its order; its task mbpp reads problems 11 to 510: "
            f"sed -n 11,510p mbpp.jsonl > mbpp_test.jsonl"
        )


def lm_eval_samples(path: Path, problems: Problems | None, field: str | None) -> Iterator[Submission]:
    """The programs that the harness judged, `filtered_resps`, with the tests in `doc`.

    Where nothing was filtered, a text that does not define the tested function continues the prompt.
    """
    for where, value in values_in(path):
        row = as_object(value, where)
        doc = field_of(row, ("doc",), (dict,), where)
        name = doc.get("task_id") if isinstance(doc.get("task_id"), str | int) else None
        name = name if name is not None else field_of(row, ("doc_id",), (int, str), where)
        suite = _suite(doc, name, f"{where}, doc", problems, LM_EVAL)
        names = (field,) if field else ("filtered_resps", "resps")
        texts = _texts(field_of(row, names, (list, str), where), where)
        as_written = texts == _texts(row.get("resps") or [], where)
        for text in texts:
            yield made(name, _continued(text, suite) if as_written else text, suite, where)


def inspect_log(path: Path, problems: Problems | None) -> Iterator[Submission]:
    """The program in each answer of each sample, with the tests in its metadata."""
    for place, log in _inspect_documents(path):
        for number, sample in enumerate(field_of(as_object(log, place), ("samples",), (list,), place), 1):
            where = f"{path}, sample {number}"
            sample = as_object(sample, where)
            name = field_of(sample, ("id",), (str, int), where)
            metadata = field_of(sample, ("metadata",), (dict,), where, default={})
            suite = _suite(metadata, name, f"{where}, metadata", problems, INSPECT)
            for answer in _answers(sample, path, where):
                tested = suite.entry_point(answer, where)
                block = _BLOCK.search(answer)
                program = block[1] if block else answer
                if tested is not None and tested in defined_names(answer):
                    program = extract_program(answer, tested)
                yield made(name, _continued(program, suite), suite, where)


def _suite(row: dict[str, Any], name: str | int, where: str, problems: Problems | None, format: str) -> Suite:
    if has_tests(row):
        code = row.get("code")
        return suite_of(row, where, code if isinstance(code, str) else None)
    if problems is not None:
        return problems.find(name, where)
    raise ConfigError(
        f"{where}: {format}, without tests: {', '.join(row) or 'it is empty'}\n"
        f"Give the file of problems: --dataset FILE; only tasks that write programs can be judged"
    )


def _may_be_tested(program: str, suite: Suite) -> bool:
    return re.search(rf"\b{re.escape(suite.judge.entry_point or '')}\b", program) is not None


def _continued(text: str, suite: Suite) -> str:
    """The program that begins with the problem's prompt and goes on with `text`.

    A text that defines the tested function itself may still need the prompt's imports and helpers.
    """
    if suite.prompt is None:
        return text
    if suite.judge.entry_point not in defined_names(text):
        return suite.prompt + text
    goes_before = parse_quietly(suite.prompt) is not None and "__future__" not in text
    return f"{suite.prompt}\n{text}" if goes_before else text


def _texts(value: Any, where: str, depth: int = 3) -> list[str]:
    """All texts of a list, of a list of lists ...

    The harness has one list for each request of a document, or one text.
    """
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not depth:
        raise ConfigError(f"{where}: {shown(value)} in {LM_EVAL} is no text\nGive a task that writes programs")
    return [text for item in value for text in _texts(item, where, depth - 1)]


def _answers(sample: dict[str, Any], path: Path, where: str) -> list[str]:
    output = field_of(sample, ("output",), (dict,), where)
    choices = field_of(output, ("choices",), (list,), where, default=[])
    contents = [as_object(choice, where).get("message", {}).get("content") for choice in choices]
    if not contents:
        raise ConfigError(
            f"{where}: {sample['id']!r} was not answered: {shown(sample.get('error'))}\n"
            f"Finish the evaluation with: inspect eval-retry {shlex.quote(str(path))}"
        )
    return ["".join(map(_text_of_part, content)) if isinstance(content, list) else str(content) for content in contents]


def _text_of_part(part: Any) -> str:
    """Of a part of a message: reasoning, images and calls of tools are no answer."""
    return part.get("text", "") if isinstance(part, dict) and part.get("type") == "text" else ""


def _inspect_documents(path: Path) -> Iterator[tuple[str, Any]]:
    if not is_zip(path):
        yield from values_in(path)
        return
    if importlib.util.find_spec("inspect_ai") is None:
        raise ConfigError(
            f"{path} is {INSPECT} in its .eval format, which inspect_ai alone reads, and it is not installed here\n"
            f"Convert it where it is installed: inspect log convert {shlex.quote(str(path))} --to json --output-dir ."
        )
    log = importlib.import_module("inspect_ai.log").read_eval_log(str(path))
    yield str(path), log.model_dump(mode="json", exclude_none=True)
