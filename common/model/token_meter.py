"""How many tokens a model reads and writes, how fast, and how long the rest will take."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from common.model.hooks import decoder_blocks
from common.runs.pace import Pace


@dataclass
class TokenMeter:
    """What a loaded model did in this process, in tokens (those of padding included) and seconds.

    `on_change` is called after every block that reads and every pass that writes.
    """

    n_read: float = 0
    n_written: int = 0
    read_s: float = 0.0
    written_s: float = 0.0
    n_ended: int = 0  # rows that are complete
    n_in_ended: int = 0  # tokens that they were written in
    on_change: Callable[[], None] = field(default=lambda: None, repr=False)

    @contextmanager
    def reading(self, model: Any, n_tokens: int) -> Iterator[None]:
        """Around the pass that reads prompts: each block of the model counts as its share of the tokens."""
        blocks = list(decoder_blocks(model))
        last = time.monotonic()

        def count(*_call: object) -> None:
            nonlocal last
            now = time.monotonic()
            self.n_read += n_tokens / len(blocks)
            self.read_s += now - last
            last = now
            self.on_change()

        with ExitStack() as hooks:
            for block in blocks:
                hooks.enter_context(block.register_forward_hook(count))
            yield

    @contextmanager
    def writing(self, n_rows: int) -> Iterator[None]:
        """Around a pass that writes a token for each row."""
        began = time.monotonic()
        yield
        self.written_s += time.monotonic() - began
        self.wrote(n_rows)

    def wrote(self, n_tokens: int) -> None:
        self.n_written += n_tokens
        self.on_change()

    def ended(self, n_tokens: int) -> None:
        """A row of so many tokens is complete."""
        self.n_ended += 1
        self.n_in_ended += n_tokens
        self.on_change()


@dataclass
class TokenWork:
    """The programs that a run has still to write; `n_prompt_tokens` are those of all of their prompts.

    A record is begun when its batch is.
    """

    meter: TokenMeter
    n_programs: int
    n_prompt_tokens: int
    max_new_tokens: int
    began: float = field(default_factory=time.monotonic)
    n_begun: int = 0
    n_prompt_tokens_begun: int = 0
    n_kept: int = 0  # records of this process that are on disk

    def begin(self, n_prompt_tokens: Sequence[int]) -> None:
        """A batch with prompts of these lengths comes next."""
        self.n_begun += len(n_prompt_tokens)
        self.n_prompt_tokens_begun += sum(n_prompt_tokens)

    @property
    def tokens_per_second(self) -> float:
        """Read and written, since the run began."""
        return (self.meter.n_read + self.meter.n_written) / max(time.monotonic() - self.began, 1e-9)

    @property
    def tokens_of_a_program(self) -> float:
        """Written for a program on average; before any is complete, half of what is allowed."""
        return self.meter.n_in_ended / self.meter.n_ended if self.meter.n_ended else self.max_new_tokens / 2

    @property
    def pace(self) -> Pace:
        """What this process tells to whoever shows the whole run."""
        of_prompt = self.n_prompt_tokens_begun / max(1, self.n_begun)
        in_flight = max(0, self.meter.n_ended - self.n_kept)
        return Pace(self.tokens_per_second, of_prompt + self.tokens_of_a_program, in_flight)

    def seconds_left(self, _n_left: int) -> float | None:
        """By the time that tokens took so far, whatever the number of records; None before there is any."""
        meter = self.meter
        if not meter.n_written or not self.n_prompt_tokens_begun:
            return None
        to_write = max(0.0, self.n_programs * self.tokens_of_a_program - meter.n_written)
        unread = max(0, self.n_prompt_tokens - self.n_prompt_tokens_begun)
        return to_write * meter.written_s / meter.n_written + unread * meter.read_s / self.n_prompt_tokens_begun

    @property
    def text(self) -> str:
        """'12 more of 64 written, 98 tokens per second'; empty before there is anything to tell."""
        if not self.meter.n_read:
            return ""
        in_flight, begun = max(0, self.meter.n_ended - self.n_kept), max(0, self.n_begun - self.n_kept)
        more = f"{in_flight} more of {begun} written, " if begun else ""
        return f"{more}{self.tokens_per_second:.0f} tokens per second"
