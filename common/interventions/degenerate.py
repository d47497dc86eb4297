"""Whether a program is no program any more: it repeats itself, does not parse, or did not stop."""

from collections.abc import Sequence

from common.problems.syntax import parse_python
from common.programs.solutions import was_cut_off

N_GRAM, MIN_TOKENS, LEAST_DISTINCT = 4, 40, 0.4


def is_degenerate(code: str, token_ids: Sequence[int], stop_reason: str) -> bool:
    """One of three: repetition; nothing that parses; no stop before a limit of length.

    `code` is the program that was extracted, which is the raw text where nothing parses.
    """
    return was_cut_off(stop_reason) or repeats_itself(token_ids) or not holds_a_statement(code)


def repeats_itself(token_ids: Sequence[int]) -> bool:
    """Whether fewer than 40 % of the 4-grams of tokens are distinct, in a text of 40 tokens or more.

    Where a loop of k tokens fills a share s of a text of n tokens, about k / n + 1 - s of its 4-grams are distinct.
    Programs repeat names and brackets, but not whole stretches: no reference solution of MBPP comes below the limit.

    Source: seq-rep-4 of Welleck et al. 2020, arXiv:1908.04319, is 1 minus this share.
    """
    return len(token_ids) >= MIN_TOKENS and distinct_share(token_ids) < LEAST_DISTINCT


def distinct_share(token_ids: Sequence[int]) -> float:
    """Distinct 4-grams of tokens per 4-gram, in (0, 1]; 1 for a text too short to have one."""
    grams = [tuple(token_ids[i : i + N_GRAM]) for i in range(len(token_ids) - N_GRAM + 1)]
    return len(set(grams)) / len(grams) if grams else 1.0


def holds_a_statement(code: str) -> bool:
    """Whether `code` parses, and is more than comments and blank lines."""
    try:
        return bool(parse_python(code).body)
    except SyntaxError:
        return False
