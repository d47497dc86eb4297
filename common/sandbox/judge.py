"""Decide a verdict from what a program sent, or from what its tests found. No candidate code runs here.

A pass needs every test answered, and true in an evaluation that the program cannot reach. Exit status, output
and silence prove nothing.
"""

import builtins
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.sandbox import monitor
from common.sandbox.decoding import DecodeError, decode, parse
from common.sandbox.encoding import NOT_PLAIN
from common.sandbox.framing import split_frames
from common.sandbox.plain import VALUE_NAME, PlainTest, PlainTests
from common.sandbox.programs import MIB, Limits
from common.sandbox.verdict import NEAR_LIMIT_FRACTION, Verdict, clean_message, error_class, shown


@dataclass(frozen=True)
class Finding:
    """What is wrong with a program, before its times are added."""

    label: str
    error: str | None
    failed_test: str | None
    message: str


CORRECT = Finding("correct", None, None, "")


class NotPlain(Exception):
    """A value is of no plain class, or too large for the judge: the tests must run as they are written."""


@dataclass(frozen=True)
class Answers:
    """A program's decoded messages. `broken` says why reading stopped early."""

    values: Mapping[int, Any]
    raised: Mapping[int, tuple[str, str, str]]
    failed: tuple[str, str, str, str] | None
    broken: str | None


def read_answers(data: bytes) -> Answers:
    """The messages in `data`. The first answer to a test counts; junk ends the reading, without an error."""
    values: dict[int, Any] = {}
    raised: dict[int, tuple[str, str, str]] = {}
    failed, broken = None, None
    for frame in split_frames(data):
        try:
            message = parse(frame)
        except (DecodeError, MemoryError) as error:
            broken = str(error) or "the answer takes too much memory"
            break
        match message:
            case ["value", int(index), node]:
                values.setdefault(index, node)
            case ["raised", int(index), str(nearest), str(name), str(text)]:
                raised.setdefault(index, (nearest, name, text))
            case ["failed", str(stage), str(nearest), str(name), str(text)]:
                failed = (stage, nearest, name, text)
                break
            case _:
                broken = "the answer is no message of the sandbox"
                break
    return Answers(values, raised, failed, broken)


def judge_plain(plan: PlainTests, reply: Mapping[str, Any], data: bytes, limits: Limits) -> Finding:
    """The finding on a program whose tests are plain. Raises: NotPlain. `reply` holds the server's measurements."""
    if reply["stopped_for"] == monitor.FLOOD:
        raise NotPlain
    answers = read_answers(data)
    if answers.failed is not None and answers.failed[0] != "imports":
        return _did_not_run(answers.failed)
    names: dict[str, Any] = {"__builtins__": builtins}
    try:
        exec(compile(plan.imports, "<tests>", "exec"), names)
    except ImportError as error:
        return Finding("unsupported", None, None, f"the tests need what is not here: {error}")
    if answers.failed is not None:
        return _did_not_run(answers.failed)
    for index, test in enumerate(plan.tests):
        if index in answers.raised:
            nearest, name, text = answers.raised[index]
            return Finding("incorrect", error_class(nearest, False), test.text, f"{name}: {text}")
        if index not in answers.values:
            return _silence(test.text, reply, limits, answers.broken)
        finding = _compare(test, answers.values[index], names)
        if finding is not CORRECT:
            return finding
    return CORRECT


def _did_not_run(failed: tuple[str, str, str, str]) -> Finding:
    stage, nearest, name, text = failed
    return Finding("incorrect", error_class(nearest, stage == "compile"), None, f"{name}: {text}")


def _compare(test: PlainTest, node: Any, names: dict[str, Any]) -> Finding:
    """Whether the test's condition holds for this value. Raises: NotPlain."""
    if node == NOT_PLAIN:
        raise NotPlain
    value: Any = None
    try:
        value = decode(node)
        if eval(test.condition, {**names, VALUE_NAME: value}):
            return CORRECT
    except DecodeError as error:
        return Finding("incorrect", "wrong_answer", test.text, str(error))
    except MemoryError:
        return Finding("incorrect", "wrong_answer", test.text, "comparing the value takes too much memory")
    except Exception as error:  # the test's own operation on a value of the wrong kind: len(None)
        message = f"{type(error).__name__}: {error}"
        return Finding("incorrect", error_class(type(error).__name__, False), test.text, message)
    return Finding("incorrect", "wrong_answer", test.text, "got " + shown(value, ValueError, RecursionError))


def judge_report(report: Any, program: Mapping[str, Any], tests: Mapping[str, Any], limits: Limits) -> Finding:
    """The finding of tests that ran as they are written. `program`, `tests`: the servers' measurements of both.

    `report`: a running.Report as JSON; None when the tests' process was stopped before it wrote one.
    """
    match report:
        case {"label": str(label), "failed_test": None | str() as test, "message": str(message), "ended": bool(ended)}:
            if ended:
                return _silence(test, program, limits, message)
            match report.get("error"):
                case [str(nearest), str(name), str(text)]:
                    error = error_class(nearest, report.get("while_compiling") is True)
                    return Finding("incorrect", error, test, f"{name}: {text}")
            return Finding(label, "wrong_answer" if label == "incorrect" else None, test, message)
    if tests["stopped_for"] in (monitor.CPU, monitor.BLOCKED, monitor.WALL):
        finding = _timeout(None, tests["stopped_for"], limits)
        return Finding("incorrect", finding.error, None, f"the tests took {finding.message}")
    return Finding("incorrect", "wrong_answer", None, "the tests take more memory or stack than they have")


def verdict(finding: Finding, replies: list[Mapping[str, Any]], limits: Limits, scratch: str = "") -> Verdict:
    """The verdict on a program; `replies` holds the measurements of its process first, then those of its tests."""
    reply = replies[0]
    if finding.label == "correct" and reply["cpu_s"] > limits.cpu_s:
        finding = _timeout(None, monitor.CPU, limits)  # right, but only between the soft and the hard limit
    used = max(max(each["cpu_s"] / limits.cpu_s, each["blocked_s"] / limits.blocked_s) for each in replies)
    return Verdict(
        label=finding.label,
        error=finding.error,
        failed_test=finding.failed_test,
        message=clean_message(finding.message, scratch),
        cpu_s=round(reply["cpu_s"], 4),
        wall_s=round(reply["wall_s"], 4),
        near_limit=used >= NEAR_LIMIT_FRACTION or any(each["stopped_for"] == monitor.WALL for each in replies),
    )


def _silence(test: str | None, reply: Mapping[str, Any], limits: Limits, broken: str | None) -> Finding:
    """Why a test has no answer."""
    reason, code = reply["stopped_for"], reply["exit_code"]
    if reason in (monitor.CPU, monitor.BLOCKED, monitor.WALL):
        return _timeout(test, reason, limits)
    if reason == monitor.FLOOD:
        text = f"what it wrote to its tests is larger than {limits.answer_bytes // MIB} MiB"
        return Finding("incorrect", "wrong_answer", test, text)
    if reason == monitor.DISK:
        text = f"it filled its scratch folder beyond {limits.scratch_bytes // MIB} MiB"
        return Finding("incorrect", "killed", test, text)
    if reason == monitor.THREADS:
        return Finding("incorrect", "killed", test, f"it started more than {limits.threads} threads")
    if code < 0:
        return Finding("incorrect", "killed", test, f"killed by {signal_name(-code)}")
    text = broken or f"it left with exit status {code} before answering"
    return Finding("incorrect", "other_exception", test, text)


def signal_name(number: int) -> str:
    """'SIGKILL'; 'signal 34' of one that has no name."""
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
