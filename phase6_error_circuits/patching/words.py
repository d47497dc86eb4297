"""What phase 6.2 says in sentences."""

from common.handoffs.error_patching import ErrorPatchingDocument, PatchedPlace
from common.words import interval, number, percent
from phase6_error_circuits.estimates import caution
from phase6_error_circuits.patching.jobs import ATTENTION, EVERYWHERE, MLP, RESID
from phase6_error_circuits.patching.patches import DENOISING

_NAMES = {RESID: "the residual stream", ATTENTION: "attention", MLP: "the MLP"}


def sentences(found: ErrorPatchingDocument) -> list[str]:
    pairs, heads = found.pairs, found.heads[DENOISING]
    said = [
        f"{found.n} pairs of {found.contrast} ({pairs.template}, {found.format}): logit difference "
        f"{number(pairs.clean)} after clean, {number(pairs.corrupted)} after corrupted prompts, both signs right in "
        f"{percent(pairs.both_signs.rate)}",
        caution(found.verdict, found.contrast),
        *(_strongest(found, part) for part in _NAMES),
    ]
    if heads.heads:
        first = heads.heads[0]
        said.append(
            f"the head that brings back most is {first.layer}.{first.head}, with {interval(first.exact)} of the total; "
            f"the gradient misses what patching gives by {number(heads.largest_miss)} at most"
        )
    return [one for one in said if one]


def _strongest(found: ErrorPatchingDocument, part: str) -> str:
    first = next(place for place in found.strongest if place.part == part)
    return (
        f"of {_NAMES[part]} most is carried {_where(first)}: {interval(first.denoising)} of the total comes back when "
        f"the clean run's is put there, {interval(first.noising)} is lost when the corrupted run's is"
    )


def _where(place: PatchedPlace) -> str:
    if place.pos == EVERYWHERE:
        return f"in layer {place.layer}, all positions together"
    return f"in layer {place.layer} at {place.token} (position {place.pos})"
