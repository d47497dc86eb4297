"""Documents of phases 3.4 to 3.7, which bring the sentences and tables that the report shows."""

from dataclasses import dataclass

from common.handoffs.detection import Card, RandomLatents
from common.handoffs.estimates import AurocInterval, Counted, Interval
from common.handoffs.score_verdicts import AgainstAlways, RankingPower, RankingVerdict
from common.handoffs.selected import LatentFacts, PromptFitFacts
from common.handoffs.steering import Agreement, Compared, Effect, OfLayer, Power, SteeringVerdict, UnsteeredRate

Cell = str | int | float | bool | Interval | AurocInterval | None


@dataclass(frozen=True, kw_only=True)
class ResultTable:
    title: str
    columns: list[str]
    rows: list[list[Cell]]


@dataclass(frozen=True, kw_only=True)
class SectionMove:
    """Attention to one section of the prompt, mean over the heads that steering reaches; `rank` as of a head."""

    section: str
    before: Interval
    after: Interval
    change: Interval
    rank: int

    @property
    def found(self) -> bool:
        return beyond_random(self.change, self.rank)


@dataclass(frozen=True, kw_only=True)
class LayerMove:
    layer: int
    section: str
    before: Interval
    after: Interval
    change: Interval


@dataclass(frozen=True, kw_only=True)
class HeadMove:
    """Attention of one head to one section.

    `rank` is that of its mean change, up or down, among those of random directions: 1 is beyond all of them. None for
    heads that steering cannot reach.
    """

    layer: int
    head: int
    section: str
    before: Interval
    after: Interval
    change: Interval
    rank: int | None

    @property
    def found(self) -> bool:
        return beyond_random(self.change, self.rank)


def beyond_random(change: Interval, rank: int | None) -> bool:
    """Whether a change is a finding: its interval is on one side of 0, and no random direction changes as much."""
    assert change.low is not None and change.high is not None
    return rank == 1 and (change.low > 0 or change.high < 0)


@dataclass(frozen=True, kw_only=True)
class DisplacedByRandom:
    """What random directions of the same length displace, and the direction's rank among them."""

    n: int
    displaced: list[float]
    n_as_much: int
    rank_p: float


@dataclass(frozen=True, kw_only=True)
class Movement:
    """What one direction does to attention.

    `n_found` of the `n_compared` pairs of a head and a section are findings (see `beyond_random`), in `n_heads_moved`
    of `n_heads` heads; were the direction random too, one pair in 1 + n would be beyond the n random directions.
    """

    moves: list[HeadMove]
    pooled: list[LayerMove]
    first_layer_reached: int
    overall: list[SectionMove]
    displaced: Interval | None
    random_directions: DisplacedByRandom | None
    n_heads: int
    n_heads_moved: int
    n_compared: int
    n_found: int


@dataclass(frozen=True, kw_only=True)
class AttentionPlace:
    """Where a direction was added, and how much of it."""

    latent: LatentFacts
    wanted: str
    site: str
    layer: int
    coefficient: float
    norm: float


@dataclass(frozen=True, kw_only=True)
class AttentionMoved(Movement, AttentionPlace):  # the fields of the last base come first
    """A direction that was added, and what it does to attention."""


@dataclass(frozen=True, kw_only=True)
class AttentionUnmoved:
    """A direction without an admissible coefficient."""

    latent: LatentFacts
    wanted: str
    site: str
    layer: None
    coefficient: None
    why: str
    moves: list[HeadMove]


@dataclass(frozen=True, kw_only=True)
class AttentionDocument:
    """attention.json. `section_words` is how the page names the sections."""

    experiment: dict[str, str]
    n: int
    seed: int
    n_resamples: int
    steer: str
    sections: list[str]
    directions: dict[str, AttentionMoved | AttentionUnmoved]
    section_words: dict[str, str]
    layers_without_attention: list[int]
    sentences: list[str]
    tables: list[ResultTable]


@dataclass(frozen=True, kw_only=True)
class StillWritten:
    """The largest share of a component's write along a removed direction, of all prompts."""

    worst: float
    component: str
    limit: float
    before: float
    controls: float
    n_prompts: int


@dataclass(frozen=True, kw_only=True)
class RemovedDirection(Compared, OfLayer):  # the fields of the last base come first
    """As a steered direction; `wanted` is what its loss should do to the pass rate."""

    p_holm: dict[str, float | None]
    power: Power
    verdict: SteeringVerdict


@dataclass(frozen=True, kw_only=True)
class OrthogonalisationDocument:
    """orthogonalisation.json."""

    experiment: dict[str, str]
    split: str
    n: int
    readings: int
    baseline: UnsteeredRate
    agrees_with_phase_1: Agreement
    verification: dict[str, StillWritten]
    directions: dict[str, RemovedDirection]
    sentences: list[str]
    tables: list[ResultTable]


@dataclass(frozen=True, kw_only=True)
class TransferDataset:
    """Other problems, `n` of them: `n_seen` had selected or tuned what is transferred, or were like some that had."""

    identity: str
    problems_sha256: str
    n: int
    n_seen: int


@dataclass(frozen=True, kw_only=True)
class TransferTarget:
    """A model, and the dataset where it is not the first one's: `name` tells both, `identity` is the model's."""

    name: str
    identity: str
    dataset: TransferDataset | None = None


@dataclass(frozen=True, kw_only=True)
class TransferSite:
    """What an SAE carries in the other model, and in the first, its `source`."""

    layer: int
    sae_id: str
    missed_share: float | None
    fvu_between: float | None
    n: int
    source: PromptFitFacts


@dataclass(frozen=True, kw_only=True)
class ThereAgainstAlways:
    """F1 beside always giving the positive answer in the other model, by the threshold that is used."""

    source_threshold: AgainstAlways
    refitted: AgainstAlways


@dataclass(frozen=True, kw_only=True)
class TransferredCards:
    """In the first model, and in the other with the first one's threshold and with its own."""

    source: Card
    source_verdict: RankingVerdict
    source_threshold: Card
    refitted: Card
    always_positive_f1: float
    verdict: RankingVerdict
    power: RankingPower
    against_always: ThereAgainstAlways
    random_latents: RandomLatents


@dataclass(frozen=True, kw_only=True)
class NotTransferred:
    """`why` the other model's programs cannot be judged."""

    source: Card
    source_verdict: RankingVerdict
    why: str


@dataclass(frozen=True, kw_only=True)
class SourceEffect:
    effect: Effect | None


@dataclass(frozen=True, kw_only=True)
class TransferredSteering:
    wanted: str
    layer: int
    site: str
    coefficient: float
    norm: float
    source: SourceEffect
    effect: Effect
    mcnemar_p: float
    transitions: dict[str, int]
    p_holm: dict[str, float | None]
    verdict: SteeringVerdict
    power: Power


@dataclass(frozen=True, kw_only=True)
class NotSteeredThere:
    wanted: str
    verdict: SteeringVerdict


@dataclass(frozen=True, kw_only=True)
class TransferredDirection:
    latent: LatentFacts
    positive: str
    detection: TransferredCards | NotTransferred
    steering: TransferredSteering | NotSteeredThere | None


@dataclass(frozen=True, kw_only=True)
class PassRates:
    source: Interval
    target: Interval


@dataclass(frozen=True, kw_only=True)
class TransferDocument:
    """transfer.json."""

    experiment: dict[str, str]
    target: TransferTarget
    n: dict[str, int]
    left_out: dict[str, dict[str, int]]
    readings: int
    seed: int
    n_resamples: int
    steer: str
    pass_rate: PassRates
    sites: list[TransferSite]
    directions: dict[str, TransferredDirection]
    sentences: list[str]
    tables: list[ResultTable]


@dataclass(frozen=True, kw_only=True)
class UnderPrompt:
    """What became of the programs under one form of the prompt. The rest is beside the whole prompt: not there for it.

    `named` programs define the function that is tested.
    """

    n: int
    pass_rate: Interval
    named: Counted
    pass_rate_of_named: Interval
    labels: dict[str, int]
    errors: dict[str, int]
    pairs: int | None = None
    left_out: int | None = None
    gained: int | None = None
    lost: int | None = None
    difference: Interval | None = None
    mcnemar_p: float | None = None
    mcnemar_p_holm: float | None = None


@dataclass(frozen=True, kw_only=True)
class LatentUnderPrompt:
    mean: Interval
    firing_rate: float
    auroc: Interval
    change: Interval | None = None
    change_in_sd: Interval | None = None


@dataclass(frozen=True, kw_only=True)
class AblatedDirection:
    latent: LatentFacts
    positive: str
    sd: float
    ablations: dict[str, LatentUnderPrompt]


@dataclass(frozen=True, kw_only=True)
class AblationDocument:
    """prompt_ablation.json."""

    experiment: dict[str, str]
    n: int
    readings: int
    seed: int
    n_resamples: int
    agrees_with_phase_1: Agreement
    ablations: dict[str, UnderPrompt]
    directions: dict[str, AblatedDirection]
    sentences: list[str]
    tables: list[ResultTable]
