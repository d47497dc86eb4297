"""What the service costs beside the bare forward pass of its model: a thousand requests at a time, and one by one.

    python -m benchmarks service

`run.py serve` runs in a process of its own, with the detector that the benchmark `detect` makes, on one thread; the
requests come from this process, each on a connection of its own. Beside it stand forward passes of transformers on the
same tokens, all blocks without the output layer, sorted by length in batches of 16 on one thread, in float32, in which
the service reads too (and what rounding could decide once more in float64). Before each measurement both have read
every text once.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from benchmarks.detect import forward, save_detector
from benchmarks.http_load import Answer, ask_at_once
from benchmarks.rounds import Rounds, alternate, row_of
from benchmarks.rows import Row
from common.model.loading import load_model
from common.problems.datasets import load_problems
from common.provenance import ROOT

NAME = "Service"
N, N_ONE_BY_ONE, BATCH = 1000, 100, 16
AT_ONCE, ONE_BY_ONE = "service, many requests at a time", "service, one request at a time"
BARE, BARE_ONE = "transformers, float32, batches", "transformers, float32"
MOST = "<= 1.15"
_PATIENCE_S = 120
notes: list[str] = []


def measure(rounds: int, quick: bool) -> list[Row]:
    texts = _texts(10 if quick else N)
    few = texts[:: max(1, len(texts) // (5 if quick else N_ONE_BY_ONE))]
    with tempfile.TemporaryDirectory() as folder:
        detector = save_detector(Path(folder, "detector"))
        with _serving(detector, Path(folder, "service.log")) as port:
            return _measure(port, texts, few, rounds)


def _texts(n: int) -> list[str]:
    """Programs of the organism's problems, and their descriptions, each once."""
    problems = load_problems("organism").problems
    return [*dict.fromkeys([*(problem.code for problem in problems), *(problem.text for problem in problems)])][:n]


def _measure(port: int, texts: Sequence[str], few: Sequence[str], rounds: int) -> list[Row]:
    torch.set_num_threads(1)
    lm = load_model("organism", "cpu", "float32")
    ids, few_ids = (lm.tokenizer(list(some))["input_ids"] for some in (texts, few))
    seconds: dict[str, list[list[float]]] = {AT_ONCE: [], ONE_BY_ONE: []}

    def at_once(_number: int) -> int:
        answers = ask_at_once(port, [json.dumps({"text": text}).encode() for text in texts])
        seconds[AT_ONCE].append(_seconds(answers))
        return len(answers)

    def one_by_one(_number: int) -> int:
        answers = [ask_at_once(port, [json.dumps({"text": text}).encode()])[0] for text in few]
        seconds[ONE_BY_ONE].append(_seconds(answers))
        return len(answers)

    contenders = {
        AT_ONCE: at_once,
        BARE: lambda _number: sum(forward(lm, rows) for rows in _batches(ids)),
        ONE_BY_ONE: one_by_one,
        BARE_ONE: lambda _number: sum(forward(lm, [row]) for row in few_ids),
    }
    alternate(contenders, 1)  # the first pass of each is slower
    for measured in seconds.values():
        measured.clear()
    timed = alternate(contenders, rounds)
    notes[:] = [_note(timed, seconds, ids)]
    many, one = (AT_ONCE, BARE), (ONE_BY_ONE, BARE_ONE)
    return [
        row_of(*many, timed.times_as_long(*many), goal=MOST, text=_text(timed, seconds, *many)),
        row_of(*one, timed.times_as_long(*one), text=_text(timed, seconds, *one)),
    ]


def _seconds(answers: Sequence[Answer]) -> list[float]:
    assert all(answer.status == 200 for answer in answers), next(a for a in answers if a.status != 200)
    return [answer.seconds for answer in answers]


def _batches(ids: Sequence[list[int]]) -> Iterator[list[list[int]]]:
    ordered = sorted(ids, key=len)
    return (ordered[first : first + BATCH] for first in range(0, len(ordered), BATCH))


def _quantiles(rounds: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Median and 99th percentile of a request [s], each the median of the rounds'."""
    cuts = [statistics.quantiles(seconds, n=100, method="inclusive") for seconds in rounds]
    return statistics.median(cut[49] for cut in cuts), statistics.median(cut[98] for cut in cuts)


def _text(timed: Rounds, seconds: dict[str, list[list[float]]], ours: str, bare: str) -> str:
    half, most = _quantiles(seconds[ours])
    n = len(seconds[ours][0])
    return (
        f"{n:,} requests: {1 / timed.median(ours):,.0f} a second, p50 {1000 * half:,.0f} ms, p99 {1000 * most:,.0f} "
        f"ms; bare {1 / timed.median(bare):,.0f} texts/s"
    )


def _note(timed: Rounds, seconds: dict[str, list[list[float]]], ids: Sequence[list[int]]) -> str:
    first = statistics.median(min(measured) for measured in seconds[AT_ONCE])
    return (
        f"{len(ids):,} texts of {min(map(len, ids))} to {max(map(len, ids))} tokens, "
        f"{statistics.median(map(len, ids)):.0f} at the median. Requests at a time wait for each other, so that their "
        f"p99 is the time of all of them; the first answer came after {1000 * first:,.0f} ms. One thread reads, in the "
        f"service as in transformers, and the requests are made on another core."
    )


@contextlib.contextmanager
def _serving(detector: Path, log_file: Path) -> Iterator[int]:
    """The port of `run.py serve` while the block is open."""
    words = [sys.executable, "run.py", "serve", "--artifacts", str(detector), "--port", "0", "--threads", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with open(log_file, "wb") as log:
        process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _PATIENCE_S
        while '"listening"' not in (text := log_file.read_text()):
            assert process.poll() is None and time.monotonic() < deadline, f"the service does not start:\n{text}"
            time.sleep(0.05)
        yield int(json.loads(text.splitlines()[-1])["url"].rstrip("/").rpartition(":")[2])
    finally:
        process.terminate()
        process.wait()
