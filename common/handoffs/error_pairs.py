"""The document of phase 6.1: which pairs of programs there are, which were refused, and what their lengths tell."""

from __future__ import annotations

from dataclasses import dataclass

QUESTION = "\n# When this code is executed, Python will raise a"  # behind the code, in the format `seed`


@dataclass(frozen=True, kw_only=True)
class FrontToken:
    """A token that stands before every prompt; `is_sink`: the tokenizer has no BOS, and this stands in its place."""

    id: int
    text: str
    is_sink: bool


@dataclass(frozen=True, kw_only=True)
class FormatOfPrompts:
    """What stands around the code of every prompt, and the first token of each error's name after it.

    `chat`: within the template of the model's tokenizer. `refused` says why no prompt has this format.
    """

    before: str
    after: str
    chat: bool
    answers: dict[str, int]
    refused: str = ""


@dataclass(frozen=True, kw_only=True)
class ShapeOfPairs:
    """Pairs of `n_tokens` tokens that mean the same place by place: pairs that select, pairs held out, null pairs.

    `roles` are those of each token of the clean prompt, the parts of the template that it covers; `positions` are
    the named ones.
    """

    n_tokens: int
    select: int
    held_out: int
    null_pairs: int
    roles: list[str]
    positions: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class PartLengths:
    """How many tokens a part of the template begins, by how many prompts, in either kind of prompt.

    `tells` is the share of prompts whose kind the best threshold on that number would guess: 0.5 tells nothing.
    `tells_within` is the same within single shapes, the mean over pairs.
    """

    clean: dict[str, int]
    corrupted: dict[str, int]
    tells: float
    tells_within: float


@dataclass(frozen=True, kw_only=True)
class PairsOfTemplate:
    """What became of `n_draws` draws in one format: `n_aligned` had equal lengths, `n` pairs are kept.

    `refused` counts the others by reason; `lengths` has the parts whose number of tokens differs in some pair.
    """

    n_draws: int
    n_aligned: int
    n: int
    held_out: int
    null_pairs: int
    refused: dict[str, int]
    shapes: list[ShapeOfPairs]
    lengths: dict[str, PartLengths]


@dataclass(frozen=True, kw_only=True)
class TemplateOfPairs:
    """One template: its parts, what is changed in it, and its pairs by format. `own`: it came with the model."""

    corruption: str
    own: bool
    changed: list[str]
    formats: dict[str, PairsOfTemplate]


@dataclass(frozen=True, kw_only=True)
class ErrorPairsDocument:
    """pairs.json; `contrasts` are by their name, such as TypeError/SyntaxError, and by template.

    `python` is the version of the interpreter that raised the errors. `n`, `held_out` and `null_pairs` count rows of
    the table. `without` names, in words, each template of which there is no pair in some format.
    """

    python: str
    seed: int
    templates: str
    n: int
    held_out: int
    null_pairs: int
    front: list[FrontToken]
    formats: dict[str, FormatOfPrompts]
    contrasts: dict[str, dict[str, TemplateOfPairs]]
    without: list[str]
