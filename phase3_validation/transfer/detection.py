"""Whether latents that were selected in one model, on one dataset, predict what fails in another, or on another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from common.evaluation import score_verdicts
from common.evaluation.bootstrap import draws_by_label
from common.evaluation.cards import always_positive_f1, evaluation_card
from common.evaluation.label_counts import MIN_TO_EVALUATE
from common.evaluation.metrics import best_threshold, predicted_positive
from common.handoffs import JUDGED
from common.handoffs.changes import ThereAgainstAlways
from common.handoffs.detection import DetectedDirection
from common.interventions.directions import Direction
from common.tables import TableRow
from phase3_validation.detection.evaluation import Scored, among_random
from phase3_validation.detection.scores import Score
from phase3_validation.transfer.config import TransferConfig
from phase3_validation.transfer.problems import JUDGING, TUNING

AS_IT_IS, REFITTED = "latent", "latent_refitted"


@dataclass
class TargetProblems:
    """The judged problems of both splits with the greedy programs there and the latents' activations on them.

    `kept` tells which of all unsteered records were judged; the others are counted in `left_out`, by split and label.
    """

    rows: list[TableRow]
    split: np.ndarray
    complexity: dict[int, int]
    kept: np.ndarray
    left_out: dict[str, dict[str, int]]
    n_resamples: int
    seed: int
    values: dict[str, np.ndarray] = field(default_factory=dict)
    random: dict[str, list[np.ndarray]] = field(default_factory=dict)

    @classmethod
    def of(cls, splits: dict[str, list[TableRow]], rows: Sequence[TableRow], config: TransferConfig) -> TargetProblems:
        """`rows` are the unsteered records, in the order of the splits."""
        names = np.array([name for name, problems in splits.items() for _ in problems])
        kept = np.array([row["label"] in JUDGED for row in rows])
        left_out = {
            name: dict(sorted(Counter(row["label"] for row, its_split, judged in zip(rows, names, kept, strict=True)
                                      if its_split == name and not judged).items()))
            for name in splits
        }  # fmt: skip
        complexity = {p["task_id"]: p["complexity"] for problems in splits.values() for p in problems}
        judged = [row for row, keep in zip(rows, kept, strict=True) if keep]
        return cls(judged, names[kept], complexity, kept, left_out, config.n_resamples, config.seed)

    @property
    def incorrect(self) -> np.ndarray:
        return np.array([row["label"] == "incorrect" for row in self.rows], dtype=bool)

    @property
    def counts(self) -> dict[str, int]:
        return {name: int((self.split == name).sum()) for name in (TUNING, JUDGING)}

    def add(self, direction: Direction, activations: np.ndarray, random: Sequence[np.ndarray] = ()) -> None:
        """The latent's activation on every unsteered record, and random latents of its layer beside it.

        More of each speaks for the direction's label.
        """
        self.values[direction.name] = activations[self.kept]
        self.random[direction.name] = [other[self.kept] for other in random]

    def too_few(self) -> str | None:
        """Why no card can be made, in words; None where one can."""
        for name in (TUNING, JUDGING):
            n_incorrect = int(self.incorrect[self.split == name].sum())
            for label, n in (("incorrect", n_incorrect), ("correct", self.counts[name] - n_incorrect)):
                if n < MIN_TO_EVALUATE:
                    return f"only {n} of its programs on {name} are {label}: an evaluation needs {MIN_TO_EVALUATE}"
        return None

    def refitted(self, direction: str) -> float | None:
        """The threshold with the largest F1 on the labels there on hyperparams."""
        return self._tuned(direction, self.values[direction])

    def cards(self, direction: str, threshold: float | None) -> dict[str, Any]:
        """Evaluation cards on validation with phase 3.1's threshold, and with the refitted one; and verdicts.

        How it ranks depends on no threshold. The random latents are those of phase 3.1, which the labels here read.
        """
        judging = self.split == JUDGING
        values, positive = self.values[direction][judging], self._positive(direction)[judging]
        draws = draws_by_label(self.incorrect[judging], self.n_resamples, self.seed)
        thresholds = {"source_threshold": threshold, "refitted": self.refitted(direction)}
        cards = {name: evaluation_card(values, positive, each, draws) for name, each in thresholds.items()}
        card, n_positive = cards["refitted"], int(positive.sum())
        among = among_random(card, self._scored_random(direction), positive)
        against = {
            name: score_verdicts.against_always(predicted_positive(values, each), positive, draws)
            for name, each in thresholds.items()
        }
        return {
            **cards,
            "always_positive_f1": always_positive_f1(n_positive, len(positive)),
            "verdict": score_verdicts.ranking(card.auroc, among.auroc.q95),
            "power": score_verdicts.ranking_power(n_positive, len(positive) - n_positive, among.auroc.q95),
            "against_always": ThereAgainstAlways(**against),
            "random_latents": among,
        }

    def _scored_random(self, direction: str) -> list[Scored]:
        tuning, judging = self.split == TUNING, self.split == JUDGING
        return [
            Scored(Score(str(number), values), values[tuning], values[judging], self._tuned(direction, values))
            for number, values in enumerate(self.random[direction])
        ]

    def _tuned(self, direction: str, values: np.ndarray) -> float | None:
        tuning = self.split == TUNING
        return best_threshold(values[tuning], self._positive(direction)[tuning].astype(float))

    def prediction_rows(self, source: dict[str, DetectedDirection]) -> list[TableRow]:
        """Rows of predictions.parquet; `source` is what phase 3.1 says of the first model."""
        rows = []
        for direction, values in self.values.items():
            thresholds = {
                AS_IT_IS: source[direction].card.threshold,
                REFITTED: None if self.too_few() else self.refitted(direction),
            }
            rows += [
                {
                    "direction": direction,
                    "score": score,
                    "task_id": row["task_id"],
                    "split": str(split),
                    "value": float(value),
                    "threshold": float("nan") if threshold is None else threshold,
                }
                for score, threshold in thresholds.items()
                for row, split, value in zip(self.rows, self.split, values, strict=True)
            ]
        return rows

    def label_rows(self) -> list[TableRow]:
        return [
            {
                "task_id": row["task_id"],
                "split": str(split),
                "temperature": 0.0,
                "sample_index": 0,
                "label": row["label"],
                "complexity": self.complexity[row["task_id"]],
            }
            for row, split in zip(self.rows, self.split, strict=True)
        ]

    def _positive(self, direction: str) -> np.ndarray:
        return self.incorrect if direction.endswith("_incorrect") else ~self.incorrect
