"""Requests that come together are read together: micro-batches, computed one after the other in one thread.

1. A text waits in a queue with the future of its answer; no answer is ever looked up by text or place alone.
2. A batch is what waits when the thread is free: at most `batch_size` texts, collected for at most 10 ms from the first
   one's arrival on, and no longer than requests are still arriving.
3. A batch that the detector refuses is halved until the text it refuses stands alone: the others are answered.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from common.errors import PipelineError

Detect = Callable[[list[str]], list[Any]]


@dataclass(eq=False)
class Waiting:
    """A text, when it came, and the future of its answer."""

    text: str
    answer: "asyncio.Future[Any]"
    since: float = field(default_factory=time.monotonic)


class Batcher:
    """Belongs to one event loop. `on_batch(size, seconds)` is told of each batch."""

    def __init__(self, detect: Detect, batch_size: int, wait_s: float, on_batch: Callable[[int, float], None]):
        self._detect, self._batch_size, self._wait_s, self._on_batch = detect, batch_size, wait_s, on_batch
        self._queue: asyncio.Queue[Waiting] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="detect")
        self._arriving = 0
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    @property
    def n_waiting(self) -> int:
        return self._queue.qsize()

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._work(), name="batches")

    async def stop(self, seconds: float) -> bool:
        """End the thread; whoever still waits is told by cancellation. Whether a batch under way ended in time."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        while not self._queue.empty():
            self._queue.get_nowait().answer.cancel()
        return await end_thread(self._thread, lambda: None, seconds)

    @contextlib.contextmanager
    def arriving(self) -> Iterator[None]:
        """While this is open, a text is on its way: a batch may wait for it."""
        self._arriving += 1
        try:
            yield
        finally:
            self._arriving -= 1

    def submit(self, text: str) -> "asyncio.Future[Any]":
        """The future answer. It raises PipelineError where the detector refuses the text; `stop` cancels it."""
        waiting = Waiting(text, asyncio.get_running_loop().create_future())
        if self._stopped:
            waiting.answer.cancel()
        else:
            self._queue.put_nowait(waiting)
        return waiting.answer

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch: list[Waiting] = []
            began = time.monotonic()
            try:
                await self._collect(batch)
                began = time.monotonic()
                answers = await loop.run_in_executor(self._thread, self._answers, [waiting.text for waiting in batch])
            except asyncio.CancelledError:
                for waiting in batch:
                    waiting.answer.cancel()
                raise
            except Exception as error:  # the fault of whoever computes: each request says so, and the next batch runs
                answers = [error] * len(batch)
            self._on_batch(len(batch), time.monotonic() - began)
            for waiting, answer in zip(batch, answers, strict=True):
                if waiting.answer.done():  # nobody waits for it any more
                    continue
                if isinstance(answer, Exception):
                    waiting.answer.set_exception(answer)
                else:
                    waiting.answer.set_result(answer)

    async def _collect(self, batch: list[Waiting]) -> None:
        """Fill `batch`, which its owner has in hand when this is cancelled."""
        deadline = 0.0
        while len(batch) < self._batch_size:
            try:
                waiting = await self._next(bool(batch), deadline)
            except TimeoutError:
                break
            if waiting.answer.done():
                continue
            deadline = deadline or waiting.since + self._wait_s
            batch.append(waiting)

    async def _next(self, in_time: bool, deadline: float) -> Waiting:
        """The next text; with `in_time`, only if it comes before the deadline and one is on its way."""
        if not self._queue.empty():
            return self._queue.get_nowait()
        if not in_time:
            return await self._queue.get()
        left = deadline - time.monotonic()
        if left <= 0 or not self._arriving:
            raise TimeoutError
        async with asyncio.timeout(left):
            return await self._queue.get()

    def _answers(self, texts: list[str]) -> list[Any]:
        """An answer or a PipelineError for each text, in order. Runs in the thread."""
        try:
            answers = self._detect(texts)
        except PipelineError as error:
            if len(texts) == 1:
                return [error]
            half = len(texts) // 2
            return self._answers(texts[:half]) + self._answers(texts[half:])
        assert len(answers) == len(texts), f"{len(answers)} answers for {len(texts)} texts"
        return list(answers)


async def end_thread(thread: ThreadPoolExecutor, last: Callable[[], None], seconds: float) -> bool:
    """Let the thread do what it was given, then `last`, and end it; whether that happens within so many seconds."""
    ended = asyncio.wrap_future(thread.submit(last))
    thread.shutdown(wait=False)
    done, _ = await asyncio.wait([ended], timeout=seconds)
    ended.cancel()
    return bool(done)
