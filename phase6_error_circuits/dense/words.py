"""What phase 6.4b says in sentences."""

from common.handoffs.error_dense import ENOUGH, DenseVerdict, ErrorDenseDocument
from common.words import count, interval, number, percent, plural
from phase6_error_circuits.estimates import caution


def sentences(found: ErrorDenseDocument) -> list[str]:
    pairs, held_out = found.pairs, found.held_out
    said = [
        f"{found.n} pairs of {found.contrast} ({pairs.template}, {found.format}) select, {held_out.n} with other words "
        f"are held out: both signs right in {percent(found.both_signs.rate)} and {percent(held_out.both_signs.rate)}",
        caution(found.gate, found.contrast),
        _circuit(found),
        _nulls(found),
        _direction(found),
    ]
    return [one for one in said if one]


def _circuit(found: ErrorDenseDocument) -> str:
    size = found.smallest_enough
    of = f"{count(found.n_nodes)} heads and neurons at positions differ"
    if size is None:
        last = found.held_out.faithfulness[-1]
        return f"{of}; the largest circuit, {count(found.sizes[-1])} of them, keeps {interval(last)} of held-out pairs"
    place = found.sizes.index(size)
    own, others = found.held_out.faithfulness[place], found.held_out.random[place]
    few = "" if found.verdict is DenseVerdict.FOUND else ", which is no small part of them"
    return (
        f"{of}; {count(size)} of them keep {interval(own)} of the total of held-out pairs{few}, the first size to keep "
        f"{ENOUGH} to {2 - ENOUGH} of it; as many random ones of the same layers, kinds and positions keep "
        f"{interval(others)}"
    )


def _nulls(found: ErrorDenseDocument) -> str:
    if found.null_pairs is None:
        return ""
    return (
        f"{plural(found.null_pairs.n_above, 'node')} are more important than any is for null pairs, of two clean "
        f"prompts ({number(found.null_pairs.largest, 3)} of the total)"
    )


def _direction(found: ErrorDenseDocument) -> str:
    if not found.directions:
        return ""
    enough = [one for one in found.directions if one.direction.known >= ENOUGH]
    first = min(enough, key=lambda one: one.layer, default=max(found.directions, key=lambda one: one.direction.known))
    return (
        f"one direction, the mean difference at layer {first.layer}, {first.position}, brings back "
        f"{interval(first.direction)} of the total of held-out pairs; their whole difference {interval(first.whole)}"
    )
