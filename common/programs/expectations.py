"""What a run will take, told before hours are spent: memory, disk, and how many tokens.

Known from the model's config alone, which must lie on this disk: nothing is fetched for it. How long it takes is known
once it runs: see common/model/token_meter.py.
"""

import shutil
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from common.model.memory import FLOAT32, batch_bytes, free_bytes
from common.model.registry import default_dtype, model_location
from common.model.settings import ModelConfig
from common.phases.context import RunContext
from common.programs.settings import WritingConfig
from common.runs.records import TOKENS_PER_ROW

PYTHON_GB = 0.8  # torch, transformers and this program, measured


def expectations(ctx: RunContext, counted: bool = True) -> list[str]:
    """Lines for the log or a dry run; none for a phase that runs no model.

    Memory alone where its records cannot be `counted` yet, since an input is still to be made.
    """
    if not isinstance(ctx.config, ModelConfig):
        return []
    model = empty_model(ctx.config, ctx.device)
    if model is None:
        return [f"expected: unknown, since {ctx.config.model} is not on this disk yet"]
    lines = [_memory(ctx, ctx.config, model), *([_disk(ctx, model), _tokens(ctx)] if counted else [])]
    return [f"expected: {line}" for line in lines if line]


def empty_model(config: ModelConfig, device: str) -> Any:
    """The model without its weights; None when its config is not on this disk, or is of no known kind."""
    dtype = default_dtype(config.model, device) if config.dtype == "auto" else config.dtype
    try:
        described = AutoConfig.from_pretrained(
            model_location(config.model), revision=config.revision or None, local_files_only=True
        )
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(described, dtype=getattr(torch, dtype))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError):  # loading it will say what is wrong
        return None


@dataclass(frozen=True)
class Memory:
    """What a process holds at its peak [bytes]: the weights, and one batch of `n_rows`."""

    weights: int
    batch: int
    n_rows: int

    @property
    def all_gb(self) -> float:
        """With what Python and its libraries take [10^9 bytes]."""
        return (self.weights + self.batch) / 1e9 + PYTHON_GB


def memory_of(model: Any, config: ModelConfig, n_rows: int | None = None) -> Memory:
    """Of a phase with these settings; `n_rows` in the place of its batch size.

    Dictionaries, gradients and streams that are kept are not counted.
    """
    rows: int = getattr(config, "batch_size", 1) if n_rows is None else n_rows
    n_new = config.max_new_tokens if isinstance(config, WritingConfig) else 0
    weights = sum(parameter.numel() for parameter in model.parameters()) * model.dtype.itemsize
    return Memory(weights, batch_bytes(model, rows, TOKENS_PER_ROW, n_new), rows)


def kept_bytes(model: Any, n_records: int, n_vectors: int) -> int:
    """What so many vectors of the residual stream for each record take on disk."""
    return n_records * n_vectors * model.config.get_text_config().hidden_size * FLOAT32


def _memory(ctx: RunContext, config: ModelConfig, model: Any) -> str:
    memory = memory_of(model, config)
    free = free_bytes(ctx.device)
    there = "" if free is None else f"; {free / 1e9:.1f} GB are free"
    return (
        f"memory of each process up to {memory.all_gb:.1f} GB: weights {memory.weights / 1e9:.2f} GB "
        f"in {str(model.dtype).removeprefix('torch.')}, a batch of {memory.n_rows} up to {memory.batch / 1e9:.2f} GB"
        f"{there}. A batch that does not fit is computed in parts"
    )


def _disk(ctx: RunContext, model: Any) -> str:
    n_records = ctx.phase.count_records(ctx)
    n_vectors = ctx.phase.n_kept_vectors(ctx.config, model.config.get_text_config().num_hidden_layers)
    size = kept_bytes(model, n_records, n_vectors)
    if not size:
        return ""
    there = next(path for path in (ctx.data_dir.resolve(), *ctx.data_dir.resolve().parents) if path.exists())
    return (
        f"disk {size / 1e9:.2f} GB for {n_records} records of {n_vectors} activations, twice that while they are joined"
        f"; {shutil.disk_usage(there).free / 1e9:.0f} GB are free"
    )


def _tokens(ctx: RunContext) -> str:
    if not isinstance(ctx.config, WritingConfig):
        return ""
    n_records = ctx.phase.count_records(ctx)
    return (
        f"at most {n_records} programs of {ctx.config.max_new_tokens} tokens; the time left is told while they are "
        f"written"
    )
