"""What stands in front of a prompt, and the first token in which answers to it differ: for phases 5 and 6 alike.

1. In front stands what the tokenizer puts there: BOS, once. Where it puts nothing, its BOS is put there all the same.
2. Where it has none, the pad token stands there, as an attention sink: the first token takes about half of all
   attention, whatever it is, and no word of the prompt should be that.
3. Answers are told apart by the first of their tokens that they do not share.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from common.errors import AssetError
from common.model.tokenization import tokens_in_front


@dataclass(frozen=True)
class Front:
    """The tokens before every prompt. `is_added`: not by the tokenizer; `is_sink`: nor are they BOS."""

    ids: tuple[int, ...]
    is_added: bool
    is_sink: bool


def front_of(tokenizer: Any, n_known: int, model: str) -> Front:
    """The tokens in front of a plain prompt of a model that knows the first `n_known` tokens.

    Raises: AssetError where the tokenizer has no token that could stand there.
    """
    in_front = tokens_in_front(tokenizer)
    if in_front:
        return Front(tuple(in_front), is_added=False, is_sink=False)
    named = (tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id)
    token = next((number for number in named if number is not None and number < n_known), None)
    if token is None:
        raise AssetError(
            f"the tokenizer of {model} has no BOS, and no pad or end-of-text token that could stand in its place\n"
            "Give a --model whose tokenizer has one of them: what is first takes half of all attention"
        )
    return Front((token,), is_added=True, is_sink=token != tokenizer.bos_token_id)


def n_shared(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens both begin with."""
    same = [one == other for one, other in zip(a, b, strict=False)]
    return [*same, False].index(False)


def first_difference(a: Sequence[int], b: Sequence[int]) -> tuple[int, int] | None:
    """The first token of each that the other does not share; None where one begins with the other."""
    place = n_shared(a, b)
    return None if place in (len(a), len(b)) else (a[place], b[place])
