"""Train one sparse dictionary: an SAE, or a transcoder, which is the same with another target.

1. Inputs and targets are centred and scaled to unit variance per dimension (folded into the weights
   at the end, so the finished dictionary reads raw activations and subtracts no b_dec).
2. acts = JumpReLU(x W_enc + b_enc) with one threshold for all latents, set by feedback so that the mean
   number of active latents stays at the target: BatchTopK (Bussmann et al. 2024, arXiv:2412.06410) with
   a running threshold in place of a sort. Decoder rows have unit norm.
3. Directions start random, at the scale that reconstructs a batch best. Latents that have not fired for
   a while start again from samples that are reconstructed badly (Bricken et al. 2023, "neuron
   resampling"). The target for active latents starts three times as high and falls.
4. A share of every batch are rows of `prompts`: last prompt tokens, the position that the pipeline reads.

Our own loop and not SAELens' trainer: that trains no transcoders, on one core a step of its JumpReLU takes
twice as long, and in a prototype it left 74 % of the latents dead. The files are in SAELens' format.
"""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from common.errors import ArtifactMismatchError, ConfigError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DictionarySettings:
    """All that the result depends on, besides the activations.

    Raises: ConfigError where no step can be made, or more latents would be active than there are.
    """

    d_sae: int = 1536
    l0: float = 32.0
    n_samples: int = 1_500_000
    batch_size: int = 1024
    learning_rate: float = 1.5e-3
    prompt_share: float = 0.2
    initial_l0_factor: float = 3.0
    annealed_share: float = 0.25
    resample_every: int = 200
    resampled_share: float = 0.65
    decayed_share: float = 0.4
    seed: int = 0

    def __post_init__(self) -> None:
        most_active = self.d_sae / 2 / self.initial_l0_factor  # of more than half, the threshold would lie below 0
        for name, value, most in (("batch_size", self.batch_size, self.n_samples), ("l0", self.l0, most_active)):
            if not 0 < value <= most:
                raise ConfigError(f"{name} is {value}\nGive a number above 0, at most {most:g}")

    @property
    def n_steps(self) -> int:
        return self.n_samples // self.batch_size

    def learning_rate_at(self, step: int) -> float:
        """Warm-up over 50 steps, constant, then linear to a hundredth."""
        left = (self.n_steps - step) / (self.n_steps * self.decayed_share)
        return self.learning_rate * min(1.0, (step + 1) / 50) * max(0.01, min(1.0, left))

    def l0_at(self, step: int) -> float:
        """Geometrically from `initial_l0_factor` times the target to the target."""
        progress = min(1.0, step / (self.n_steps * self.annealed_share))
        return self.l0 * self.initial_l0_factor ** (1 - progress)


@dataclass
class Dictionary:
    """Weights in SAELens' names and Gemma Scope's convention: acts = JumpReLU(x @ W_enc + b_enc).

    Raises: ArtifactMismatchError where their shapes do not fit.
    """

    W_enc: Float[Tensor, "d_in d_sae"]
    b_enc: Float[Tensor, "d_sae"]
    W_dec: Float[Tensor, "d_sae d_out"]
    b_dec: Float[Tensor, "d_out"]
    threshold: Float[Tensor, "d_sae"]

    def __post_init__(self) -> None:
        (d_in, d_sae), d_out = self.W_enc.shape, self.W_dec.shape[1]
        shapes = {"b_enc": (d_sae,), "threshold": (d_sae,), "W_dec": (d_sae, d_out), "b_dec": (d_out,)}
        for name, shape in shapes.items():
            if tuple(getattr(self, name).shape) != shape:
                raise ArtifactMismatchError(
                    f"{name} has the shape {tuple(getattr(self, name).shape)}, but W_enc is {d_in} by {d_sae}\n"
                    f"Give {name} of the shape {shape}"
                )

    def encode(self, inputs: Float[Tensor, "*rows d_in"]) -> Float[Tensor, "*rows d_sae"]:
        """Latent activations; a latent is zero unless its pre-activation exceeds its threshold strictly.

        `inputs` may be of numpy, and of any number type: they are computed in that of the weights.
        """
        pre_acts = torch.as_tensor(inputs).to(self.W_enc) @ self.W_enc + self.b_enc
        return pre_acts * (pre_acts > self.threshold)

    def decode(self, latent_acts: Float[Tensor, "*rows d_sae"]) -> Float[Tensor, "*rows d_out"]:
        return torch.as_tensor(latent_acts).to(self.W_dec) @ self.W_dec + self.b_dec


@dataclass(frozen=True)
class Samples:
    """Inputs and targets of every stored row, float16; the same tensors twice for an SAE."""

    inputs: Tensor
    targets: Tensor

    @property
    def is_autoencoder(self) -> bool:
        return self.inputs is self.targets


@dataclass(frozen=True)
class Scale:
    """raw = mean + factor * normalised, with unit variance per dimension on average."""

    mean: Tensor
    factor: float

    @classmethod
    def of(cls, raw: Tensor) -> "Scale":
        sample = raw[:: max(1, len(raw) // 50_000)].float()
        mean = sample.mean(0)
        return cls(mean, (sample - mean).pow(2).mean().sqrt().item())

    def normalise(self, raw: Tensor) -> Tensor:
        return (raw.float() - self.mean) / self.factor


class DictionaryTrainer:
    """One dictionary in training, on normalised activations."""

    def __init__(self, settings: DictionarySettings, text: Samples, prompts: Samples) -> None:
        self.settings = settings
        self.text, self.prompts = text, prompts
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.in_scale = Scale.of(text.inputs)
        self.out_scale = self.in_scale if text.is_autoencoder else Scale.of(text.targets)
        d_in, d_out = text.inputs.shape[1], text.targets.shape[1]
        self.W_enc = torch.zeros(d_in, settings.d_sae)
        self.b_enc = torch.zeros(settings.d_sae)
        self.W_dec = torch.zeros(settings.d_sae, d_out)
        self.b_dec = torch.zeros(d_out)
        self.threshold = math.nan
        self.since_fired = torch.zeros(settings.d_sae)
        self.n_resampled = 0
        self.batches = self._batches()
        self._start()
        self.parameters = [self.W_enc, self.b_enc, self.W_dec, self.b_dec]
        for parameter in self.parameters:
            parameter.requires_grad_(True)
        self.optimizer = torch.optim.Adam(self.parameters, lr=settings.learning_rate, fused=True)

    def train(self) -> Dictionary:
        for step in range(self.settings.n_steps):
            figures = self._step(step, *next(self.batches))
            if step % 200 == 0 or step == self.settings.n_steps - 1:
                words = "step %d of %d: FVU %.3f, L0 %.1f, threshold %.3f, resampled %d"
                logger.info(words, step, self.settings.n_steps, *figures, self.threshold, self.n_resampled)
        return self.folded()

    @torch.no_grad()
    def folded(self) -> Dictionary:
        """The dictionary for raw activations."""
        gain = self.out_scale.factor / self.in_scale.factor
        W_enc = self.W_enc * gain
        return Dictionary(
            W_enc=W_enc,
            b_enc=self.b_enc * self.out_scale.factor - self.in_scale.mean @ W_enc,
            W_dec=self.W_dec.clone(),
            b_dec=self.b_dec * self.out_scale.factor + self.out_scale.mean,
            threshold=torch.full((self.settings.d_sae,), self.threshold * self.out_scale.factor),
        )

    def _step(self, step: int, inputs: Tensor, targets: Tensor) -> tuple[float, float]:
        pre = torch.addmm(self.b_enc, inputs, self.W_enc)
        latent_acts = functional.threshold(pre, self.threshold, 0.0)
        errors = torch.addmm(self.b_dec, latent_acts, self.W_dec) - targets
        loss = errors.pow(2).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate_at(step)
        self.optimizer.step()
        with torch.no_grad():
            self.W_dec /= self.W_dec.norm(dim=1, keepdim=True)
            n_fired = torch.count_nonzero(latent_acts, dim=0)
            l0 = n_fired.sum().item() / len(inputs)
            self.threshold *= math.exp(0.05 * max(-1.0, min(1.0, l0 / self.settings.l0_at(step) - 1)))
            self.since_fired = torch.where(n_fired > 0, 0.0, self.since_fired + 1)
            if (step + 1) % self.settings.resample_every == 0:
                if step < self.settings.n_steps * self.settings.resampled_share:
                    self._resample(inputs, errors)
        return loss.item() / targets.var(0).mean().item(), l0

    def _resample(self, inputs: Tensor, errors: Tensor) -> None:
        """Start the latents that have long not fired again from samples with a large error."""
        dead = torch.nonzero(self.since_fired >= self.settings.resample_every // 2)[:, 0]
        if len(dead):
            weights = errors.pow(2).sum(1)
            rows = torch.multinomial(weights, len(dead), len(dead) > len(weights), generator=self.generator)
            self._point_latents(dead, inputs[rows], -errors[rows])
            for parameter, index in ((self.W_enc, (slice(None), dead)), (self.b_enc, dead), (self.W_dec, dead)):
                for moment in ("exp_avg", "exp_avg_sq"):
                    self.optimizer.state[parameter][moment][index] = 0.0
            self.since_fired[dead] = 0.0
            self.n_resampled += len(dead)

    def _start(self) -> None:
        """Random directions; the scale of the encoder is the one that reconstructs a batch best."""
        inputs, targets = next(self.batches)
        W_dec = functional.normalize(torch.randn(self.W_dec.shape, generator=self.generator), dim=1)
        self.W_dec.copy_(W_dec)
        if self.text.is_autoencoder:
            self.W_enc.copy_(W_dec.T)
        else:
            random_rows = torch.randn(self.W_enc.T.shape, generator=self.generator)
            self.W_enc.copy_(functional.normalize(random_rows, dim=1).T)
        pre = inputs @ self.W_enc
        n_active = int(self.settings.l0_at(0) * len(inputs))
        self.threshold = pre.flatten().kthvalue(pre.numel() - n_active).values.item()
        outputs = functional.threshold(pre, self.threshold, 0.0) @ self.W_dec
        scale = max(0.05, ((outputs * targets).sum() / outputs.pow(2).sum()).item())
        self.W_enc *= scale
        self.threshold *= scale

    def _point_latents(self, latents: Tensor, inputs: Tensor, outputs: Tensor) -> None:
        """Let the latents write in the direction of `outputs` and read that of `inputs`, an SAE's that of `outputs`."""
        W_dec = functional.normalize(outputs, dim=1)
        self.W_dec[latents] = W_dec
        self.W_enc[:, latents] = (W_dec if self.text.is_autoencoder else functional.normalize(inputs, dim=1)).T
        self.b_enc[latents] = 0.0

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        n_prompts = int(self.settings.batch_size * self.settings.prompt_share)
        text_rows = self._shuffled_forever(len(self.text.inputs), self.settings.batch_size - n_prompts)
        prompt_rows = self._shuffled_forever(len(self.prompts.inputs), n_prompts)
        for chosen_text, chosen_prompts in zip(text_rows, prompt_rows, strict=True):
            inputs = torch.cat([self.text.inputs[chosen_text], self.prompts.inputs[chosen_prompts]])
            inputs = self.in_scale.normalise(inputs)
            if self.text.is_autoencoder:
                yield inputs, inputs
            else:
                targets = torch.cat([self.text.targets[chosen_text], self.prompts.targets[chosen_prompts]])
                yield inputs, self.out_scale.normalise(targets)

    def _shuffled_forever(self, n_rows: int, n_wanted: int) -> Iterator[Tensor]:
        while True:
            order = torch.randperm(n_rows, generator=self.generator)
            for first in range(0, n_rows - n_wanted + 1, n_wanted):
                yield order[first : first + n_wanted]
