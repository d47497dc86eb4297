"""The sandbox as the pipeline sees it: programs in, verdicts out, several at a time."""

import hashlib
import json
import os
import platform
import queue
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import asdict
from types import TracebackType
from typing import Any

from common.errors import SandboxError
from common.sandbox.confinement import Setup
from common.sandbox.judge_client import JudgeClient
from common.sandbox.levels import BEST_LEVEL, choose_isolation
from common.sandbox.machine import memory_bytes
from common.sandbox.programs import Limits, Program
from common.sandbox.verdict import Verdict

VERDICTS_KEPT = 10_000  # in memory; the least recently used goes first

_Job = tuple[Program, "Future[Verdict]"]


class Sandbox:
    """Runs programs in confined processes and judges them by value. Thread-safe.

    `isolation`: auto takes the best level of this machine, strict refuses anything but the best level
    there is, none leaves only limits. `workers` programs run at a time, fewer where their memory limits
    would add up to more than half of the machine's. `at_most` lowers the level, to measure what a layer adds.

    Raises: SandboxError.
    """

    def __init__(
        self,
        isolation: str = "auto",
        workers: int = 2,
        limits: Limits | None = None,
        at_most: int = BEST_LEVEL,
    ) -> None:
        if workers < 1:
            raise SandboxError(
                f"the sandbox needs at least one worker, got {workers}\nGive --sandbox-workers 1 or more"
            )
        self.limits = limits or Limits()
        home = os.path.expanduser("~")
        self.isolation = choose_isolation(isolation, self.limits, home, at_most)
        self.workers = max(1, min(workers, memory_bytes() // 2 // self.limits.memory_bytes))
        self._setup = Setup(self.isolation.level, self.limits, home, scratch="")
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._cache: OrderedDict[str, Future[Verdict]] = OrderedDict()
        self._counts = {"n_programs": 0, "cache_hits": 0, "near_limit_count": 0}
        self._closed = False
        self._clients = [JudgeClient(self._setup) for _ in range(self.workers)]
        try:
            for client in self._clients:
                client.begin()
            for client in self._clients:
                client.wait_until_ready()
        except BaseException:
            _close_clients(self._clients)
            raise
        self._finalizer = weakref.finalize(self, _close_clients, self._clients)
        self._threads = [
            threading.Thread(target=_work, args=(client, self._jobs), name="sandbox", daemon=True)
            for client in self._clients
        ]
        for thread in self._threads:
            thread.start()

    @property
    def line(self) -> str:
        """One line for the log and every manifest: level, layers, what is missing and why, limits."""
        return self.isolation.line(self.limits)

    def describe(self) -> dict[str, Any]:
        """What manifests keep: how the verdicts were made, and how many programs came near a limit."""
        with self._lock:
            counts = dict(self._counts)
        return {
            "level": self.isolation.level,
            "layers": list(self.isolation.layers),
            "missing_layers": self.isolation.missing,
            "limits": asdict(self.limits),
            "workers": self.workers,
            "python": platform.python_version(),
            "hash_seed": 0,
            **counts,
        }

    def submit(self, program: Program) -> "Future[Verdict]":
        """The future verdict of one program. Equal programs share one run: steered outputs repeat."""
        key = _cache_key(program, self.limits)
        with self._lock:
            if self._closed:
                raise SandboxError("the sandbox is closed\nSubmit programs inside its with block")
            self._counts["n_programs"] += 1
            known = self._cache.get(key)
            if known is not None and not _must_run_again(known):
                self._counts["cache_hits"] += 1
                self._cache.move_to_end(key)
                return known
            future: Future[Verdict] = Future()
            self._cache[key] = future
            if len(self._cache) > VERDICTS_KEPT:
                self._cache.popitem(last=False)
        future.add_done_callback(self._count_near_limit)
        self._jobs.put((program, future))
        return future

    def grade(self, programs: Iterable[Program]) -> list[Verdict]:
        """The verdicts of `programs`, in their order."""
        return [future.result() for future in [self.submit(program) for program in programs]]

    def _count_near_limit(self, future: "Future[Verdict]") -> None:
        if not future.cancelled() and future.exception() is None and future.result().near_limit:
            with self._lock:
                self._counts["near_limit_count"] += 1

    def close(self) -> None:
        """Finish the programs that run, cancel those that wait, end every process. Safe to call twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        while not self._jobs.empty():
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is not None:
                job[1].cancel()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        self._finalizer()

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:  # nobody waits for these verdicts any more
            _close_clients(self._clients)
        self.close()


def _must_run_again(future: "Future[Verdict]") -> bool:
    """A failure of the sandbox is no property of the program, so it is not remembered."""
    if not future.done():
        return False
    return future.cancelled() or future.exception() is not None or future.result().label == "not_run"


def _work(client: JudgeClient, jobs: "queue.SimpleQueue[_Job | None]") -> None:
    while (job := jobs.get()) is not None:
        program, future = job
        if not future.set_running_or_notify_cancel():
            continue
        try:
            future.set_result(client.grade(program))
        except Exception as error:  # whoever waits for the verdict gets it; the thread must live on
            future.set_exception(error)


def _close_clients(clients: list[JudgeClient]) -> None:
    for client in clients:
        client.close()


def _cache_key(program: Program, limits: Limits) -> str:
    """A hash of all that a verdict depends on: code, tests, setup, entry point, reference and limits."""
    parts = [program.code, list(program.tests), program.setup, program.entry_point, program.reference, asdict(limits)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
