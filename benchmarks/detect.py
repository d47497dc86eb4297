"""How long a detector takes to answer, from nothing and once it is loaded, on the model organism.

    python -m benchmarks detect

The detector is made here, of twenty latents of the organism's last block, so that every block is computed. Measured
are `run.py detect --artifacts DIR --input TEXT` as a process of its own, beside the six seconds it may take; one text
through the API, beside the 20 ms it may take and beside the bare forward pass of transformers on the same tokens; and
many texts at once, beside the same texts one by one and beside the bare forward pass in batches. One text and many are
read on two threads; a process chooses its threads itself.
"""

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.rounds import Rounds, alternate, row_of
from benchmarks.rows import Row
from common.handoffs.document import as_json
from common.handoffs.estimates import UNDEFINED
from common.model.language_model import LanguageModel
from common.model.loading import load_model
from common.model.registry import model_identity
from common.problems.datasets import load_problems
from common.problems.prompt import build_prompt
from common.provenance import ROOT
from common.saes.encoder import load_sae
from common.saes.sources import sae_source
from phase4_anomaly_detection import AnomalyDetector, DetectorConfig, SAEAnomalyPipeline, sidecar
from phase4_anomaly_detection.detector import SCHEMA_VERSION
from phase4_anomaly_detection.population import Population

NAME = "Detector"
LAYER, N_LATENTS, THREADS, BATCH = 5, 20, 2, 16
COLD_S, WARM_S = 6.0, 0.020  # the limits
ONE, BATCHED = "detect, a text at a time", "detect, batches of 16"
notes: list[str] = []


def measure(rounds: int, quick: bool) -> list[Row]:
    problems = load_problems("organism").problems[: 4 if quick else 128]
    texts = [build_prompt(problem.text, problem.test_list).text for problem in problems]
    threads = 1 if quick else THREADS  # more wait for each other where a machine has other work
    with tempfile.TemporaryDirectory() as folder:
        save_detector(Path(folder))
        cold = _cold_start(Path(folder), texts[0], 1 if quick else rounds)
        torch.set_num_threads(threads)
        pipeline = SAEAnomalyPipeline.load(folder, "cpu", batch_size=BATCH).load_model()
    return [cold, *_warm(pipeline, texts, rounds, threads)]


def save_detector(folder: Path) -> Path:
    """Twenty latents of the organism's last block, with weights and a threshold by chance."""
    whole = load_sae(sae_source("auto", "organism"), LAYER)
    generator = np.random.default_rng(0)
    chosen = np.sort(generator.choice(whole.n_latents, N_LATENTS, replace=False))
    latents = [
        {"latent": int(latent), "t": 1.0, "weight": 1 / N_LATENTS, "general_text_rate": None, "n_fired": 0, "n": 0}
        for latent in chosen
    ]
    anything = Population.of(["x", "def f(n):\n# Solution:\n"])  # which answer every question of form unlike each other
    nobody = as_json(UNDEFINED)
    read = dict(layer=LAYER, site=f"blocks.{LAYER}.hook_resid_post", text="by chance")
    read |= dict(schema_version=SCHEMA_VERSION, population=as_json(anything))
    model = {"name": "organism", "identity": model_identity("organism"), "revision": None, "dtype": "float64"}
    sae = {"id": f"layer_{LAYER}", "identity": "organism", "revision": None}
    discovered = dict(latents=latents, weights_rule="ace", selection={"counts": {}, "cross_validated_auroc": nobody})
    said = dict(card=None, verdict="by chance", seed=0, experiment={})
    decided = DetectorConfig().decide(generator.normal(size=100), np.arange(100) % 2 == 0)
    document = {**read, "model": model, "sae": sae, **discovered, **said, **decided}
    columns = (weights.numpy()[..., chosen] for weights in (whole.W_enc, whole.b_enc, whole.threshold))
    return AnomalyDetector(*columns, document).save(folder)


def _cold_start(folder: Path, text: str, rounds: int) -> Row:
    words = [sys.executable, "run.py", "detect", "--artifacts", str(folder), "--input", text]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    processor: list[float] = []

    def start(_number: int) -> None:
        before = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
        done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode in (0, 3, 4), done.stderr
        processor.append(sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before)

    if rounds > 1:  # the first process finds nothing in the file cache
        start(0)
        processor.clear()
    timed = alternate({"cold": start}, rounds)
    shown = f"{timed.median('cold'):.2f} s, {np.median(processor):.2f} s of processor time"
    ratios = [seconds / COLD_S for seconds in timed.seconds["cold"]]
    return row_of("run.py detect, cold start", f"{COLD_S:g} s", ratios, goal="<= 1", text=shown)


def _warm(pipeline: SAEAnomalyPipeline, texts: Sequence[str], rounds: int, threads: int) -> list[Row]:
    """Seconds are for one text in each contender; each round reads every text."""
    lm = load_model("organism", "cpu", "float32")
    wide = load_model("organism", "cpu", "float32")
    wide.model.double()
    ids = lm.tokenizer(list(texts))["input_ids"]
    bare, bare_wide = "the bare forward pass, float32", "the bare forward pass, float64"
    bare_batched = f"the bare forward pass, float32, batches of {BATCH}"

    def one_by_one(_number: int) -> int:
        for text in texts:
            pipeline.detect(text)
        return len(texts)

    def batched(_number: int) -> int:
        return len(pipeline.detect(list(texts)))

    contenders = {
        ONE: one_by_one,
        bare: lambda _number: sum(forward(lm, [row]) for row in ids),
        bare_wide: lambda _number: sum(forward(wide, [row]) for row in ids),
        BATCHED: batched,
        bare_batched: lambda _number: sum(forward(lm, [ids[i] for i in rows]) for rows in _as_batched(ids)),
    }
    alternate(contenders, 1)  # the first pass of each is slower
    timed = alternate(contenders, rounds)
    notes[:] = [_note(timed, ids, threads)]
    limit = [seconds / WARM_S for seconds in timed.seconds[ONE]]
    tokens = f"prompts of {min(map(len, ids))} to {max(map(len, ids))} tokens, {threads} threads"
    milliseconds = {name: f"{1000 * timed.median(name):.1f} ms" for name in contenders}

    def beside(ours: str, other: str) -> Row:
        text = f"{milliseconds[ours]}, {milliseconds[other]} a text"
        return row_of(ours, other, timed.times_as_long(ours, other), text=text)

    return [
        row_of(ONE, f"{1000 * WARM_S:g} ms", limit, goal="<= 1", text=f"{milliseconds[ONE]} a text; {tokens}"),
        beside(ONE, bare_wide),
        beside(ONE, bare),
        beside(BATCHED, bare_batched),
        row_of(BATCHED, ONE, timed.times_as_fast(BATCHED, ONE), text="times as fast"),
    ]


def _as_batched(ids: list[list[int]]) -> list[list[int]]:
    """The batches that the sidecar makes."""
    return list(sidecar._batches([len(row) for row in ids], BATCH))


def forward(lm: LanguageModel, rows: list[list[int]]) -> int:
    """All blocks, without the output layer, padded on the right; how many texts that was."""
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    with torch.inference_mode():
        lm.model.get_decoder()(input_ids=ids, attention_mask=mask, use_cache=False)
    return len(rows)


def _note(timed: Rounds, ids: list[list[int]], threads: int) -> str:
    rates = ", ".join(f"{name}: {1 / timed.median(name):,.0f}" for name in timed.seconds)
    return (
        f"{len(ids)} prompts of the organism's problems, {np.median([len(row) for row in ids]):.0f} tokens at the "
        f"median, {threads} threads. Texts a second, median of {timed.n} rounds: {rates}. The detector computes in "
        f"float32, and once more in float64 where rounding could decide; transformers in what the row says."
    )
