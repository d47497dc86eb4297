"""The documents of phases 5.1 and 5.2: which prompts of behaviours there are, and how well the model does on them."""

from __future__ import annotations

from dataclasses import dataclass

from common.handoffs.estimates import Counted


@dataclass(frozen=True, kw_only=True)
class Token:
    """A token of the model's vocabulary."""

    id: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Named:
    """How many prompts, and the first of them."""

    n: int
    named: list[str]


@dataclass(frozen=True, kw_only=True)
class PromptsOfSplit:
    """One split of a behaviour: `n` prompts of the `asked`, with `shortest` to `longest` tokens.

    `refused` are prompts that were left out, by the reason; `unpaired` have no other prompt to be patched with.
    """

    n: int
    asked: int
    n_entities: int
    n_paired: int
    shortest: int
    longest: int
    refused: dict[str, Named]
    unpaired: Named


@dataclass(frozen=True, kw_only=True)
class CircuitPromptsDocument:
    """prompts.json; `behaviours` are by name and split.

    `source` is where the prompts come from: general lists, or a file with the hash of its content. `front` are the
    tokens before every prompt. Where the tokenizer puts none there itself, `sink` is the one that was added, so that
    attention has somewhere to go that is no word; else it is None.
    """

    source: str
    seed: int
    front: list[Token]
    sink: Token | None
    behaviours: dict[str, dict[str, PromptsOfSplit]]


@dataclass(frozen=True, kw_only=True)
class BaselineMetrics:
    """One split of a behaviour: the share of margins above `threshold`, which has to be `needed`, and above 0.

    Margins are in nats a token; `logit_difference` is the mean at the first token in which the answers differ.
    """

    n: int
    threshold: float
    needed: float
    accuracy: Counted
    sign_accuracy: Counted
    mean_margin: float
    median_margin: float
    smallest_margin: float
    largest_margin: float
    logit_difference: float
    passes: bool


@dataclass(frozen=True, kw_only=True)
class BaselineDocument:
    """baseline.json: `behaviours` by name and split; `missed` are those that some split of does not pass.

    With such a one the run ends only with --force, which `forced` tells.
    """

    n: int
    forced: bool
    missed: list[str]
    behaviours: dict[str, dict[str, BaselineMetrics]]


@dataclass(frozen=True, kw_only=True)
class BaselineOfSplit:
    """baseline_metrics_train.json and baseline_metrics_test.json: the same, of one split."""

    split: str
    behaviours: dict[str, BaselineMetrics]
