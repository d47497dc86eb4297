"""What phase 6.2 says in sentences."""

import itertools

from common.handoffs.error_patching import ErrorPatchingDocument, PatchedPlace
from common.words import interval, listed, number, percent
from phase6_error_circuits.estimates import caution
from phase6_error_circuits.patching.jobs import ATTENTION, EVERYWHERE, MLP
from phase6_error_circuits.patching.patches import DENOISING

_NAMES = {ATTENTION: "attention", MLP: "the MLP"}


def sentences(result: ErrorPatchingDocument) -> list[str]:
    pairs, heads = result.pairs, result.heads[DENOISING]
    said = [
        f"{result.n} pairs of {result.contrast} ({pairs.template}, {result.format}): logit difference "
        f"{number(pairs.clean)} after clean, {number(pairs.corrupted)} after corrupted prompts, both signs right in "
        f"{percent(pairs.both_signs.rate)}",
        caution(result.verdict, result.contrast),
        _left_out([place.layer for place in result.path]),
        f"in the residual stream most is carried {'; '.join(_stretches(result.path))}",
        *(_strongest(result, part) for part in _NAMES),
    ]
    if heads.heads:
        first = heads.heads[0]
        said.append(
            f"the head that brings back most is {first.layer}.{first.head}, with {interval(first.exact)} of the total; "
            f"the gradient misses what patching gives by {number(heads.largest_miss)} at most"
        )
    return [one for one in said if one]


def _stretches(path: list[PatchedPlace]) -> list[str]:
    """'at ')' (position 8) in layers 3 to 4, 0.61 to 0.77 of the total'; layers of one position together."""
    said = []
    for _, stretch in itertools.groupby(path, key=lambda place: place.pos):
        places = [*stretch]
        first, layers = places[0], _layers([place.layer for place in places])
        values = [place.denoising.known for place in places]
        low, high = number(min(values)), number(max(values))
        share = low if low == high else f"{low} to {high}"
        said.append(f"at {first.token} (position {first.pos}) in {layers}, {share} of the total")
    return said


def _layers(layers: list[int]) -> str:
    """'layer 3', 'layers 3 to 5', or, of neighbours in the path that are none in the model, 'layers 3, 6 and 9'."""
    if len(layers) == 1:
        return f"layer {layers[0]}"
    if layers[-1] - layers[0] == len(layers) - 1:
        return f"layers {layers[0]} to {layers[-1]}"
    return f"layers {listed([str(layer) for layer in layers])}"


def _left_out(layers: list[int]) -> str:
    """That only some layers were looked at, the last always among them."""
    if len(layers) == layers[-1] + 1:
        return ""
    return f"of all below only {_layers(layers)} of {layers[-1] + 1} were looked at, heads apart"


def _strongest(result: ErrorPatchingDocument, part: str) -> str:
    first = next(place for place in result.strongest if place.part == part)
    return (
        f"of {_NAMES[part]} most is in layer {first.layer}, {_where(first)}: {interval(first.denoising)} of the total "
        f"comes back when the clean run's is put there, {interval(first.noising)} is lost when the corrupted run's is"
    )


def _where(place: PatchedPlace) -> str:
    if place.pos == EVERYWHERE:
        return "all positions together"
    return f"at {place.token} (position {place.pos})"
