"""The site check: is this SAE of this model, this layer, this site? It is asked on general text.

1. An SAE reconstructs one activation per document, at a random position that is not the first. FVU and L0 are told
   beside what its makers published. Documents with massive activations, one of which can hold most of the variance,
   are left out of the FVU that decides.
2. The same SAE is fed the layers beside its own. A sign test over documents compares the errors, each relative to
   the document's own deviation from the mean, so that no single document decides; the few massive dimensions are left
   out, as the documents are, so that none of them does. What is reconstructed exactly at both layers is a tie.
3. At the last prompt token nothing is decided. All prompts end in the same token, so what varies between them is a
   small part of the residual stream, and an SAE's error there says little about its site.

Massive activations: Sun et al. 2024, arXiv:2402.17762.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from common.errors import ArtifactMismatchError
from common.handoffs.selected import REFUSE_ABOVE, WARN_ABOVE
from common.saes.activations import check_reads_the_residual_stream
from common.saes.encoder import LayerSae, load_sae
from common.saes.mixture import MASSIVE_DOCUMENT
from common.saes.sources import SaeSource

STANDARD_ERRORS = 3  # by which a neighbour has to fit better, in the sign test, to be no chance
MASSIVE_DIMENSION = 100  # times the median dimension's variance; at most one dimension in a hundred is left out
TIE_BELOW = 1e-5  # relative squared error: the rounding of bfloat16
AT_ONCE = 256  # activations encoded together
N_AT_FIRST = 64  # documents that suffice where an SAE plainly fits its own layer better than the one beside it


@runtime_checkable
class TextStreams(Protocol):
    """resid_post on general text, one activation per document, never of its first token; the same documents at every
    layer."""

    def layers(self) -> Sequence[int]: ...  # no property: isinstance would compute it

    def of_layer(self, layer: int) -> Tensor: ...


@dataclass(frozen=True)
class SiteFit:
    """How well an SAE fits activations: variance unexplained (0 best, 1 no better than the mean), mean L0.

    `fvu` counts all `n` activations; `fvu_ordinary` leaves out `n_massive` massive ones, and decides.
    """

    fvu: float
    l0: float
    n: int
    n_massive: int = 0
    fvu_ordinary: float | None = None

    @property
    def decisive(self) -> float:
        return self.fvu if self.fvu_ordinary is None else self.fvu_ordinary

    def as_json(self) -> dict[str, Any]:
        """`fvu` None where it is not a number."""
        fvu = {"fvu": _number(self.fvu), "fvu_ordinary": _number(self.decisive)}
        return {**fvu, "l0": self.l0, "n": self.n, "n_massive": self.n_massive}


@dataclass(frozen=True)
class PromptFit:
    """What an SAE carries at the last prompt token; it says nothing on whether the SAE belongs there.

    `missed_share`: sum |x - x_hat|^2 / sum |x|^2. `fvu_between`: the FVU once the mean error is taken off, which all
    prompts share; 1 is no better than the mean, and it may exceed 1.
    """

    missed_share: float
    fvu_between: float
    n: int

    def __str__(self) -> str:
        return f"{100 * self.missed_share:.2g} % of |x|^2 missed, between-prompt FVU {self.fvu_between:.2f}"

    def as_json(self) -> dict[str, Any]:
        return {"missed_share": _number(self.missed_share), "fvu_between": _number(self.fvu_between), "n": self.n}


@dataclass(frozen=True)
class Neighbour:
    """How the same documents fare at a layer beside the SAE's own: on `n_better` of `n`, ties halved, it fits better
    there. `fvu` is that of `SiteFit.decisive`."""

    layer: int
    fvu: float
    n_better: float
    n: int

    @property
    def standard_errors(self) -> float:
        """By how many the documents that fit better at the neighbour exceed one half."""
        return (self.n_better - self.n / 2) / (self.n**0.5 / 2)

    @property
    def fits_better(self) -> bool:
        """An SAE that does not fit the neighbour either, such as one of another model, does not belong there."""
        return self.fvu <= REFUSE_ABOVE and self.standard_errors > STANDARD_ERRORS


def checked_sae(
    source: SaeSource, text: TextStreams, layer: int, accept_bad_fit: bool, log: logging.Logger
) -> tuple[LayerSae, SiteFit]:
    """The SAE of one layer, once it was seen to fit general text there, and no worse than at the layers beside it.

    Raises: ConfigError for what does not read the residual stream, and as `load_sae`; ArtifactMismatchError when more
    than 0.9 of the variance is unexplained, unless `accept_bad_fit`, and when a neighbour fits better, whatever was
    accepted.
    """
    check_reads_the_residual_stream(source)
    sae = load_sae(source, layer)
    check_reads_the_residual_stream(source, sae)
    resid = text.of_layer(layer)
    fit = site_fit(sae, resid)
    check_site(fit, sae, accept_bad_fit, log)
    beside = sorted({layer - 1, layer + 1} & set(text.layers()))
    check_neighbours(sae, resid, {other: text.of_layer(other) for other in beside})
    return sae, fit


@torch.no_grad()
def site_fit(sae: LayerSae, x: Float[Tensor, "n d_in"], target: Float[Tensor, "n d_out"] | None = None) -> SiteFit:
    """Fraction of variance unexplained of the reconstruction of `x`, and latents active per row.

    FVU = sum |x - decode(encode(x))|^2 / sum |x - mean|^2 over the sample. A transcoder is
    compared with `target`, the activations at its output site.
    Raises: ArtifactMismatchError when `x` cannot be what the SAE reads.
    """
    _check_reads(sae, x, target)
    target = x if target is None else target
    errors, n_active = _errors(sae, x, target)
    fvu, ordinary, n_massive = _unexplained(errors.sum(dim=-1), target)
    return SiteFit(fvu, float(n_active.double().mean()), len(x), n_massive, ordinary)


def _unexplained(missed: Float[Tensor, " n"], x: Float[Tensor, "n d"]) -> tuple[float, float | None, int]:
    """FVU over all documents; over those without massive activations, None where all are; how many have them."""
    massive = _massive(x)
    fvu, n_massive = float(missed.sum() / _deviation(x).sum()), int(massive.sum())
    if n_massive == 0:
        return fvu, None, 0
    return fvu, float(missed[~massive].sum() / _deviation(x[~massive]).sum()), n_massive


def share_unexplained(missed: Float[Tensor, "n d"], x: Float[Tensor, "n d"]) -> float:
    """FVU: the squared error over the squared distance from the mean, both over all rows and dimensions."""
    return float(missed.double().square().sum() / _deviation(x).sum())


@torch.no_grad()
def prompt_fit(sae: LayerSae, x: Float[Tensor, "n d_in"], latent_acts: Float[Tensor, "n d_sae"]) -> PromptFit:
    """What the SAE misses of activations at the last prompt token, whose latents are `latent_acts`."""
    missed = (x - torch.cat([sae.decode(part) for part in latent_acts.split(AT_ONCE)])).double()
    between = share_unexplained(missed - missed.mean(dim=0), x)
    return PromptFit(float(missed.square().sum() / x.double().square().sum()), between, len(x))


def check_site(fit: SiteFit, sae: LayerSae, accept_bad_fit: bool, log: logging.Logger) -> None:
    """Log how well the SAE fits, and stop where it cannot belong to these activations.

    Raises: ArtifactMismatchError when more than 0.9 of the variance is unexplained, or it is no number.
    """
    fit_words = _in_words(fit, sae)
    bad = not fit.decisive <= REFUSE_ABOVE  # nan is bad too
    if bad and not accept_bad_fit:
        raise _does_not_belong(sae, f"{fit_words} (above {REFUSE_ABOVE:g})", ", or go on with --accept-bad-fit")
    if bad or max(fit.fvu, fit.decisive) > WARN_ABOVE:
        log.warning("%s fits badly: %s (above %.2g)", sae.id, fit_words, REFUSE_ABOVE if bad else WARN_ABOVE)
    else:
        log.info("%s: %s", sae.id, fit_words)


def check_neighbours(
    sae: LayerSae,
    own: Float[Tensor, "n d_in"],
    others: dict[int, Float[Tensor, "n d_in"]],
    targets: Mapping[int, Float[Tensor, "n d_out"]] | None = None,
) -> list[Neighbour]:
    """Stop where an SAE fits what is stored of another layer better than its own, by more than the sampling error.

    Neighbouring layers have most of their variance in common, so a low FVU alone proves nothing. Rows are the same
    documents at every layer. `targets` are what a transcoder is to give, at its own layer and the others.
    Raises: ArtifactMismatchError.
    """
    beside = neighbours(sae, own, others, targets)
    for neighbour in beside:
        if neighbour.fits_better:
            own_fvu = site_fit(sae, own, None if targets is None else targets[sae.layer]).decisive
            raise _does_not_belong(
                sae,
                f"FVU {own_fvu:.3f}, but {neighbour.fvu:.3f} on layer {neighbour.layer}, which it fits better on "
                f"{neighbour.n_better:g} of {neighbour.n} documents ({neighbour.standard_errors:.0f} standard "
                "errors from half)",
                "; --accept-bad-fit does not lift this",
            )
    return beside


@torch.no_grad()
def neighbours(
    sae: LayerSae,
    own: Float[Tensor, "n d_in"],
    others: dict[int, Float[Tensor, "n d_in"]],
    targets: Mapping[int, Float[Tensor, "n d_out"]] | None = None,
) -> list[Neighbour]:
    """The SAE on the layers beside its own, compared document by document; `targets` as in `check_neighbours`.

    Some documents, from all over the text, decide where they plainly speak for the SAE's own layer; else all do.
    """
    wanted, given = (own, others) if targets is None else (targets[sae.layer], targets)
    first = slice(None, None, max(1, len(own) // N_AT_FIRST))
    some = {layer: (x[first], given[layer][first]) for layer, x in others.items()}
    compared = _compared(sae, (own[first], wanted[first]), some)
    if len(own) <= N_AT_FIRST or all(one.standard_errors < -STANDARD_ERRORS for one in compared):
        return compared
    return _compared(sae, (own, wanted), {layer: (x, given[layer]) for layer, x in others.items()})


def _compared(
    sae: LayerSae, own: tuple[Tensor, Tensor], others: Mapping[int, tuple[Tensor, Tensor]]
) -> list[Neighbour]:
    """What is read at a layer, and what is to be given there: of the SAE's own layer, and of the others."""
    x, wanted = own
    own_errors, compared = _errors(sae, x, wanted)[0], []
    for layer, (x, other) in others.items():
        errors, rows = _errors(sae, x, other)[0], ~(_massive(wanted) | _massive(other))
        kept = _ordinary_dimensions(wanted[rows]) & _ordinary_dimensions(other[rows])
        here, there = (_relative(part[rows], of[rows], kept) for part, of in ((own_errors, wanted), (errors, other)))
        n_better = float((there < here).sum() + 0.5 * (there == here).sum())
        fvu, ordinary, _ = _unexplained(errors.sum(dim=-1), other)
        compared.append(Neighbour(layer, fvu if ordinary is None else ordinary, n_better, int(rows.sum())))
    return compared


def _errors(
    sae: LayerSae, x: Float[Tensor, "n d_in"], target: Float[Tensor, "n d_out"]
) -> tuple[Float[Tensor, "n d_out"], Int[Tensor, " n"]]:
    """Squared errors of the reconstruction of `x` beside `target`, and how many latents are active."""
    parts = list(_reconstructed(sae, x))
    reconstructed = torch.cat([part for part, _ in parts])
    return (target - reconstructed).double().square(), torch.cat([n_active for _, n_active in parts])


def _relative(errors: Float[Tensor, "n d"], x: Float[Tensor, "n d"], kept: Bool[Tensor, " d"]) -> Float[Tensor, " n"]:
    """Each document's squared error, relative to its squared deviation from the mean."""
    return (errors[:, kept].sum(dim=-1) / _deviation(x)[:, kept].sum(dim=-1)).clamp(min=TIE_BELOW)


def _massive(x: Float[Tensor, "n d"]) -> Bool[Tensor, " n"]:
    """Which documents have massive activations."""
    deviation = _deviation(x).sum(dim=-1)
    return deviation > MASSIVE_DOCUMENT * deviation.median()


def _ordinary_dimensions(x: Float[Tensor, "n d"]) -> Bool[Tensor, " d"]:
    variance = x.double().var(dim=0)
    largest = variance.topk(max(1, len(variance) // 100))
    massive = largest.indices[largest.values > MASSIVE_DIMENSION * variance.median()]
    kept = torch.ones(len(variance), dtype=torch.bool)
    kept[massive] = False
    return kept


def _reconstructed(sae: LayerSae, x: Float[Tensor, "n d_in"]) -> Iterator[tuple[Float[Tensor, "part d_out"], Tensor]]:
    """Reconstruction and number of active latents, some rows at a time: all latents of all rows take gigabytes."""
    for part in x.split(AT_ONCE):
        latent_acts = sae.encode(part)
        yield sae.reconstruct(part, latent_acts), (latent_acts > 0).sum(dim=-1)


def _deviation(x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Squared distance from the mean, by dimension, in double precision: large means must not drown the variance."""
    return (x.double() - x.double().mean(dim=0)).square()


def _check_reads(sae: LayerSae, x: Tensor, target: Tensor | None) -> None:
    if x.shape[-1] != sae.d_in:
        raise ArtifactMismatchError(
            f"{sae.id} reads vectors of {sae.d_in} numbers at {sae.site}; the activations have {x.shape[-1]}\n"
            f"Give SAEs of this model with --sae, or --sae auto"
        )
    if sae.kind == "transcoder" and target is None:
        raise ArtifactMismatchError(
            f"{sae.id} is a transcoder, from {sae.site} to {sae.site_out}: residual activations alone cannot test it\n"
            f"Give SAEs of the residual stream with --sae"
        )


def _in_words(fit: SiteFit, sae: LayerSae) -> str:
    massive = "" if fit.n_massive == 0 else f" ({fit.fvu:.2f} with {fit.n_massive} massive)"
    published = {"FVU": sae.published_fvu, "L0": sae.published_l0}
    shown = ", ".join(f"{name} {value:.3g}" for name, value in published.items() if value is not None)
    makers = f"; its makers: {shown}" if shown else ""
    return (
        f"FVU {fit.decisive:.2f}{massive}, mean L0 {fit.l0:.1f} over {fit.n} activations of {sae.site} on general text"
        f"{makers}"
    )


def _does_not_belong(sae: LayerSae, why: str, way_out: str) -> ArtifactMismatchError:
    are, flag, slip = "SAEs", "--sae", "the block's input in place of its output"
    if sae.kind == "transcoder":
        are, flag, slip = "transcoders", "--transcoders", "folders that were numbered from 1"
    return ArtifactMismatchError(
        f"{sae.id} does not fit layer {sae.layer}: {why}\n"
        f"Likely causes: {are} of another layer (off by one: {slip}), {are} of another model, or another scaling of "
        f"the activations. Check --model and {flag}{way_out}"
    )


def _number(value: float) -> float | None:
    return float(value) if value == value else None
