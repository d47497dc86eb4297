"""Documents of phases 0.1 and 1.2: how the problems were split, and what the samples say."""

from dataclasses import dataclass

from common.handoffs.estimates import Interval


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """Problems of like complexity, `lowest` to `highest`, and how many of them each split got."""

    lowest: int
    highest: int
    n: int
    counts: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class ComplexityOfSplit:
    n: int
    mean: float | None
    sd: float | None
    standard_error: float | None


@dataclass(frozen=True, kw_only=True)
class DuplicatePair:
    task_ids: list[int]
    why: list[str]
    cosine: float


@dataclass(frozen=True, kw_only=True)
class DuplicateGroupOfSplit:
    """Near duplicates, which lie in one split together."""

    task_ids: list[int]
    split: str
    pairs: list[DuplicatePair]


@dataclass(frozen=True, kw_only=True)
class SplitDocument:
    """split_metadata.json: what a reader needs to judge a split."""

    seed: int
    fractions: dict[str, float]
    sizes: dict[str, int]
    sizes_wanted: dict[str, int]
    strata: list[Stratum]
    complexity: dict[str, ComplexityOfSplit]
    kolmogorov_smirnov_p: dict[str, float | None]
    n_groups: int
    groups: list[DuplicateGroupOfSplit]
    pairs_across_splits: list[list[int]]


@dataclass(frozen=True, kw_only=True)
class SampledRate:
    """What the samples of one temperature say; None for a rate where none could be judged."""

    temperature: float
    file: str
    problems: int
    programs: int
    pass_rate: float | None
    pass_rate_95_percent_interval: list[float] | None
    problems_with_a_correct_program: int
    problems_with_only_correct_programs: int
    labels: dict[str, int]
    errors: dict[str, int]

    @property
    def share(self) -> Interval:
        return Interval(self.pass_rate, *(self.pass_rate_95_percent_interval or (None, None)))


@dataclass(frozen=True, kw_only=True)
class TemperatureDocument:
    """temperature_metadata.json."""

    base_seed: int
    interval: str
    temperatures: list[SampledRate]
