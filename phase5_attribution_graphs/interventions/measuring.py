"""What changes of one prompt's run do to the difference of two logits.

An effect is the difference without the change minus that with it: above 0 where what was changed spoke for the right
answer. Both are of one pass, since another shape of a product rounds differently. `capped` is of the logits as the
model gives them; `before_cap` of those before its final cap, which graphs explain.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from common.model.language_model import LanguageModel
from common.model.memory import FittingParts, batch_bytes
from phase5_attribution_graphs.replacement.clean_run import CleanRun
from phase5_attribution_graphs.replacement.interventions import FREE, Change, Fixed, Interventions, Outcome
from phase5_attribution_graphs.replacement.targets import Target
from phase5_attribution_graphs.replacement.transcoders import Transcoder

FROZEN = Fixed(attention=True, norms=True)
FIXED = {"nothing": FREE, "attention and norms": FROZEN}


@dataclass(frozen=True)
class Effects:
    """One for each change, in logits."""

    capped: Float[np.ndarray, " n"]
    before_cap: Float[np.ndarray, " n"]


class Meter:
    """Tries changes on one run, and reads the contrast of two logits off each."""

    def __init__(
        self,
        lm: LanguageModel,
        run: CleanRun,
        transcoders: Sequence[Transcoder | None],
        target: Target,
        batch_size: int,
        log: logging.Logger,
    ) -> None:
        assert target.is_contrast
        self.run, self.target, self._runner = run, target, Interventions(lm, run, transcoders)
        self._batch_size, self._lm, self._log = batch_size, lm, log

    @property
    def baseline(self) -> float:
        """The difference of the run as it is; capped."""
        return float(self._capped(self.run.logits[None])[0])

    def effects(self, changes: Sequence[Change], fixed: Fixed = FREE) -> Effects:
        """Raises: ConfigError where one change alone is too much for the memory."""

        def tried(part: list[Change]) -> list[tuple[float, float]]:
            outcome = self._runner.outcomes([Change(), *part], fixed, at_once=1 + len(part))
            read = [self._capped(outcome.logits), self._before_cap(outcome, fixed)]
            return list(zip(*((one[0] - one[1:]).tolist() for one in read), strict=True))

        fitting = FittingParts(
            tried,
            size=len,
            expected=lambda part: self._bytes(1 + len(part)),
            name=lambda _: f"a change of {self.run.n_pos} tokens",
            device=self._lm.device,
            log=self._log,
        )
        rows: list[tuple[float, float]] = []
        for first in range(0, len(changes), self._batch_size):
            rows += fitting(changes[first : first + self._batch_size])
        capped, before_cap = np.array(rows, dtype=float).reshape(-1, 2).T
        return Effects(capped, before_cap)

    def without_errors(self) -> tuple[float, bool]:
        """The capped difference with transcoders in the place of all MLPs; is the likeliest token the same?"""
        [logits] = self._runner.outcomes([Change()], replace_mlps=True).logits
        same = bool(logits.argmax() == self.run.logits.argmax())
        return float(self._capped(logits[None])[0]), same

    def _capped(self, logits: Float[Tensor, "batch d_vocab"]) -> Float[Tensor, " batch"]:
        correct, incorrect = self.target.tokens
        return logits[:, correct].double() - logits[:, incorrect].double()

    def _before_cap(self, outcome: Outcome, fixed: Fixed) -> Float[Tensor, " batch"]:
        last, norm = outcome.resid_final[:, -1].double(), self._runner.decoder.final_norm
        scale = self.run.final_scale[-1].double() if fixed.norms else norm.scale(last)[:, None]
        return (last * scale * norm.gain.double() * self.target.direction.double()).sum(-1)

    def _bytes(self, n_rows: int) -> int:
        """With the stream before each MLP, which an outcome holds."""
        streams = n_rows * self.run.n_pos * (2 + self.run.n_layers) * self._lm.d_model
        return batch_bytes(self._lm.model, n_rows, self.run.n_pos, 0) + streams * self._lm.model.dtype.itemsize
