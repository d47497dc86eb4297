"""Grade programs of any origin: a file of programs in, a file of verdicts out.

While it runs, verdicts are appended to `<OUT>.part`, whose first line says what they belong
to; the same command continues there. Each of its lines begins with a hash of the rest: from
the first damaged one on, programs are judged again. Only when every program is judged does OUT appear, and
with it `.meta.json`: isolation, limits, counts, versions.
"""

import contextlib
import hashlib
import json
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from common import provenance
from common.cli import Parser, add_sandbox_flags, new_log, sandbox_settings
from common.errors import ConfigError, PipelineError
from common.files import (
    digest_of,
    file_sha256,
    read_sealed_json,
    sweep_temporaries,
    text_sha256,
    write_atomic,
    write_sealed_json,
)
from common.progress import Progress
from common.sandbox import Limits, Program, Sandbox, Verdict, infer_entry_point
from common.stopping import Stopped, StopRequest

PROGRAMS_AHEAD = 32  # submitted at a time per worker: enough to keep it busy, and memory bounded


@dataclass(frozen=True)
class Submission:
    """One line of the input: what the user calls it, and the program with its tests."""

    id: str | int
    program: Program


def read_submissions(path: Path, dataset: str | None) -> list[Submission]:
    """The programs of a JSON lines file; `dataset` gives the tests of lines that have none.

    Raises: ConfigError naming line, field and what was expected; AssetError for the dataset.
    """
    problems = _problems_by_id(dataset)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}\nGive a file of JSON lines in UTF-8") from error
    submissions = [_submission(line, f"{path}, line {n}", problems) for n, line in enumerate(lines, 1) if line.strip()]
    if not submissions:
        raise ConfigError(f"{path} holds no program\nGive one JSON object per line, with id, code and tests")
    return submissions


class Grading:
    """One run of `run.py grade`. `stamp` is what the verdicts depend on."""

    def __init__(self, source: Path, out: Path, submissions: list[Submission], isolation: str):
        self.source, self.out, self.submissions = source, out, submissions
        self.part = out.with_name(f"{out.name}.part")
        self.meta = out.with_suffix(".meta.json")
        rows = [[s.id, s.program.code, s.program.tests, s.program.entry_point, s.program.setup] for s in submissions]
        self.stamp = {
            "programs": text_sha256(json.dumps(rows)),
            "sandbox": isolation,
            "limits": asdict(Limits()),
        }

    def is_finished(self) -> bool:
        """Whether OUT holds the verdicts of these programs already.

        Raises: ConfigError when OUT exists and holds something else.
        """
        if not self.out.exists():
            return False
        known = self._known()
        if known.get("stamp") == self.stamp and known.get("sha256") == file_sha256(self.out):
            return True
        raise ConfigError(f"{self.out} holds other verdicts\nGive another --out, or replace it with --fresh")

    def line_of_earlier_sandbox(self) -> str:
        """What the finished grading said of its sandbox."""
        return self._known()["sandbox"]["line"]

    def _known(self) -> dict[str, Any]:
        with contextlib.suppress(OSError):
            return read_sealed_json(self.meta) or {}
        return {}

    def run(self, sandbox: Sandbox, log: Any, stop: StopRequest, fresh: bool) -> None:
        """Judge what is not judged yet (`fresh`: everything), in order.

        Raises: Stopped when asked to, with what is judged saved; PipelineError while another process writes OUT.
        """
        lock = FileLock(f"{self.part}.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout as held:
            raise PipelineError(f"{self.out} is being written by another process\nWait for it, or stop it") from held
        with lock:
            for path in (self.out, self.part, self.meta):
                sweep_temporaries(path)
                if fresh:
                    path.unlink(missing_ok=True)
            began, verdicts = time.time(), self._resume(log)
            labels = [row["label"] for row in verdicts]
            with open(self.part, "ab") as part, Progress(len(self.submissions), labels, log) as progress:
                for row in self._judge(self.submissions[len(verdicts) :], sandbox, stop):
                    part.write(_checked_line(row))
                    part.flush()
                    verdicts.append(row)
                    progress.add([row["label"]])
                os.fsync(part.fileno())
            self._finish(verdicts, sandbox, time.time() - began)
        Path(lock.lock_file).unlink(missing_ok=True)

    def _judge(self, submissions: list[Submission], sandbox: Sandbox, stop: StopRequest) -> Iterator[dict[str, Any]]:
        waiting: deque[tuple[Submission, Future[Verdict]]] = deque()
        n_submitted = 0
        with stop.finishing_batches():
            for submission in submissions:
                if stop.asked:
                    break
                n_submitted += 1
                waiting.append((submission, sandbox.submit(submission.program)))
                if len(waiting) >= PROGRAMS_AHEAD * sandbox.workers:
                    yield _verdict_row(*waiting.popleft())
            while waiting:
                yield _verdict_row(*waiting.popleft())
        if n_submitted < len(submissions):
            raise Stopped

    def _resume(self, log: Any) -> list[dict[str, Any]]:
        """Verdicts of an earlier run, up to the first damaged line. Raises: ConfigError for other programs."""
        if not self.part.exists():
            write_atomic(self.part, _checked_line(self.stamp))
            return []
        data = self.part.read_bytes()
        rows = _checked_rows(data)
        if rows and rows[0] != self.stamp:
            raise ConfigError(
                f"{self.part} belongs to other programs or another --sandbox\n"
                f"Give another --out, or start over with --fresh"
            )
        sound = b"".join(map(_checked_line, rows or [self.stamp]))
        if data.removeprefix(sound).count(b"\n"):  # more than the torn last line that a kill leaves
            damaged = self.part.with_name(f"{self.part.name}.damaged")
            write_atomic(damaged, data)
            words = "%s was damaged: kept as %s; %d verdicts are sound, the others are judged again"
            log.warning(words, self.part, damaged, max(0, len(rows) - 1))
        write_atomic(self.part, sound)
        return rows[1:]

    def _finish(self, verdicts: list[dict[str, Any]], sandbox: Sandbox, seconds: float) -> None:
        near_limit = sum(row.pop("near_limit") for row in verdicts)
        data = b"".join(map(_line, verdicts))
        write_sealed_json(  # before OUT, which nobody could tell from a stranger's file without it
            self.meta,
            {
                "stamp": self.stamp,
                "source": str(self.source),
                "sha256": hashlib.sha256(data).hexdigest(),
                "labels": Counter(row["label"] for row in verdicts),
                "errors": Counter(row["error"] for row in verdicts if row["error"]),
                "near_limit_count": near_limit,
                "sandbox": {**sandbox.describe(), "line": sandbox.line},
                "seconds": round(seconds, 1),
                "code": provenance.code_state(),
                "machine": provenance.machine(),
            },
        )
        write_atomic(self.out, data)
        self.part.unlink()


def grade_file(
    source: Path, out: Path, settings: dict[str, Any], *, dataset: str | None, fresh: bool, log: Any, stop: StopRequest
) -> str:
    """Grade `source` into `out`; returns the sandbox's line. Raises: PipelineErrors, Stopped."""
    submissions = read_submissions(source, dataset)
    grading = Grading(source, out, submissions, settings["isolation"])
    if not fresh and grading.is_finished():
        grading.part.unlink(missing_ok=True)  # left by a crash at the very end
        log.info("already graded: %s (--fresh grades it again)", out)
        return grading.line_of_earlier_sandbox()
    with Sandbox(**settings) as sandbox:
        grading.run(sandbox, log, stop, fresh)
        return sandbox.line


def _problems_by_id(dataset: str | None) -> dict[int, Any]:
    if dataset is None:
        return {}
    from common.problems.datasets import load_problems

    return {problem.task_id: problem for problem in load_problems(dataset).problems}


def _submission(line: str, where: str, problems: dict[int, Any]) -> Submission:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ConfigError(f"{where}: no JSON: {error}\nWrite one object per line") from error
    if not isinstance(row, dict):
        raise ConfigError(f"{where}: {type(row).__name__} instead of an object\nWrite one object per line")
    name = _field(row, ("id", "task_id"), (str, int), where)
    code = _field(row, ("code", "generated_code"), (str,), where)
    problem = problems.get(name)
    if problem is not None and "tests" not in row and "test_list" not in row:
        return Submission(name, Program(code, problem.test_list, problem.entry_point, problem.test_setup_code))
    if problems and problem is None and "tests" not in row and "test_list" not in row:
        raise ConfigError(f"{where}: the dataset has no problem {name!r}\nGive its number as task_id, or add tests")
    tests = _field(row, ("tests", "test_list"), (list,), where)
    if not tests or not all(isinstance(test, str) for test in tests):
        raise ConfigError(f"{where}: field 'tests' is {tests!r:.80}\nGive a list of asserts, as text")
    setup = _field(row, ("setup", "test_setup_code"), (str,), where, default="")
    entry_point = _field(row, ("entry_point",), (str,), where, default="") or infer_entry_point(code, tuple(tests))
    return Submission(name, Program(code, tuple(tests), entry_point, setup))


def _field(row: dict, names: tuple[str, ...], kinds: tuple[type, ...], where: str, default: Any = None) -> Any:
    name = next((name for name in names if row.get(name) is not None), None)
    if name is None and default is not None:
        return default
    shown = " or ".join(names)
    if name is None:
        raise ConfigError(f"{where}: field '{shown}' is missing\nGive it a value of type {kinds[0].__name__}")
    if not isinstance(row[name], kinds) or isinstance(row[name], bool):
        raise ConfigError(f"{where}: field '{name}' is {row[name]!r:.80}\nGive it a value of type {kinds[0].__name__}")
    return row[name]


def _verdict_row(submission: Submission, future: "Future[Verdict]") -> dict[str, Any]:
    return {"id": submission.id, **asdict(future.result())}


def _line(row: dict[str, Any]) -> bytes:
    return (json.dumps(row) + "\n").encode()


def _checked_line(row: dict[str, Any]) -> bytes:
    return f"{digest_of(row)[:16]} ".encode() + _line(row)


def _checked_rows(data: bytes) -> list[dict[str, Any]]:
    """The rows of a .part file up to its first damaged line."""
    rows = []
    for line in data.split(b"\n")[:-1]:
        with contextlib.suppress(ValueError):
            row = json.loads(line.partition(b" ")[2])
            if isinstance(row, dict) and _checked_line(row) == line + b"\n":
                rows.append(row)
                continue
        break
    return rows


def main(argv: list[str], _program: object) -> int:
    parser = Parser(
        prog="run.py grade",
        description="Judge programs in the sandbox. A line of input: id (or task_id), code (or generated_code), tests "
        "(or test_list), and where there are any entry_point and setup (or test_setup_code).",
    )
    parser.add_argument("programs", type=Path, help="file of JSON lines")
    parser.add_argument("--out", type=Path, required=True, help="file for the verdicts; with .meta.json beside it")
    parser.add_argument("--dataset", default=None, help="where lines without tests find them, by task_id")
    parser.add_argument("--fresh", action="store_true", help="judge again, instead of continuing or keeping verdicts")
    add_sandbox_flags(parser)
    args = parser.parse_args(argv)
    log, stop = new_log(), StopRequest()
    stop.listen(log)
    try:
        line = grade_file(
            args.programs, args.out, sandbox_settings(args), dataset=args.dataset, fresh=args.fresh, log=log, stop=stop
        )
    except Stopped:
        log.warning("stopped; everything judged is saved. Give the same command to continue")
        return 130
    print(line, file=sys.stderr)
    return 0
