"""Train one sparse dictionary, step by step, on batches of a mixture (mixture.py).

1. Inputs and targets are centred and scaled to unit variance per dimension (folded into the weights at the end, so the
   finished dictionary reads raw activations and subtracts no b_dec).
2. acts = JumpReLU(x W_enc + b_enc) with one threshold for all latents. `feedback`: it moves so that the mean number of
   active latents stays at the target: BatchTopK (Bussmann et al. 2024, arXiv:2412.06410) with a running threshold in
   place of a sort. `batchtopk`: exactly the largest of each batch; the finished dictionary has the mean of their
   thresholds. `topk`: the largest of each row; the finished one has a threshold for each latent (top_k.py). Decoder
   rows have unit norm.
3. Directions start random, at the scale that reconstructs a batch best. Latents that have not fired for a while start
   again at what is missing (resampling.py). The target for active latents starts three times as high and falls.

Our own loop and not SAELens' trainer: that trains no transcoders, on one core a step of its JumpReLU takes twice as
long, and in a prototype it left 74 % of the latents dead. The files are in SAELens' format.
"""

import contextlib
import itertools
import logging
import math
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from common.errors import ArtifactMismatchError
from common.saes.dictionary import Dictionary
from common.saes.mixture import Batch, Normalisation, Part, Scale, batches
from common.saes.resampling import resampled
from common.saes.top_k import KeptLatents, largest
from common.saes.training_settings import FEEDBACK, TOPK, DictionarySettings

STEPS_BETWEEN_LINES = 200
_WEIGHTS = ("W_enc", "b_enc", "W_dec", "b_dec")
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")

logger = logging.getLogger(__name__)


def train_dictionary(settings: DictionarySettings, parts: Sequence[Part]) -> Dictionary:
    """A dictionary of activations in memory."""
    trainer = DictionaryTrainer(settings, Normalisation.of(parts), parts[0].samples.is_autoencoder)
    rows = batches(parts, settings.batch_size, trainer.normalisation, torch.Generator().manual_seed(settings.seed))
    trainer.train(itertools.islice(rows, settings.n_steps))
    return trainer.folded()


class DictionaryTrainer:
    """One dictionary in training, on the device of the activations."""

    def __init__(self, settings: DictionarySettings, normalisation: Normalisation, is_autoencoder: bool) -> None:
        self.settings, self.normalisation, self.is_autoencoder = settings, normalisation, is_autoencoder
        self.device = normalisation.inputs.mean.device
        self.generator = torch.Generator().manual_seed(settings.seed)  # of the processor: the same on every device
        d_in, d_out = len(normalisation.inputs.mean), len(normalisation.targets.mean)
        shapes = {"W_enc": (d_in, settings.d_sae), "b_enc": (settings.d_sae,), "W_dec": (settings.d_sae, d_out)}
        self.W_enc, self.b_enc, self.W_dec, self.b_dec = (
            torch.zeros(shapes.get(name, (d_out,)), device=self.device, requires_grad=True) for name in _WEIGHTS
        )
        self.threshold = math.nan
        self.kept = KeptLatents.none_of(settings.d_sae, self.device)
        self.since_fired = torch.zeros(settings.d_sae, device=self.device)
        self.n_resampled = self.step = 0
        parameters = [getattr(self, name) for name in _WEIGHTS]
        self.optimizer = torch.optim.Adam(parameters, lr=settings.learning_rate, fused=True)

    def train(self, rows: Iterable[Batch]) -> None:
        """A step for each batch."""
        for batch in rows:
            with matmul_precision(self.settings.matmul_precision):
                if self.step == 0:
                    self._start(batch)
                fvu, l0 = self._step(batch)
            if self.step % STEPS_BETWEEN_LINES == 0 or self.step == self.settings.n_steps - 1:
                words = "step %d of %d: FVU %.3f, L0 %.1f, threshold %.3f, resampled %d"
                logger.info(words, self.step, self.settings.n_steps, fvu, l0, self.threshold, self.n_resampled)
            self.step += 1

    @torch.no_grad()
    def folded(self) -> Dictionary:
        """The dictionary for raw activations, on the processor."""
        read, written = self.normalisation.inputs, self.normalisation.targets
        W_enc = self.W_enc * (written.factor / read.factor)
        weights = {
            "W_enc": W_enc,
            "b_enc": self.b_enc * written.factor - read.mean @ W_enc,
            "W_dec": self.W_dec.clone(),
            "b_dec": self.b_dec * written.factor + written.mean,
            "threshold": self._thresholds() * written.factor,
        }
        return Dictionary(**{name: weight.detach().cpu() for name, weight in weights.items()})

    def state(self) -> dict[str, Tensor]:
        """All that the steps to come depend on, besides the batches."""
        read, written = self.normalisation.inputs, self.normalisation.targets
        numbers = [self.step, self.n_resampled, self.threshold, self.kept.factor, read.factor, written.factor]
        state = {
            "numbers": torch.tensor([*numbers, *self.normalisation.weights], dtype=torch.float64),
            "means": torch.cat([read.mean, written.mean]),
            "since_fired": self.since_fired,
            "exceeded": self.kept.exceeded,
            "n_kept": self.kept.n_kept,
            "generator": self.generator.get_state(),
        }
        for name in _WEIGHTS:
            state[name] = getattr(self, name).detach()
            moments = self.optimizer.state[getattr(self, name)]
            state |= {f"{name}.{moment}": moments[moment] for moment in _MOMENTS}
        return {name: tensor.cpu().contiguous() for name, tensor in state.items()}

    @classmethod
    def resumed(
        cls, settings: DictionarySettings, state: dict[str, Tensor], is_autoencoder: bool, device: str
    ) -> "DictionaryTrainer":
        """A trainer that goes on from a `state`, to the same bits on the same hardware.

        Raises: ArtifactMismatchError for the state of a version whose steps depended on less.
        """
        if lacking := {"exceeded", "n_kept"} - state.keys():
            raise ArtifactMismatchError(
                f"a state of training without {' and '.join(sorted(lacking))} was saved by an earlier version\n"
                f"Begin anew: give the same command with --fresh"
            )
        step, n_resampled, threshold, factor, read, written, *weights = state["numbers"].tolist()
        means = state["means"].to(device).split([len(state["W_enc"]), len(state["b_dec"])])
        inputs = Scale(means[0], read)
        normalisation = Normalisation(inputs, inputs if is_autoencoder else Scale(means[1], written), tuple(weights))
        trainer = cls(settings, normalisation, is_autoencoder)
        trainer.step, trainer.n_resampled, trainer.threshold = int(step), int(n_resampled), threshold
        trainer.kept = KeptLatents(state["exceeded"].to(device), state["n_kept"].to(device), factor)
        trainer.since_fired = state["since_fired"].to(device)
        trainer.generator.set_state(state["generator"])
        for name in _WEIGHTS:
            parameter = getattr(trainer, name)
            with torch.no_grad():
                parameter.copy_(state[name])
            moments = {moment: state[f"{name}.{moment}"].to(device) for moment in _MOMENTS}
            trainer.optimizer.state[parameter] = moments
        return trainer

    def _step(self, batch: Batch) -> tuple[float, float]:
        """The error relative to each part's variance, and how many latents were active; a mean over the batch."""
        pre = torch.addmm(self.b_enc, batch.inputs, self.W_enc)
        gate = self._gate(pre)
        one_gate = isinstance(gate, float)
        latent_acts = functional.threshold(pre, gate, 0.0) if one_gate else torch.where(pre > gate, pre, 0.0)
        errors = torch.addmm(self.b_dec, latent_acts, self.W_dec) - batch.targets
        loss = torch.dot(errors.pow(2).mean(1), batch.weights) / len(errors)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate_at(self.step)
        self.optimizer.step()
        with torch.no_grad():
            self.W_dec /= self.W_dec.norm(dim=1, keepdim=True)
            n_fired = torch.count_nonzero(latent_acts, dim=0)
            l0 = n_fired.sum().item() / len(errors)
            self._move_threshold(pre, gate, l0)
            self.since_fired = torch.where(n_fired > 0, 0.0, self.since_fired + 1)
            if (self.step + 1) % self.settings.resample_every == 0:
                if self.step < self.settings.n_steps * self.settings.resampled_share:
                    self._resample(batch, errors)
        return loss.item(), l0

    def _gate(self, pre: Tensor) -> float | Tensor:
        """What active pre-activations exceed: one number, or one for each row."""
        if self.settings.threshold == FEEDBACK:
            return self.threshold
        l0 = self.settings.l0_at(self.step)
        if self.settings.threshold == TOPK:
            return largest(pre.detach(), round(l0))
        return max(0.0, _exceeded_by(pre.detach(), l0))

    def _move_threshold(self, pre: Tensor, gate: float | Tensor, l0: float) -> None:
        if self.settings.threshold == FEEDBACK:
            self.threshold *= math.exp(0.05 * max(-1.0, min(1.0, l0 / self.settings.l0_at(self.step) - 1)))
        elif isinstance(gate, Tensor):
            self.kept.note(pre, gate)
            self.threshold += 0.02 * (gate.mean().item() - self.threshold)
        else:
            self.threshold += 0.02 * (gate - self.threshold)

    def _thresholds(self) -> Tensor:
        """Of the finished dictionary's latents."""
        if self.settings.threshold == TOPK:
            return self.kept.thresholds()
        return torch.full((self.settings.d_sae,), self.threshold)

    def _resample(self, batch: Batch, errors: Tensor) -> None:
        """Start latents that have long not fired again; those for which there is no place wait for the next time."""
        dead = torch.nonzero(self.since_fired >= self.settings.dead_after)[:, 0]
        if not len(dead):
            return
        new = resampled(
            batch,
            -errors,
            most=len(dead),
            threshold=self.threshold,
            rate=self.settings.l0 / self.settings.d_sae,
            is_autoencoder=self.is_autoencoder,
            generator=self.generator,
        )
        dead = dead[: len(new)]
        self.W_enc[:, dead], self.b_enc[dead], self.W_dec[dead] = new.reads.T, new.b_enc, new.writes
        for parameter, index in ((self.W_enc, (slice(None), dead)), (self.b_enc, dead), (self.W_dec, dead)):
            for moment in ("exp_avg", "exp_avg_sq"):
                self.optimizer.state[parameter][moment][index] = 0.0
        self.kept.forget(dead)
        self.since_fired[dead] = 0.0
        self.n_resampled += len(dead)

    @torch.no_grad()
    def _start(self, batch: Batch) -> None:
        """Random directions; the scale of the encoder is the one that reconstructs a batch best."""
        W_dec = functional.normalize(torch.randn(self.W_dec.shape, generator=self.generator), dim=1)
        self.W_dec.copy_(W_dec)
        if self.is_autoencoder:
            self.W_enc.copy_(W_dec.T)
        else:
            random_rows = torch.randn(self.W_enc.T.shape, generator=self.generator)
            self.W_enc.copy_(functional.normalize(random_rows, dim=1).T)
        pre = batch.inputs @ self.W_enc
        self.threshold = _exceeded_by(pre, self.settings.l0_at(0))
        outputs = functional.threshold(pre, self.threshold, 0.0) @ self.W_dec
        scale = max(0.05, ((outputs * batch.targets).sum() / outputs.pow(2).sum()).item())
        self.W_enc *= scale
        self.threshold *= scale


@contextlib.contextmanager
def matmul_precision(name: str) -> Iterator[None]:
    """Products of float32 matrices as torch.set_float32_matmul_precision says, and as before afterwards."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _exceeded_by(pre: Tensor, l0: float) -> float:
    """The threshold that `l0` latents of a row exceed, on average."""
    n_active = int(l0 * len(pre))
    return pre.flatten().kthvalue(pre.numel() - n_active).values.item()
