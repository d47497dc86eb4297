"""What is free, what a batch takes, and how to go on where it was too much.

1. Before a batch is computed, its memory is estimated from the model's shape (`batch_bytes`) and compared with what is
   free: on the processor too, where the kernel would end the process instead of raising an error.
2. What does not fit, or runs out of memory all the same, is halved and tried again, down to one item (`FittingParts`).
3. A batch size that failed once is not tried again in this run.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from common.errors import ConfigError
from common.model.freed_memory import give_back
from common.model.grouped_attention import GROUPED
from common.model.row_cache import FREE_COLUMNS
from common.sandbox.cgroups import memory_bounds

Item = TypeVar("Item")
Result = TypeVar("Result")

SHARE_OF_FREE = 0.8  # other processes, this one's own allocator, and what the estimate does not know, have the rest
# Of a block, at once. Measured on Qwen2.5-Coder-0.5B in bfloat16: 64 prompts of 92 tokens take 0.32 GB (estimated
# 0.35), one of 3,696 tokens 0.62 GB (0.58).
MLP_TENSORS, STREAM_TENSORS = 3, 6
FLOAT32 = 4


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is short: CUDA's, Metal's, the processor's, or Python's."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("out of memory" in text or "not enough memory" in text)


def free_bytes(device: str) -> int | None:
    """Memory that this process may still take on a device; None where the device does not tell."""
    if device.startswith("cuda"):
        number = torch.device(device).index  # torch knows no share of 'cuda', only that of a numbered GPU
        number = torch.cuda.current_device() if number is None else number
        free, total = torch.cuda.mem_get_info(number)
        allowed = torch.cuda.get_per_process_memory_fraction(number) * total - torch.cuda.memory_reserved(number)
        unused = torch.cuda.memory_reserved(number) - torch.cuda.memory_allocated(number)
        return int(max(0, min(free, allowed)) + unused)
    if device == "cpu":
        left = [max(0, bound.limit - bound.held) for bound in memory_bounds()]
        return min([*left, *_available()], default=None)
    return None


def _available() -> list[int]:
    """What the machine has left, where it tells."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return [1024 * int(line.split()[1])]
    return []


def resident_bytes() -> int:
    """What this process holds; 0 where the system does not tell."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def cache_bytes(model: PreTrainedModel) -> int:
    """Keys and values of one token in all layers."""
    config = model.config.get_text_config()
    n_heads = _largest(config, "num_attention_heads") or 1
    n_kept = _largest(config, "num_key_value_heads") or n_heads
    d_head = getattr(config, "head_dim", None) or config.hidden_size // n_heads
    return 2 * config.num_hidden_layers * n_kept * d_head * model.dtype.itemsize


def batch_bytes(model: PreTrainedModel, n_rows: int, n_prompt: int, n_new: int) -> int:
    """What generating `n_rows` programs takes at its peak, besides the weights; prompts are `n_prompt` tokens wide."""
    config, size = model.config.get_text_config(), model.dtype.itemsize
    tokens = n_rows * n_prompt
    n_columns = n_prompt + n_new + (FREE_COLUMNS if n_new else 0)
    cache = n_rows * n_columns * cache_bytes(model)
    wide = _largest(config, "intermediate_size") or 4 * config.hidden_size
    blocks = tokens * size * (MLP_TENSORS * wide + STREAM_TENSORS * config.hidden_size)
    eager = getattr(config, "_attn_implementation", "") in ("eager", GROUPED)  # whose softmax is in float32
    blocks += tokens * n_prompt * _largest(config, "num_attention_heads") * (size + FLOAT32 * eager)
    logits = n_rows * config.vocab_size * (size + FLOAT32)
    # A layer's keys and values are copied when there is no free column left (row_cache.py).
    return cache + 2 * cache // config.num_hidden_layers + max(blocks, logits)


def _largest(config: PreTrainedConfig, name: str) -> int:
    """A size of the model; some (Gemma-3n) have one for each block. 0 where there is none."""
    value = getattr(config, name, None) or 0
    return max(value) if isinstance(value, (list, tuple)) else value


class Room:
    """What this process may still take on a device, what it took since the room was made counted as free: that is of
    rows which the next estimate counts again, or what the allocator keeps of them."""

    def __init__(self, device: str) -> None:
        self._device = device
        self.empty()
        self._held = held_bytes(device)

    def holds(self, n_bytes: int) -> bool:
        free = free_bytes(self._device)
        if free is None:
            return True
        return n_bytes <= SHARE_OF_FREE * (free + max(0, held_bytes(self._device) - self._held))

    def empty(self) -> None:
        """Give back what the allocator keeps."""
        if self._device.startswith("cuda"):
            torch.cuda.empty_cache()
        elif self._device == "cpu":
            give_back()


def held_bytes(device: str) -> int:
    """What this process holds on a device; 0 where that is not known."""
    if device.startswith("cuda"):
        return torch.cuda.memory_allocated(device)
    return resident_bytes() if device == "cpu" else 0


def too_much(name: str, device: str) -> ConfigError:
    """Where a single item does not fit."""
    more = "--gpu-memory, where there is more, or " if device.startswith("cuda") else ""
    return ConfigError(
        f"{name} alone is too much for the memory of {device}\n"
        f"Allow more with {more}a smaller --max-new-tokens, a smaller --dtype, or another --device"
    )


class FittingParts(Generic[Item, Result]):
    """Computes batches in as few parts as memory allows.

    `size` gives the number that decides how much memory a part takes, `expected` its bytes besides what is held now,
    `name` what to call a single item that is too much.
    """

    def __init__(
        self,
        compute: Callable[[list[Item]], Sequence[Result]],
        *,
        size: Callable[[list[Item]], int],
        expected: Callable[[list[Item]], int],
        name: Callable[[Item], str],
        device: str,
        log: logging.Logger,
    ):
        self._compute, self._size, self._expected, self._name = compute, size, expected, name
        self._device, self._log = device, log
        self._room = Room(device)
        self._failed: int | None = None  # the smallest size that was too much

    def __call__(self, items: Sequence[Item]) -> list[Result]:
        """Results of the items, in their order. Raises: ConfigError where one item alone is too much."""
        waiting, results = [list(items)], []
        while waiting:
            part = waiting.pop(0)
            if len(part) > 1 and self._is_too_much(part):
                waiting[:0] = _halves(part)
                continue
            try:
                results += self._compute(part)
                continue
            except (RuntimeError, MemoryError) as error:
                if not is_lack_of_memory(error):
                    raise
                if len(part) == 1:
                    raise too_much(self._name(part[0]), self._device) from error
            # Outside of the handler, whose traceback holds the tensors of what failed.
            self._note(part)
            waiting[:0] = _halves(part)
        return results

    def _is_too_much(self, part: list[Item]) -> bool:
        if self._failed is not None and self._size(part) >= self._failed:
            return True
        return not self._room.holds(self._expected(part))

    def _note(self, part: list[Item]) -> None:
        self._failed = min(self._size(part), self._failed or self._size(part))
        self._room.empty()
        words = "%d together are too much for the memory of %s: going on with halves"
        self._log.warning(words, len(part), self._device)


def _halves(part: list[Item]) -> list[list[Item]]:
    middle = (len(part) + 1) // 2
    return [part[:middle], part[middle:]]
