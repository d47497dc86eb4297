"""Attribution graphs (phase 5): processor time of a short prompt's graph, and memory of a long one's.

    python -m benchmarks graphs

1. Ten tokens of the organism: the pass, the graph of the likeliest next tokens, scores and pruning; then verifying it.
   Seconds are the processor's, so that what else runs on the machine does not count.
2. A prompt of about nine thousand latents: the most memory that the process held while it built, scored, pruned and
   verified the graph, above what it held before, as the kernel counts it; without the budget that `--max-memory` gives,
   beside the edges themselves. A short graph before it has made what any graph needs once.

tests/oracle compares the time with circuit-tracer's.
"""

import random
import resource
import statistics
import time
from collections.abc import Callable

import torch

from benchmarks.rounds import row_of
from benchmarks.rows import Row
from common.model.language_model import LanguageModel
from common.model.loading import load_model
from common.saes.sources import transcoder_source
from model_organism.behaviours import EVALUATION, sample_item
from phase5_attribution_graphs.replacement.clean_run import clean_run
from phase5_attribution_graphs.replacement.graph import Graph
from phase5_attribution_graphs.replacement.influence import scores
from phase5_attribution_graphs.replacement.interventions import Interventions
from phase5_attribution_graphs.replacement.local_model import local_model
from phase5_attribution_graphs.replacement.pruning import prune
from phase5_attribution_graphs.replacement.sweep import build_graph
from phase5_attribution_graphs.replacement.targets import likeliest
from phase5_attribution_graphs.replacement.transcoders import Transcoder, load_transcoders
from phase5_attribution_graphs.replacement.verify import verify
from phase5_attribution_graphs.settings import MAX_MEMORY_MB

NAME = "Attribution graphs (phase 5)"
WARM_UP, SHORT, LONG, QUICK_LONG = 4, 10, 26, 12  # tokens
MEBIBYTE = 2**20
notes: list[str] = []

Steps = tuple[Graph, float, float]  # a graph; processor seconds until it is pruned, and those of verifying it


def measure(rounds: int, quick: bool) -> list[Row]:
    lm = load_model("organism", "cpu", "float32", threads=1)
    transcoders = load_transcoders(transcoder_source("auto", "organism"), lm)
    tokens = _long_prompt(lm)

    def steps(n: int) -> Steps:
        return _steps(lm, transcoders, tokens[:n])

    steps(WARM_UP)
    memory = _memory(lambda: steps(QUICK_LONG if quick else LONG)[0])
    short = [steps(SHORT) for _ in range(rounds)]
    graph = short[0][0]
    text = f"{SHORT} tokens, {graph.n_latents:,} latents"
    made, verified = [step[1] for step in short], [step[2] for step in short]
    notes[:] = [
        f"The organism with its transcoders, one thread. Of {SHORT} tokens, in processor time: "
        f"{statistics.median(made):.2f} s for the graph, {statistics.median(verified):.2f} s to verify it on 100 edges."
    ]
    both = [a + b for a, b in zip(made, verified, strict=True)]
    return [
        row_of("a graph, scored and pruned", "1 s of processor time", made, goal="< 1", text=text),
        row_of("the same, verified", "5 s of processor time", [one / 5 for one in both], goal="< 1", text=text),
        memory,
    ]


def _memory(build: Callable[[], Graph]) -> Row:
    before = _peak()
    graph = build()
    edges, held = graph.edges.nbytes, _peak() - before
    text = (
        f"{graph.n_pos} tokens, {graph.n_latents:,} latents, edges {edges / MEBIBYTE:.0f} MiB, "
        f"at most {held / MEBIBYTE:.0f} MiB in all, budget {MAX_MEMORY_MB:g} MiB"
    )
    ratio = max(0.0, held - MAX_MEMORY_MB * MEBIBYTE) / edges
    return row_of("a graph's memory, less the budget", "its edges", [ratio], goal="<= 2.2", text=text)


def _steps(lm: LanguageModel, transcoders: list[Transcoder | None], tokens: torch.Tensor) -> Steps:
    began = time.process_time()
    run = clean_run(lm, tokens)
    model, targets = local_model(run, transcoders), likeliest(run, lm)
    graph = build_graph(model, targets, max_latents=model.n_latents)
    scores(graph)
    prune(graph)
    made = time.process_time()
    verified = verify(graph, model, targets, Interventions(lm, run, transcoders))
    assert verified.exact, verified
    return graph, made - began, time.process_time() - made


def _long_prompt(lm: LanguageModel) -> torch.Tensor:
    """Reviews one after another, as the organism knows them."""
    rng = random.Random(0)
    items = [sample_item(rng, "sentiment", EVALUATION) for _ in range(4)]
    text = " ".join(f"{item.prompt}{item.correct}." for item in items)
    return torch.tensor(lm.tokenizer(text)["input_ids"])[:LONG]


def _peak() -> int:
    """The most memory that this process ever held [bytes]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
