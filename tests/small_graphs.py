"""Attribution graphs of small models: random transcoders of each kind, and all that is made of one prompt."""

import copy
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from architectures import small
from torch import Tensor

from common.model.language_model import LanguageModel
from model_organism.behaviours import EVALUATION, BehaviourItem, sample_item
from phase5_attribution_graphs.replacement.clean_run import CleanRun, clean_run
from phase5_attribution_graphs.replacement.graph import Graph
from phase5_attribution_graphs.replacement.interventions import Interventions
from phase5_attribution_graphs.replacement.local_model import LocalModel, local_model
from phase5_attribution_graphs.replacement.sweep import build_graph
from phase5_attribution_graphs.replacement.targets import Target, contrast, likeliest
from phase5_attribution_graphs.replacement.transcoders import Transcoder, load_transcoders

BEHAVIOURS = ("agreement", "capitals", "sentiment", "addition")
N_LATENTS, N_POS = 48, 9
TINY = {  # by name, a model_type of transformers with settings
    "qwen3": ("qwen3", {}),  # norms of queries and keys
    "llama": ("llama", {}),
    "llama with output bias": ("llama", {"attention_bias": True}),
    "qwen2": ("qwen2", {}),  # biases of queries, keys and values
    "gemma2": ("gemma2", {"sliding_window": 4, "query_pre_attn_scalar": 16}),  # windows shorter than the prompt
    "gemma3": ("gemma3_text", {"sliding_window": 4}),
    "gpt-oss": ("gpt_oss", {}),  # sinks, by which patterns add up to less than 1; a mixture of experts
}
RELU, JUMPRELU, SKIP = "relu", "jumprelu", "skip"
KINDS = (RELU, JUMPRELU, SKIP)


@dataclass(frozen=True)
class Traced:
    """One prompt: its pass, the local replacement model, what is explained, and the graph."""

    lm: LanguageModel
    run: CleanRun
    transcoders: Sequence[Transcoder | None]
    model: LocalModel
    targets: list[Target]
    graph: Graph

    @property
    def runner(self) -> Interventions:
        return Interventions(self.lm, self.run, self.transcoders)


def traced(
    lm: LanguageModel,
    tokens: Tensor,
    transcoders: Sequence[Transcoder | None],
    pair: tuple[int, int] = (5, 6),
    **options: float,
) -> Traced:
    """The contrast of two tokens is explained, and the likeliest ones beside it."""
    run = clean_run(lm, tokens)
    model = local_model(run, transcoders)
    targets = [contrast(run, lm, *pair), *likeliest(run, lm)]
    return Traced(lm, run, transcoders, model, targets, build_graph(model, targets, **options))


@cache
def tiny_model(name: str) -> LanguageModel:
    """A random model, its norms and biases too: as they are by default they would hide that one is left out."""
    architecture, settings = TINY[name]
    lm = small(architecture, **settings)
    model = copy.deepcopy(lm.model)
    generator = torch.Generator().manual_seed(1)
    for parameter_name, parameter in model.named_parameters():
        if "norm" in parameter_name or parameter_name.endswith(("bias", "sinks")):
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return LanguageModel(model, lm.tokenizer, name, "cpu", "float32", None)


def random_tokens(n: int = N_POS, seed: int = 0) -> Tensor:
    return torch.randint(3, 1000, (n,), generator=torch.Generator().manual_seed(seed))


def random_transcoders(
    lm: LanguageModel,
    kind: str = JUMPRELU,
    *,
    with_gain: bool = True,
    without: Iterable[int] = (),
    n_latents: int = N_LATENTS,
) -> list[Transcoder | None]:
    """One for each layer but those `without`, of which about every sixth latent is active."""
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int, scale: float = 1.0) -> Tensor:
        return scale * torch.randn(*shape, generator=generator)

    def one() -> Transcoder:
        d = lm.d_model
        threshold = drawn(n_latents).abs() if kind == JUMPRELU else torch.zeros(n_latents)
        return Transcoder(
            W_enc=drawn(d, n_latents, scale=d**-0.5),
            b_enc=drawn(n_latents, scale=0.3) - (0.5 if kind == JUMPRELU else 1.0),
            W_dec=drawn(n_latents, d, scale=d**-0.5),
            b_dec=drawn(d, scale=0.1),
            threshold=threshold,
            with_gain=with_gain,
            W_skip=drawn(d, d, scale=0.3 * d**-0.5) if kind == SKIP else None,
        )

    made = [one() for _ in range(lm.n_layers)]
    return [None if layer in set(without) else transcoder for layer, transcoder in enumerate(made)]


@cache
def tiny_traced(name: str, kind: str = JUMPRELU) -> Traced:
    """A graph of a tiny model, which tests only read."""
    lm = tiny_model(name)
    return traced(lm, random_tokens(), random_transcoders(lm, kind, with_gain=not name.startswith("gemma")))


@cache
def organism() -> tuple[LanguageModel, list[Transcoder | None]]:
    """The shipped model and its transcoders, on one thread."""
    from common.model.loading import load_model
    from common.saes.sources import transcoder_source

    lm = load_model("organism", "cpu", "float32", threads=1)
    return lm, load_transcoders(transcoder_source("auto", "organism"), lm)


def held_out_item(behaviour: str, number: int = 0) -> BehaviourItem:
    return sample_item(random.Random(f"{number} {behaviour}"), behaviour, EVALUATION)


@cache
def organism_traced(behaviour: str, number: int = 0) -> Traced:
    """A graph of a held-out prompt, which tests only read, at the first token in which its two answers differ."""
    lm, transcoders = organism()
    item = held_out_item(behaviour, number)
    right, wrong = (lm.tokenizer(item.prompt + answer)["input_ids"] for answer in (item.correct, item.incorrect))
    first = next(i for i, (a, b) in enumerate(zip(right, wrong, strict=False)) if a != b)
    return traced(lm, torch.tensor(right[:first]), transcoders, (right[first], wrong[first]))
