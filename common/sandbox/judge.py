"""Decide a verdict from values that a program sent. Trusted: no candidate code runs here.

A pass needs every assert answered, and true in the judge's own evaluation. Exit status, output and
silence prove nothing.
"""

import builtins
import importlib
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.sandbox import monitor
from common.sandbox.asserts import JUDGE_MODULES, VALUE_NAME, Step, TestPlan
from common.sandbox.decoding import DecodeError, Opaque, OpaqueUse, decode, parse
from common.sandbox.framing import split_frames
from common.sandbox.programs import MIB, Limits
from common.sandbox.verdicts import NEAR_LIMIT_FRACTION, Verdict, clean_message, error_class

_SHOWN_CHARS = 120


@dataclass(frozen=True)
class Finding:
    """What is wrong with a program, before its times are added."""

    label: str
    error: str | None
    failed_test: str | None
    message: str


CORRECT = Finding("correct", None, None, "")


@dataclass(frozen=True)
class Answers:
    """A program's decoded messages. `broken` says why reading stopped early."""

    values: Mapping[int, list[Any]]
    raised: Mapping[int, tuple[str, str, str]]
    failed: tuple[str, str, str, str] | None
    broken: str | None


def read_answers(data: bytes) -> Answers:
    """The messages in `data`. The first answer to a step counts; junk ends the reading, without an error."""
    values: dict[int, list[Any]] = {}
    raised: dict[int, tuple[str, str, str]] = {}
    failed, broken = None, None
    for frame in split_frames(data):
        try:
            message = parse(frame)
        except (DecodeError, MemoryError) as error:
            broken = str(error) or "the answer takes too much memory"
            break
        match message:
            case ["values", int(index), list(nodes)]:
                values.setdefault(index, nodes)
            case ["raised", int(index), str(nearest), str(name), str(text)]:
                raised.setdefault(index, (nearest, name, text))
            case ["failed", str(stage), str(nearest), str(name), str(text)]:
                failed = (stage, nearest, name, text)
                break
            case _:
                broken = "the answer is no message of the sandbox"
                break
    return Answers(values, raised, failed, broken)


def judge_namespace(plan: TestPlan) -> dict[str, Any]:
    """Names for the trusted conditions: builtins, the judge's modules, imports and variables of the tests."""
    names: dict[str, Any] = {"__builtins__": builtins}
    names |= {name: importlib.import_module(name) for name in plan.required_names if name in JUDGE_MODULES}
    exec(compile(plan.judge_source, "<tests>", "exec"), names)
    return names


def judge(plan: TestPlan, reply: Mapping[str, Any], data: bytes, limits: Limits, scratch: str = "") -> Verdict:
    """The verdict of one program that ran. `reply` holds the server's measurements."""
    finding = _find(plan, reply, read_answers(data), limits)
    over_cpu = reply["cpu_s"] > limits.cpu_s
    if finding is CORRECT and over_cpu:  # right, but only in the second between the soft and the hard limit
        finding = _timeout(None, monitor.CPU, limits)
    used = max(reply["cpu_s"] / limits.cpu_s, reply["blocked_s"] / limits.blocked_s)
    return Verdict(
        label=finding.label,
        error=finding.error,
        failed_test=finding.failed_test,
        message=clean_message(finding.message, scratch),
        cpu_s=round(reply["cpu_s"], 4),
        wall_s=round(reply["wall_s"], 4),
        near_limit=used >= NEAR_LIMIT_FRACTION,
    )


def _find(plan: TestPlan, reply: Mapping[str, Any], answers: Answers, limits: Limits) -> Finding:
    if answers.failed is not None:
        stage, nearest, name, text = answers.failed
        return Finding("incorrect", error_class(nearest, stage == "compile"), None, f"{name}: {text}")
    if not any(step.condition or step.unsupported for step in plan.steps):
        return Finding("unsupported", None, None, "the tests hold no assert")
    try:
        names = judge_namespace(plan)
    except Exception as error:  # tests of a dataset that need what this machine lacks
        return Finding("unsupported", None, None, f"the tests' own statements fail: {error!r}")
    unsupported: Finding | None = None
    for index, step in enumerate(plan.steps):
        finding = _judge_step(index, step, names, answers, reply, limits)
        if finding.label == "incorrect":
            return finding
        if finding.label == "unsupported":
            unsupported = unsupported or finding
    return unsupported or CORRECT


def _judge_step(
    index: int, step: Step, names: dict[str, Any], answers: Answers, reply: Mapping[str, Any], limits: Limits
) -> Finding:
    if index in answers.values:
        nodes = answers.values[index]
        if len(nodes) != len(step.expressions):
            return Finding("incorrect", "wrong_answer", step.test, "the answer has not one value per expression")
        if step.unsupported:
            return Finding("unsupported", None, step.test, step.unsupported)
        return _compare(step, nodes, names)
    if index in answers.raised:
        nearest, name, text = answers.raised[index]
        return Finding("incorrect", error_class(nearest, False), step.test, f"{name}: {text}")
    return _silence(step, answers, reply, limits)


def _compare(step: Step, nodes: list[Any], names: dict[str, Any]) -> Finding:
    """Whether the step's condition holds for these values."""
    if step.condition is None:
        return CORRECT  # statements only
    values: list[Any] = []
    try:
        values = [decode(node) for node in nodes]
        bindings = {VALUE_NAME.format(position): value for position, value in enumerate(values)}
        if eval(step.condition, {**names, **bindings}):
            return CORRECT
    except DecodeError as error:
        return Finding("incorrect", "wrong_answer", step.test, str(error))
    except OpaqueUse as error:
        n_opaque = sum(isinstance(value, Opaque) for value in values)
        if error.decided and n_opaque < 2:
            return Finding("incorrect", "wrong_answer", step.test, f"got {error}")
        return Finding("unsupported", None, step.test, f"only the program's own code could judge {error}")
    except MemoryError:
        return Finding("incorrect", "wrong_answer", step.test, "comparing the value takes too much memory")
    except Exception as error:  # the test's own operation on a value of the wrong kind: len(None)
        message = f"{type(error).__name__}: {error}"
        return Finding("incorrect", error_class(type(error).__name__, False), step.test, message)
    return Finding("incorrect", "wrong_answer", step.test, "got " + ", ".join(map(_shown, values)))


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError, OpaqueUse):  # an int of more digits than Python prints
        return f"a {type(value).__name__} too large to show"
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 3] + "..."


def _silence(step: Step, answers: Answers, reply: Mapping[str, Any], limits: Limits) -> Finding:
    """Why a step has no answer."""
    reason, code = reply["stopped_for"], reply["exit_code"]
    if reason in (monitor.CPU, monitor.BLOCKED, monitor.WALL):
        return _timeout(step.test, reason, limits)
    if reason == monitor.FLOOD:
        text = f"the answer is larger than {limits.answer_bytes // MIB} MiB"
        return Finding("incorrect", "wrong_answer", step.test, text)
    if reason == monitor.DISK:
        text = f"it filled its scratch folder beyond {limits.scratch_bytes // MIB} MiB"
        return Finding("incorrect", "killed", step.test, text)
    if reason == monitor.THREADS:
        return Finding("incorrect", "killed", step.test, f"it started more than {limits.threads} threads")
    if code < 0:
        return Finding("incorrect", "killed", step.test, f"killed by {_signal_name(-code)}")
    text = answers.broken or f"it left with exit status {code} before answering"
    return Finding("incorrect", "other_exception", step.test, text)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _timeout(test: str | None, reason: str, limits: Limits) -> Finding:
    text = {
        monitor.CPU: f"more than {limits.cpu_s:g} s of CPU time",
        monitor.BLOCKED: f"blocked for more than {limits.blocked_s:g} s",
        monitor.WALL: f"more than {limits.wall_s:g} s in all",
    }[reason]
    return Finding("incorrect", "timeout", test, text)
