"""Grade programs of any origin: a file of programs in (see formats.py), a file of verdicts out.

While it runs, verdicts are appended to `<OUT>.part`, whose first line says what they belong
to; the same command continues there. Each of its lines begins with a hash of the rest: from
the first damaged one on, programs are judged again. Only when every program is judged does OUT appear, and
with it `<OUT>.meta.json`: what was read, isolation, limits, counts, versions.
"""

import argparse
import contextlib
import hashlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
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
    write_atomic,
    write_sealed_json,
)
from common.programs.existing_programs import verdicts_of
from common.programs.formats import HELP, Submissions, read_submissions
from common.programs.submissions import Submission
from common.progress import Progress
from common.sandbox import Limits, Program, Sandbox, Verdict
from common.stopping import Stopped, StopRequest

MOST_UNJUDGED = 0.01  # of the programs: above it the verdicts are no figure to report
FAILED_TEST_CHARS = 2000  # EvalPlus' tests hold megabytes of inputs


class Grading:
    """One run of `run.py grade`. `stamp` is what the verdicts depend on."""

    def __init__(self, source: Path, out: Path, submissions: Submissions, isolation: str):
        self.source, self.out, self.submissions = source, out, submissions
        self.part, self.meta = _part_of(out), _meta_of(out)
        self.n_programs, digest = 0, _Digest()
        for submission in submissions:
            digest.add(submission)
            self.n_programs += 1
        if not self.n_programs:
            raise ConfigError(f"{source} holds no program\nGive a file with one program or more")
        self.stamp = {"programs": digest.hexdigest(), "sandbox": isolation, "limits": asdict(Limits())}

    def is_finished(self) -> bool:
        """Whether OUT holds the verdicts of these programs already.

        Raises: ConfigError when OUT exists and holds something else.
        """
        if not self.out.exists():
            return False
        known = self._known()
        if known.get("stamp") == self.stamp and known.get("sha256") == file_sha256(self.out):
            return True
        advice = "Give another --out, or replace it with --fresh" if self.meta.exists() else "Give another --out"
        raise ConfigError(f"{self.out} holds other verdicts, or none\n{advice}")

    def said(self) -> tuple[str, Counter[str]]:
        """Of a finished grading: the line about its sandbox, and how many programs have which label."""
        known = self._known()
        return known["sandbox"]["line"], Counter(known["labels"])

    def _refuse_to_replace_what_is_not_ours(self) -> None:
        if self.out.exists() and not self.meta.exists():
            raise ConfigError(
                f"{self.out} holds no verdicts of ours: there is no {self.meta.name} beside it\n"
                f"Give another --out, or remove it"
            )

    def _known(self) -> dict[str, Any]:
        with contextlib.suppress(OSError):
            return read_sealed_json(self.meta) or {}
        return {}

    def run(self, sandbox: Sandbox, log: Any, stop: StopRequest, fresh: bool) -> None:
        """Judge what is not judged yet (`fresh`: everything), in order.

        Raises: Stopped when asked to, with what is judged saved; PipelineError while another process writes OUT.
        """
        lock = FileLock(_lock_of(self.part))
        try:
            lock.acquire(blocking=False)
        except Timeout as held:
            raise PipelineError(f"{self.out} is being written by another process\nWait for it, or stop it") from held
        with lock:
            if fresh:
                self._refuse_to_replace_what_is_not_ours()
            for path in (self.out, self.part, self.meta):
                sweep_temporaries(path)
                if fresh:
                    path.unlink(missing_ok=True)
            began, verdicts = time.time(), self._resume(log)
            labels = [row["label"] for row in verdicts]
            with open(self.part, "ab") as part, Progress(self.n_programs, labels, log) as progress:
                for row in self._judge(len(verdicts), sandbox, stop):
                    part.write(_checked_line(row))
                    part.flush()
                    verdicts.append(row)
                    progress.add([row["label"]])
                os.fsync(part.fileno())
            self._finish(verdicts, sandbox, time.time() - began)
        Path(lock.lock_file).unlink(missing_ok=True)

    def _judge(self, n_judged: int, sandbox: Sandbox, stop: StopRequest) -> Iterator[dict[str, Any]]:
        """Verdicts in order, without the first `n_judged`. Raises: ConfigError when the file was changed meanwhile."""
        digest, all_read = _Digest(), False

        def unjudged() -> Iterator[tuple[Submission, Program]]:
            nonlocal all_read
            for number, submission in enumerate(self.submissions):
                if stop.asked:
                    return
                digest.add(submission)
                if number >= n_judged:
                    yield submission, submission.program
            all_read = True
            if digest.hexdigest() != self.stamp["programs"]:
                raise ConfigError(f"{self.source} was changed while it was graded\nStart over with --fresh")

        with stop.finishing_batches():
            for submission, verdict in verdicts_of(unjudged(), sandbox):
                yield _verdict_row(submission, verdict)
        if not all_read:
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
            damaged = _damaged_of(self.part)
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
                "format": self.submissions.format,
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
    source: Path,
    out: Path,
    settings: dict[str, Any],
    *,
    dataset: str | None,
    field: str | None,
    fresh: bool,
    log: Any,
    stop: StopRequest,
) -> tuple[str, Counter[str]]:
    """Grade `source` into `out`; returns the sandbox's line and the count of each label.

    Raises: PipelineErrors, Stopped.
    """
    refuse_to_replace_an_input(out, [source, *([Path(dataset)] if dataset else [])])
    submissions = read_submissions(source, dataset, field)
    log.info("format: %s", submissions.format)
    grading = Grading(source, out, submissions, settings["isolation"])
    if not fresh and grading.is_finished():
        grading.part.unlink(missing_ok=True)  # left by a crash at the very end
        log.info("already graded: %s (--fresh grades it again)", out)
        return grading.said()
    with Sandbox(**settings) as sandbox:
        grading.run(sandbox, log, stop, fresh)
        return grading.said()


def refuse_to_replace_an_input(out: Path, inputs: list[Path]) -> None:
    """Raises: ConfigError when a file that grading writes is one of `inputs`, by whatever path, link or capitals."""
    part = _part_of(out)
    for path in inputs:
        for ours in (out, part, _meta_of(out), _damaged_of(part), _lock_of(part)):
            spelt_alike = os.path.realpath(ours).casefold() == os.path.realpath(path).casefold()
            if spelt_alike or (ours.exists() and path.exists() and ours.samefile(path)):
                beside = "," if ours == out else f": beside it comes {ours.name},"
                raise ConfigError(f"--out is {out}{beside} which is the input {path}\nGive another --out")


def warning_of(labels: Counter[str]) -> str | None:
    """What to say of a grading in which too many programs were not judged; None when few were."""
    missing = {label: labels[label] for label in ("not_run", "unsupported") if labels[label]}
    share = sum(missing.values()) / labels.total()
    if share <= MOST_UNJUDGED:
        return None
    counts = " and ".join(f"{n} {label}" for label, n in missing.items())
    return f"{share:.1%} of {labels.total()} programs were not judged: {counts}. Their `message` says why"


class _Digest:
    """A hash of all that verdicts depend on, program by program."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, submission: Submission) -> None:
        program = submission.program
        parts = [submission.id, program.code, program.entry_point, submission.suite_sha256]
        self._hash.update(_line(parts))

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _part_of(out: Path) -> Path:
    return out.with_name(f"{out.name}.part")


def _meta_of(out: Path) -> Path:
    return out.with_name(f"{out.name}.meta.json")


def _damaged_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.damaged")


def _lock_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.lock")


def _verdict_row(submission: Submission, verdict: Verdict) -> dict[str, Any]:
    row = {"id": submission.id, **asdict(verdict)}
    if row["failed_test"] and len(row["failed_test"]) > FAILED_TEST_CHARS:
        row["failed_test"] = row["failed_test"][:FAILED_TEST_CHARS] + "..."
    return row


def _line(row: dict[str, Any] | list[Any]) -> bytes:
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
        description="Judge programs in the sandbox. Exit status 1: more than 1 % of them could not be judged.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("programs", type=Path, help="file of programs, in one of the formats below")
    parser.add_argument("--out", type=Path, required=True, help="file for the verdicts; OUT.meta.json comes beside it")
    parser.add_argument("--dataset", default=None, help="where programs without tests find them, by task_id")
    parser.add_argument("--field", default=None, help="the field that holds the program, where it is another one")
    parser.add_argument("--fresh", action="store_true", help="judge again, instead of continuing or keeping verdicts")
    add_sandbox_flags(parser)
    args = parser.parse_args(argv)
    settings = sandbox_settings(args)
    log, stop = new_log(), StopRequest()
    stop.listen(log)
    given = {"dataset": args.dataset, "field": args.field, "fresh": args.fresh}
    try:
        line, labels = grade_file(args.programs, args.out, settings, **given, log=log, stop=stop)
    except Stopped:
        log.warning("stopped; everything judged is saved. Give the same command to continue")
        return 130
    print(line, file=sys.stderr)
    warning = warning_of(labels)
    if warning is not None:
        print(warning, file=sys.stderr)
    return 0 if warning is None else 1
