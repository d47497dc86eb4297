"""The pairs of one contrast, run through the model, and the order in which its nodes come into a circuit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from common.model.language_model import LanguageModel
from phase6_error_circuits.circuits.bases import bases_of, on_common_columns
from phase6_error_circuits.circuits.config import RESAMPLE, ErrorCircuitsConfig
from phase6_error_circuits.circuits.ranking import ranked
from phase6_error_circuits.circuits.scoring import Scorer
from phase6_error_circuits.latents.dictionaries import SiteDictionaries
from phase6_error_circuits.latents.gradients import integrated
from phase6_error_circuits.latents.nodes import Node
from phase6_error_circuits.latents.shares import Bootstrap
from phase6_error_circuits.latents.split_arms import SplitArms, batches_of
from phase6_error_circuits.latents.studied import StudiedShape
from phase6_error_circuits.pair import SELECT, ErrorPair


@dataclass(frozen=True, eq=False)
class Subject:
    """`shape` is where the circuit is found, `others` are the contrast's other shapes.

    `importance` is what phase 6.3 found: of every node that differs; `threshold` is that of its null pairs.
    """

    lm: LanguageModel
    dictionaries: SiteDictionaries
    config: ErrorCircuitsConfig
    shape: StudiedShape
    others: Sequence[StudiedShape]
    importance: Mapping[Node, float]
    threshold: float
    _importances: dict[str, Mapping[Node, float]] = field(default_factory=dict)
    _scorers: dict[tuple[str, str], Scorer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._importances[RESAMPLE] = self.importance

    def batches(self, pairs: Sequence[ErrorPair]) -> list[SplitArms]:
        return batches_of(self.lm, self.dictionaries, pairs, self.config.batch_size)

    @cached_property
    def _both(self) -> list[list[SplitArms]]:
        return on_common_columns(self.batches(self.shape.select), self.batches(self.shape.held_out))

    @property
    def select(self) -> list[SplitArms]:
        return self._both[0]

    @property
    def held_out(self) -> list[SplitArms]:
        return self._both[1]

    def scorer(self, split: str, ablation: str = RESAMPLE) -> Scorer:
        """What scores circuits on the pairs of a split."""
        if (split, ablation) not in self._scorers:
            batches = self.select if split == SELECT else self.held_out
            bases = bases_of(ablation, self.select, batches)
            self._scorers[split, ablation] = Scorer(batches, bases, self.bootstrap(batches))
        return self._scorers[split, ablation]

    def scorer_of(self, batches: Sequence[SplitArms]) -> Scorer:
        """What scores circuits on other pairs."""
        return Scorer(batches, bases_of(RESAMPLE, batches, batches), self.bootstrap(batches))

    def bootstrap(self, batches: Sequence[SplitArms]) -> Bootstrap:
        return Bootstrap(sum(arms.n_pairs for arms in batches), self.config.n_resamples, self.config.seed)

    def order(self, ranking: str, ablation: str = RESAMPLE) -> list[Node]:
        """The nodes of a ranking; each ablation has importances of its own, against its own values."""
        if ablation not in self._importances:
            others = bases_of(ablation, self.select, self.select)
            gradients = integrated(self.select, others, self.config.n_points, again=0)
            self._importances[ablation] = gradients.importance.nodes()
        return ranked(self._importances[ablation], ranking)
