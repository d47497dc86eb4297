"""Documents of phase 2: the selected latents, and how well the SAEs fit."""

from dataclasses import dataclass

from common.handoffs.estimates import Interval

WARN_ABOVE, REFUSE_ABOVE = 0.5, 0.9  # fraction of variance of general text that an SAE leaves unexplained


@dataclass(frozen=True, kw_only=True)
class LatentFacts:
    """What later phases say of a selected latent."""

    layer: int
    latent: int
    sae_id: str
    neuronpedia: str | None
    t: float | None
    p_max: float
    significant: bool


@dataclass(frozen=True, kw_only=True)
class SelectedLatent:
    """One latent with its statistics: see the columns of latents.parquet. None for what is not finite."""

    rank: int
    layer: int
    latent: int
    sae_id: str
    neuronpedia: str | None
    n_active: int
    f_correct: float
    f_incorrect: float
    separation: float
    t: float | None
    t_active: float | None
    df: float | None
    p: float | None
    q: float | None
    p_max: float
    auroc: float | None
    general_text_rate: float
    decoder_norm: float
    significant: bool
    undecided: bool

    @property
    def facts(self) -> LatentFacts:
        return LatentFacts(**{name: getattr(self, name) for name in LatentFacts.__dataclass_fields__})


@dataclass(frozen=True, kw_only=True)
class RankedLatent:
    """A latent of latents.parquet, kept or not; None for a t that is not finite."""

    layer: int
    latent: int
    t: float | None
    separation: float
    auroc: float
    general_text_rate: float
    undecided: bool


@dataclass(frozen=True, kw_only=True)
class LeftOutLatent(RankedLatent):
    """The best latent of a direction among those that fire too often on general text.

    `limit` is that of its layer; `stronger` says that it beats the selected one in what the direction is ranked by.
    """

    limit: float
    stronger: bool


@dataclass(frozen=True, kw_only=True)
class SelectedDirection:
    """The best latents of one direction; the first is the one that phase 3 evaluates."""

    criterion: str
    significant: bool
    conclusion: str
    latents: list[SelectedLatent]
    left_out: LeftOutLatent | None


@dataclass(frozen=True, kw_only=True)
class AtLimit:
    """What a limit on the general-text rate leaves; None stands for the settled ones, of each layer its own.

    `best` has the largest |t| on all problems; `auroc` is that of the latent with the largest |t| on four fifths of
    the problems, turned by the sign of its t and read on the others.
    """

    limit: float | None
    kept: int
    best: RankedLatent | None
    auroc: Interval


@dataclass(frozen=True, kw_only=True)
class CrossValidatedProbe:
    """Logistic regression on k columns: out-of-fold AUROC, and the C (inverse of the penalty) of each outer fold."""

    k: int
    auroc: Interval
    strengths: list[float]


@dataclass(frozen=True, kw_only=True)
class LayerProbing:
    """Probes of a layer's latents with the largest |t|, of `n_latents` kept ones that fire; and of its whole stream."""

    layer: int
    n_latents: int
    sparse: list[CrossValidatedProbe]
    full: CrossValidatedProbe


@dataclass(frozen=True, kw_only=True)
class PromptFitFacts:
    """What an SAE carries at the last prompt token: common.saes.site_check.PromptFit."""

    missed_share: float | None
    fvu_between: float | None
    n: int


@dataclass(frozen=True, kw_only=True)
class GeneralTextFacts:
    """How often a layer's latents fire on general text, and what the settled limit makes of them."""

    limit: float
    mean_rate: float
    n_documents: int
    kept: int
    undecided: int


@dataclass(frozen=True, kw_only=True)
class Site:
    """How well one layer's SAE fits general text: common.saes.site_check.SiteFit; and what its makers published."""

    layer: int
    sae_id: str
    sae_revision: str | None
    fvu: float | None
    fvu_ordinary: float | None
    l0: float
    n: int
    n_massive: int
    published_fvu: float | None
    published_l0: float | None
    last_prompt_token: PromptFitFacts
    general_text: GeneralTextFacts


@dataclass(frozen=True, kw_only=True)
class NullMaximumSummary:
    """The largest |t| of all ranked latents under permuted labels; `quantiles` by their level."""

    n_permutations: int
    seed: int
    quantiles: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class SelectedDocument:
    """selected.json. `use` is there where the split is not the one for selection.

    `general_text_limit` is what was asked for; what it came to stands with each site. `limits` and `sparse_probing`
    are empty where the split is not the one for selection.
    """

    conclusion: str
    split: str
    use: str | None = None
    problems: int
    labels_from: str
    correct: int | float
    incorrect: int | float
    left_out: dict[str, int]
    latents: int
    kept: int
    kept_and_varying: int
    general_text_limit: float | str
    null_maximum_of_abs_t: NullMaximumSummary
    sites: list[Site]
    directions: dict[str, SelectedDirection]
    limits: list[AtLimit]
    sparse_probing: list[LayerProbing]
