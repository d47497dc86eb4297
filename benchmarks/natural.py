"""Phase 1 of a natural model beside transformers' own batched `generate`, and its memory.

    NATURAL=folder python -m benchmarks natural

The folder holds `qwen-coder`, as for `make test-natural`. Both sides write programs for the same problems, 64 at a time
on one thread, take every block's output at the last prompt token, and judge the programs: phase 1 in its sandbox
meanwhile, the other side in a process each. `generate` stops a row at its end-of-sequence token.
Weights are in bfloat16 where the processor computes in it, else in float32: elsewhere both sides would be slow.
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch

from benchmarks.one_by_one import passes_in_subprocess, residual_streams
from benchmarks.phase_runs import load_models_once, run_phase, table_of, write_problems
from benchmarks.rounds import alternate, row_of
from benchmarks.rows import Row
from common.model import loading as models
from common.model.freed_memory import give_back
from common.model.language_model import LanguageModel
from common.model.memory import cache_bytes, resident_bytes
from common.model.tokenization import encode, encode_padded
from common.problems.datasets import Problem
from common.problems.prompt import build_prompt
from natural.memory import PROC, kilobytes

NAME = "A natural model"
N_PROBLEMS, N_NEW, ROWS = 100, 256, 64
ENGINE, GENERATE = "phase 1", "generate"
notes: list[str] = []


def measure(rounds: int, quick: bool) -> list[Row]:
    if "NATURAL" not in os.environ:
        raise SystemExit("error: no natural model is named\nGive the folder that holds qwen-coder: NATURAL=folder")
    model = str(Path(os.environ["NATURAL"]).expanduser() / "qwen-coder")
    load_models_once()
    torch.set_num_threads(1)
    before, dtype = resident_bytes(), _dtype()
    lm = models.load_model(model, "cpu", dtype, threads=1)
    n, n_new = (4, 8) if quick else (N_PROBLEMS, N_NEW)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        problems = write_problems(folder, n)
        run_phase("0", folder)
        words = ("--model", model, "--dtype", dtype, "--threads", "1", "--max-new-tokens", str(n_new))
        words += ("--batch-size", str(ROWS), "--prompt", "plain")
        peaks: list[int] = []

        def engine(_number: int) -> int:
            _forget_peak()
            run_phase("1", folder, *words)
            peaks.append(_peak() - before)
            return n

        passed: dict[int, bool] = {}

        def generate(_number: int) -> int:
            for first in range(0, n, ROWS):
                passed.update(_in_a_batch(lm, problems[first : first + ROWS], n_new))
            return n

        timed = alternate({ENGINE: engine, GENERATE: generate}, rounds)
        rows = table_of(max((folder / "phase1_0").glob("*/manifest.json")).parent, "dataset.parquet")
    same = sum((row["label"] == "correct") == passed[row["task_id"]] for row in rows)
    held = sum(p.numel() * p.element_size() for p in lm.model.parameters()) + _cache(lm, rows)
    name = f"phase 1, {n} problems, qwen-coder in {dtype}, one thread, judged"
    text = (
        f"{timed.median(ENGINE) * n:.0f} s beside {timed.median(GENERATE) * n:.0f} s; at most {n_new} tokens; same "
        f"verdict on {same} of {n}"
    )
    beside = f"transformers generate, {ROWS} rows, hooks, end-of-sequence stop, a process for each program's tests"
    return [
        row_of(name, beside, timed.times_as_fast(ENGINE, GENERATE), goal=">= 3", text=text),
        row_of(
            "its peak memory",
            f"weights, and the cache of the {ROWS} longest programs",
            [peak / held for peak in peaks],
            goal="<= 1.2",
            text=f"{max(peaks) / 1e9:.2f} GB beside {held / 1e9:.2f} GB; with code that is loaded meanwhile",
        ),
    ]


def _dtype() -> str:
    flags = Path("/proc/cpuinfo")
    known = flags.is_file() and any(name in flags.read_text() for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return "bfloat16" if known else "float32"


def _cache(lm: LanguageModel, rows: Sequence[dict]) -> int:
    prompts = encode(lm, [row["prompt"] for row in rows])
    lengths = sorted(len(prompt) + row["n_new_tokens"] for prompt, row in zip(prompts, rows, strict=True))
    return len(lengths[-ROWS:]) * lengths[-1] * cache_bytes(lm.model)


def _in_a_batch(lm: LanguageModel, problems: Sequence[Problem], n_new: int) -> dict[int, bool]:
    """Whether each problem's program passes, by task_id: as whoever has no pipeline would do it."""
    encoded = encode_padded(lm, [build_prompt(problem.text, problem.test_list).text for problem in problems])
    with residual_streams(lm) as taken:
        tokens = cast(Any, lm.model).generate(
            **encoded, max_new_tokens=n_new, do_sample=False, pad_token_id=lm.pad_token_id
        )
    assert len(taken) == lm.n_layers
    texts = lm.tokenizer.batch_decode(tokens[:, encoded["input_ids"].shape[1] :], skip_special_tokens=True)
    return {
        problem.task_id: passes_in_subprocess(str(text), problem) for problem, text in zip(problems, texts, strict=True)
    }


def _forget_peak() -> None:
    give_back()  # what the other side has freed and this process still holds is no memory of this one's
    (PROC / "self" / "clear_refs").write_text("5")


def _peak() -> int:
    """The most that this process held since `_forget_peak` [bytes]."""
    return 1024 * kilobytes(PROC / "self" / "status", "VmHWM")
