"""How often chance is called knowledge, on a natural model's own activations: the study's phases on permuted labels.

    python3 -m natural.nulls --model qwen-coder --dataset mbpp.jsonl --folder data/natural --dtype float32 --runs 200

1. For each run the labels of the judged programs are dealt out anew over all problems, as many of each; prompts,
   activations, dictionaries and split stay. In a folder of its own phases 2, 3.1 and 4.1 then run as in natural.study.
2. A verdict that a latent or a detector *ranks*, or is *beyond difficulty*, is wrong there. At most 5 % should be,
   within the error of sampling: a binomial 99 % bound.
3. Each run's verdicts are a line of nulls.jsonl in the folder. Stop it at any time and give the same command again.
   --workers processes work side by side; each carries out phases without being started anew, since the libraries'
   imports would take most of the time.

Permutations behind the family-wise p of phase 2 are few here: no verdict rests on them.
"""

import contextlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binom

import run
from common.cli import exit_with, new_log
from common.errors import ConfigError, PipelineError
from common.exchange.layout import LayoutConfig
from common.files import write_atomic
from common.handoffs import (
    DETECTION,
    DETECTOR,
    DICTIONARIES,
    DIFFICULTY,
    GENERAL_TEXT,
    GENERATIONS,
    JUDGED,
    SPLIT,
    ArtifactSchema,
)
from common.phases.context import RunContext
from common.phases.phase import Phase
from common.runs.artifacts import Artifact
from common.runs.discovery import readable_runs
from natural.experiment import Experiment, experiment_of, parser_of
from natural.steps import THREADS
from natural.study import before_steering

RUNS, ERROR = 200, 0.05
KEPT = (DIFFICULTY, SPLIT, GENERAL_TEXT, DICTIONARIES)
JUDGING = ("phase 2", "phase 3.1", "phase 4.1")  # steps of the study
FEW = ("--n-permutations", "100")
FALSE = {"latent": "ranks", "beyond": "beyond difficulty", "detector": "ranks"}
VERDICTS = "nulls.jsonl"


def run_permuted(experiment: Experiment, seed: int) -> dict[str, Any]:
    """The verdicts of the phases on labels that were dealt out by a seed; the folder it took is removed."""
    permuted = replace(experiment, folder=experiment.folder / f"null_{seed}")
    shutil.rmtree(permuted.folder, ignore_errors=True)
    permuted.data.mkdir(parents=True)
    for schema in KEPT:
        (permuted.data / schema.folder).symlink_to((experiment.data / schema.folder).resolve())
    write_permuted(experiment, permuted.data, seed)
    for step in before_steering(permuted):
        if step.name in JUDGING:
            words = [*step.words, *(FEW if step.name == JUDGING[0] else ())]
            if status := run.main(words[1:]):
                raise PipelineError(f"{step.name} of run {seed} ended with {status}\nRun it alone: {step.command}")
    verdicts = verdicts_in(permuted.data)
    shutil.rmtree(permuted.folder)
    return {"seed": seed, **verdicts}


def permuted(experiment: Experiment, seeds: list[int]) -> Iterator[dict[str, Any]]:
    """`run_permuted` of each seed, as they end."""
    os.environ.update(THREADS)  # before a process of its own imports what makes threads
    with ProcessPoolExecutor(experiment.workers, multiprocessing.get_context("spawn")) as pool:
        running = [pool.submit(run_permuted, experiment, seed) for seed in seeds]
        try:
            for one in as_completed(running):
                yield one.result()
        finally:
            pool.shutdown(cancel_futures=True)


def write_permuted(experiment: Experiment, data_dir: Path, seed: int) -> None:
    """A run of phase 1 in `data_dir` with the labels of the experiment's dealt out anew, and the layers in use."""
    generations = newest(GENERATIONS, experiment.data)
    rows = permuted_rows(generations.table("dataset.parquet"), seed)
    layers = newest(DICTIONARIES, experiment.data).document().layers
    files = [f"activations/layer_{int(layer):02d}.safetensors" for layer in layers]

    def write(ctx: RunContext, _config: LayoutConfig) -> None:
        with ctx.write() as out:
            out.table("dataset.parquet", rows)
            out.table("grading.parquet", generations.table("grading.parquet"))
            for name in files:
                kept = ("task_id", "resid_post")
                out.tensors(name, {key: generations.tensor(name, key) for key in kept})

    phase = Phase(
        id="1",
        title="the same programs with other labels",
        config=LayoutConfig,
        inputs=(DIFFICULTY, SPLIT),
        output=GENERATIONS,
        run=write,
    )
    config = LayoutConfig(model=experiment.model, dataset=experiment.dataset)
    ctx = RunContext(
        phase=phase,
        config=config,
        preset="full",
        data_dir=data_dir,
        device="cpu",
        log=new_log(),
        command=f"python3 -m natural.nulls (run {seed})",
    )
    with contextlib.closing(ctx):
        ctx.pick_inputs()
        phase.carry_out(ctx)


def permuted_rows(rows: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """The same programs, whose labels and errors other judged ones have; what could not be judged stays."""
    judged = [place for place, row in enumerate(rows) if row["label"] in JUDGED]
    dealt = np.random.default_rng(seed).permutation(judged).tolist()
    given = dict(zip(judged, dealt, strict=True))
    dealt_out = ("label", "error", "failed_test")
    return [
        {**row, **{name: rows[given.get(place, place)][name] for name in dealt_out}} for place, row in enumerate(rows)
    ]


def newest(schema: ArtifactSchema, data_dir: Path) -> Artifact:
    """The newest finished run. Raises: PipelineError where there is none."""
    runs = readable_runs(schema, data_dir)
    if not runs:
        raise PipelineError(
            f"{data_dir} holds no finished run of phase {schema.phase}\nMake one with: python3 -m natural.study --help"
        )
    return Artifact(schema, runs[0], "python3 -m natural.study --help")


def verdicts_in(data_dir: Path) -> dict[str, str]:
    """What phases 3.1 and 4.1 said."""
    headline = newest(DETECTION, data_dir).document().headline
    assert headline is not None
    entry = headline[1]
    detector = newest(DETECTOR, data_dir).document()
    beyond = str(entry.beyond_difficulty.verdict)
    return {"latent": str(entry.verdict), "beyond": beyond, "detector": str(detector.verdict)}


def summary(lines: list[dict[str, Any]]) -> Iterator[str]:
    """A line for each verdict: how often it was wrong, and how often it may be."""
    most = int(binom.ppf(0.99, len(lines), ERROR))
    for name, wrong in FALSE.items():
        n = sum(line[name] == wrong for line in lines)
        yield f"{name}: '{wrong}' in {n} of {len(lines)} runs ({'at most' if n <= most else 'MORE THAN'} {most})"


def main(argv: list[str]) -> int:
    parser = parser_of("natural.nulls", __doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help=f"permutations (default: {RUNS})")
    args = parser.parse_args(argv)
    if args.runs < 1:
        raise ConfigError(f"--runs is {args.runs}\nGive 1 or more")
    experiment, log = experiment_of(args), new_log()
    path = experiment.folder / VERDICTS
    lines = {line["seed"]: line for line in map(json.loads, path.read_text().splitlines() if path.is_file() else ())}
    for line in permuted(experiment, [] if args.dry_run else [seed for seed in range(args.runs) if seed not in lines]):
        lines[line["seed"]] = line
        write_atomic(path, "".join(json.dumps(lines[seed]) + "\n" for seed in sorted(lines)).encode())
        log.info("%d of %d: %s", len(lines), args.runs, line)
    for words in summary([*lines.values()]):
        log.info("%s", words)
    return 0


if __name__ == "__main__":
    exit_with(main)
