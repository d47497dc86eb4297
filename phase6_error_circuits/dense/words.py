"""What phase 6.4b says in sentences."""

from common.handoffs.error_dense import ENOUGH, DenseVerdict, ErrorDenseDocument
from common.words import count, interval, number, percent, plural
from phase6_error_circuits.estimates import caution


def sentences(result: ErrorDenseDocument) -> list[str]:
    pairs, held_out = result.pairs, result.held_out
    said = [
        f"{result.n} pairs of {result.contrast} ({pairs.template}, {result.format}) select, {held_out.n} with other "
        f"words are held out: both signs right in {percent(result.both_signs.rate)} and "
        f"{percent(held_out.both_signs.rate)}",
        caution(result.gate, result.contrast),
        _circuit(result),
        _nulls(result),
        _direction(result),
    ]
    return [one for one in said if one]


def _circuit(result: ErrorDenseDocument) -> str:
    size = result.smallest_enough
    of = f"{count(result.n_nodes)} heads and neurons at positions differ"
    if size is None:
        last = result.held_out.faithfulness[-1]
        return f"{of}; the largest circuit, {count(result.sizes[-1])} of them, keeps {interval(last)} of held-out pairs"
    place = result.sizes.index(size)
    own, others = result.held_out.faithfulness[place], result.held_out.random[place]
    few = "" if result.verdict is DenseVerdict.FOUND else ", which is no small part of them"
    return (
        f"{of}; {count(size)} of them keep {interval(own)} of the total of held-out pairs{few}, the first size to keep "
        f"{ENOUGH} to {2 - ENOUGH} of it; as many random ones of the same layers, kinds and positions keep "
        f"{interval(others)}"
    )


def _nulls(result: ErrorDenseDocument) -> str:
    if result.null_pairs is None:
        return ""
    return (
        f"{plural(result.null_pairs.n_above, 'node')} are more important than any is for null pairs, of two clean "
        f"prompts ({number(result.null_pairs.largest, 3)} of the total)"
    )


def _direction(result: ErrorDenseDocument) -> str:
    if not result.directions:
        return ""
    enough = [one for one in result.directions if one.direction.known >= ENOUGH]
    first = min(enough, key=lambda one: one.layer, default=max(result.directions, key=lambda one: one.direction.known))
    return (
        f"one direction, the mean difference at layer {first.layer}, {first.position}, brings back "
        f"{interval(first.direction)} of the total of held-out pairs; their whole difference {interval(first.whole)}"
    )
