"""What every phase takes on Gemma-2-2b and MBPP, computed and not measured: the tables of docs/real_model.md.

    python -m benchmarks.costs --page docs/real_model.md

Memory is what `--dry-run` tells (common/programs/expectations.py), of the shape of Gemma-2-2b and each phase's own
settings; what fits a GPU follows from the rule that cuts batches (common/model/memory.py). Records are counted from
the settings: the most that there can be, where it depends on what is selected. Hours are a floor: at every step the
weights are read from the GPU's memory once, whatever else it does.
"""

import argparse
import functools
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import run
from common.model.devices import CUDA_CONTEXT
from common.model.memory import SHARE_OF_FREE
from common.model.settings import ModelConfig
from common.phases.settings import build_config
from common.programs.expectations import empty_model, kept_bytes, memory_of
from common.programs.settings import WritingConfig
from common.words import duration
from natural.page import fill
from phase0_1_split.stratify import split_sizes

GPUS = (24, 40, 80)  # 10^9 bytes
BANDWIDTH = {24: 1.0, 40: 1.6, 80: 3.35}  # 10^12 bytes a second, by their makers: RTX 4090, A100, H100
TOKENS = 150  # of a program: an assumption
N_PROBLEMS = 974  # of MBPP
SHAPE = {  # config.json of google/gemma-2-2b, as far as it decides what is held
    "architectures": ["Gemma2ForCausalLM"],
    "model_type": "gemma2",
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "vocab_size": 256_000,
}
LARGEST = 4096  # a batch that nobody asks for
NO_FIGURE = "no figure"


def _steered(config: Any, sizes: dict[str, int]) -> int:
    """Phase 3.3: controls of both kinds with both signs on the sample of hyperparams, then each once on validation."""
    n_directions = len(_config("3.2").directions)
    n_controls = 2 * config.n_controls * n_directions
    n_tuned_on = min(config.tuning_problems, sizes["hyperparams"])
    return n_tuned_on * (1 + 2 * n_controls) + sizes["validation"] * (1 + n_directions + n_controls)


COUNTS: dict[str, Callable[[Any, dict[str, int]], int]] = {  # by phase, from its settings and the sizes of the splits
    "1": lambda config, sizes: N_PROBLEMS,
    "1.1": lambda config, sizes: config.documents,
    "1.2": lambda config, sizes: sizes["validation"] * len(config.temperatures) * config.samples,
    "3.2": lambda config, sizes: sizes["hyperparams"] * (1 + len(config.directions) * len(config.coefficients)),
    "3.3": _steered,
    "3.5": lambda config, sizes: sizes["validation"] * (1 + len(config.directions) * (1 + config.n_controls)),
    "3.6": lambda config, sizes: sizes["hyperparams"] + 3 * sizes["validation"],
    "3.7": lambda config, sizes: sizes["validation"] * len(config.ablations),
    "5.3": lambda config, sizes: 4 * (_config("5.1").n_train + _config("5.1").n_test),
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, required=True, help="page whose tables are filled")
    fill(parser.parse_args(argv).page, tables())


def tables() -> dict[str, str]:
    """By name, in Markdown."""
    return {"memory": memory_table(), "records": records_table()}


def memory_table() -> str:
    head = ["phases", "weights", "a batch of", "memory", *(f"{gpu} GB" for gpu in GPUS)]
    return _markdown(head, {phase: _memory_cells(phase) for phase in _phases()})


def records_table() -> str:
    head = ["phases", "records, at most", "tokens written, at most", "activations on disk"]
    head += [f"time at least, {gpu} GB" for gpu in GPUS]
    return _markdown(head, {phase: _records_cells(phase) for phase in _phases()})


@functools.cache
def largest_batch(phase: str, gpu: float) -> int:
    """Rows that are computed together, and not in parts, on a GPU of `gpu` 10^9 bytes that nothing else uses."""
    config = _config(phase)
    model = _model(_dtype(config))
    free = (gpu - CUDA_CONTEXT) * 1e9 - memory_of(model, config).weights
    low, high = 0, LARGEST
    while low < high:
        middle = (low + high + 1) // 2
        fits = memory_of(model, config, middle).batch <= SHARE_OF_FREE * free
        low, high = (middle, high) if fits else (low, middle - 1)
    return low


def _memory_cells(phase: str) -> tuple[str, ...]:
    config = _config(phase)
    memory = memory_of(_model(_dtype(config)), config)
    what = (
        f"{memory.n_rows}, {config.max_new_tokens:,} tokens each"
        if isinstance(config, WritingConfig)
        else memory.n_rows
    )
    weights = f"{memory.weights / 1e9:.1f} GB, {_dtype(config)}"
    return (weights, str(what), f"{memory.all_gb:.1f} GB", *(_on(phase, memory.n_rows, gpu) for gpu in GPUS))


def _records_cells(phase: str) -> tuple[str, ...]:
    config, shares = _config(phase), _config("0.1").fractions
    sizes = split_sizes(N_PROBLEMS, dict(zip(("sae", "hyperparams", "validation"), shares, strict=True)))
    n_records = COUNTS[phase](config, sizes) if phase in COUNTS else 0
    n_vectors = run.CATALOGUE.phase(phase).n_kept_vectors(config, SHAPE["num_hidden_layers"])
    size = kept_bytes(_model(_dtype(config)), n_records, n_vectors)
    writes = isinstance(config, WritingConfig)
    tokens = n_records * config.max_new_tokens if writes else 0
    return (
        f"{n_records:,}" if n_records else NO_FIGURE,
        f"{tokens / 1e6:.1f} million" if tokens else (NO_FIGURE if writes else "none"),
        f"{size / 1e9:.2f} GB" if size else NO_FIGURE,
        *(duration(_floor(phase, n_records, gpu)) if tokens else NO_FIGURE for gpu in GPUS),
    )


def _floor(phase: str, n_records: int, gpu: int) -> float:
    """Seconds that reading the weights at every step takes, with every row of the largest batch busy at each."""
    config = _config(phase)
    n_steps = n_records * min(TOKENS, config.max_new_tokens) / min(config.batch_size, largest_batch(phase, gpu))
    return n_steps * memory_of(_model(_dtype(config)), config).weights / (BANDWIDTH[gpu] * 1e12)


def _on(phase: str, n_rows: int, gpu: int) -> str:
    most = largest_batch(phase, gpu)
    if not most:
        return "too small"
    return f"{'whole' if n_rows <= most else 'in parts'}; up to {most:,}"


def _phases() -> list[str]:
    """Those that run a model."""
    return [phase for phase in run.PHASES if run.CATALOGUE.phase(phase).config.runs_a_model]


def _config(phase: str) -> Any:
    return build_config(run.CATALOGUE.phase(phase).config, "full", {})


def _dtype(config: Any) -> str:
    """On a GPU."""
    return "bfloat16" if config.dtype == "auto" else config.dtype


@functools.cache
def _model(dtype: str) -> Any:
    """Gemma-2-2b without its weights."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(SHAPE))
        model = empty_model(ModelConfig(model=folder, dtype=dtype), "cuda")
    assert model is not None, "transformers knows no gemma2"
    return model


def _markdown(head: Sequence[str], cells: dict[str, tuple[str, ...]]) -> str:
    """A table with a row for the phases that have the same cells."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for phase, row in cells.items():
        alike.setdefault(row, []).append(phase)
    lines = [head, ["---"] * len(head), *([", ".join(phases), *row] for row, phases in alike.items())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
