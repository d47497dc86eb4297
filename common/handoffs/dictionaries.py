"""What phase 1.3 leaves on disk: dictionaries in SAELens' format, and a card for each."""

from __future__ import annotations

from dataclasses import dataclass

from common.handoffs.schema import ArtifactSchema

SITES = {  # --site -> the activation that is read, and the one that is reconstructed
    "resid_post": ("hook_resid_post", "hook_resid_post"),
    "attn_out": ("hook_attn_out", "hook_attn_out"),
    "mlp_out": ("hook_mlp_out", "hook_mlp_out"),
    "mlp": ("ln2.hook_normalized", "hook_mlp_out"),
}


@dataclass(frozen=True, kw_only=True)
class TextFit:
    """On held-out text: fraction of variance unexplained, mean number of active latents, over n tokens."""

    fvu: float
    l0: float
    n: int
    n_massive: int


@dataclass(frozen=True, kw_only=True)
class LastTokenFit:
    """At held-out last prompt tokens: share of |x|^2 missed, and FVU once the mean error is taken off.

    None where the prompts do not differ.
    """

    missed_share: float
    fvu_between: float | None
    l0: float
    n: int


@dataclass(frozen=True, kw_only=True)
class CrossEntropy:
    """Mean loss of the next token [nats]: model alone, dictionary in place of the site, zeros in place of it."""

    clean: float
    spliced: float
    zero: float
    recovered: float | None
    n: int


@dataclass(frozen=True, kw_only=True)
class NeighbourFit:
    """The same dictionary fed the layer beside its own: FVU, and on how many of n tokens of a sample it fits better."""

    layer: int
    fvu: float
    n_better: float
    n: int


@dataclass(frozen=True, kw_only=True)
class FiringRates:
    """How often the latents fire on n tokens of text: latents by log10 of the rate, `edges` between the bins."""

    n: int
    mean: float
    n_dead: int
    edges: list[float]
    counts: list[int]


@dataclass(frozen=True, kw_only=True)
class DictionaryCard:
    """What one dictionary does, measured on the weights as they were saved."""

    n_latents: int
    text: TextFit
    by_part: dict[str, TextFit]
    last_tokens: dict[str, LastTokenFit]
    cross_entropy: CrossEntropy
    firing: FiringRates
    neighbours: list[NeighbourFit]
    n_resampled: int

    @property
    def dead_share(self) -> float:
        return self.firing.n_dead / self.n_latents

    def in_words(self) -> str:
        """One line of a log."""
        recovered = self.cross_entropy.recovered
        share = "" if recovered is None else f", {100 * recovered:.1f} % of the cross-entropy recovered"
        return (
            f"FVU {self.text.fvu:.3f} and L0 {self.text.l0:.1f} on {self.text.n} tokens held out, "
            f"{100 * self.dead_share:.1f} % of {self.n_latents} latents dead{share}"
        )


@dataclass(frozen=True, kw_only=True)
class TrainedPart:
    """What a part of the mixture held: tokens read and kept out, and how often each was trained on."""

    share: float
    source: str
    n_tokens: int
    n_held_out: int
    times: float


@dataclass(frozen=True, kw_only=True)
class DictionariesDocument:
    """dictionaries.json."""

    site: str
    hook: str
    hook_out: str
    tokens: int
    parts: dict[str, TrainedPart]
    layers: dict[str, DictionaryCard]


DICTIONARIES: ArtifactSchema[DictionariesDocument] = ArtifactSchema(
    name="dictionaries",
    phase="1.3",
    scope=("model", "site"),
    tables={},
    documents={"dictionaries.json": "dictionaries:DictionariesDocument"},
)
