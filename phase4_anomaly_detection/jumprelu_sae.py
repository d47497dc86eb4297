"""A JumpReLU sparse autoencoder: encode, decode, and train with straight-through gradients.

    sae = JumpReLUSAE(d_in=192, d_sae=1536)
    sae.train(resid, TrainingConfig(l0_coefficient=0.03))        # resid [n, d_in]
    sae = JumpReLUSAE.from_sae_lens("gemma-scope-2b-pt-res-canonical", "layer_19/width_16k/canonical")

1. acts = JumpReLU_theta(x W_enc + b_enc): z where z > theta, else 0. x_hat = acts W_dec + b_dec.
2. loss = mean over x of |x - x_hat|^2 + l0_coefficient * sum_i H(z_i - theta_i), with inputs scaled to a mean squared
   norm of 1. Decoder rows have unit norm; theta = exp(log_threshold) stays above 0.
3. JumpReLU and the step H have no gradient in theta. In its place stands that of the expected loss, estimated with a
   kernel K of width `bandwidth` around the threshold:
       d JumpReLU_theta(z) / d theta = -(theta / bandwidth) K((z - theta) / bandwidth)
       d H(z - theta)      / d theta = -(1 / bandwidth)     K((z - theta) / bandwidth)
   K is the rectangle: 1 within half a bandwidth of the threshold, else 0. The gradient in z is that of z above the
   threshold, and 0 for H.

Source: Rajamanoharan et al. 2024, arXiv:2407.14435, sections 3 and 4, equations 9 to 12; appendix for the settings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from common.errors import ArtifactMismatchError, ConfigError
from common.saes.encoder import LayerSae, load_from_release
from common.saes.sources import find_release, layer_of

NAMES = ("W_enc", "b_enc", "threshold", "W_dec", "b_dec")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Settings of `JumpReLUSAE.train`. Inputs are scaled to a mean squared norm of 1 first: all are in those units.

    `bandwidth` None is 0.05 / sqrt(d_in), the paper's 0.001 at its 2,304 dimensions: pre-activations shrink in that
    proportion; no threshold starts below it. The penalty rises from 0 over the first `warm_up` of the steps.
    """

    l0_coefficient: float = 0.03
    n_steps: int = 2000
    batch_size: int = 1024
    learning_rate: float = 3e-3
    bandwidth: float | None = None
    warm_up: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("n_steps", "batch_size", "learning_rate", "bandwidth"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ConfigError(f"{name} is {value}\nGive a number above 0")
        for name, most in (("l0_coefficient", math.inf), ("warm_up", 1.0)):
            if not 0 <= getattr(self, name) <= most:
                raise ConfigError(f"{name} is {getattr(self, name)}\nGive a number from 0 to {most:g}")


@dataclass(frozen=True)
class TrainingReport:
    """On the last batch: fraction of variance unexplained and mean L0; on all: latents that never fired; the losses."""

    fvu: float
    l0: float
    n_dead: int
    losses: list[float]


class JumpReLUSAE:
    """Weights in SAELens' names and Gemma Scope's convention: the input is not shifted by b_dec."""

    def __init__(self, d_in: int, d_sae: int, *, threshold: float = 0.001, seed: int = 0):
        """A new one: decoder rows random with unit norm, the encoder their transpose."""
        if min(d_in, d_sae) < 1:
            raise ConfigError(f"d_in is {d_in} and d_sae is {d_sae}\nGive 1 or more of each")
        generator = torch.Generator().manual_seed(seed)
        self.W_dec = functional.normalize(torch.randn(d_sae, d_in, generator=generator), dim=1)
        self.W_enc = self.W_dec.T.clone()
        self.b_enc, self.b_dec = torch.zeros(d_sae), torch.zeros(d_in)
        self.threshold = torch.full((d_sae,), float(threshold))

    @classmethod
    def from_weights(cls, **weights: Tensor) -> JumpReLUSAE:
        """One of these `NAMES`. Raises: ArtifactMismatchError where their shapes do not fit."""
        sae = cls.__new__(cls)
        d_in, d_sae = weights["W_enc"].shape
        shapes = dict(zip(NAMES, [(d_in, d_sae), (d_sae,), (d_sae,), (d_sae, d_in), (d_in,)], strict=True))
        for name, shape in shapes.items():
            if tuple(weights[name].shape) != shape:
                raise ArtifactMismatchError(
                    f"{name} has the shape {tuple(weights[name].shape)}, but W_enc is {d_in} by {d_sae}\n"
                    f"Give {name} of the shape {shape}"
                )
            setattr(sae, name, weights[name].detach().float().clone())
        return sae

    @classmethod
    def from_layer_sae(cls, sae: LayerSae) -> JumpReLUSAE:
        """Raises: ConfigError for a transcoder, and for the top-k rule, which has no gate."""
        if sae.kind == "transcoder" or sae.top_k is not None:
            kind = "a transcoder" if sae.kind == "transcoder" else f"a top-{sae.top_k} SAE"
            raise ConfigError(
                f"{sae.id} is {kind}, which has no JumpReLU form\nGive an SAE with thresholds, or of ReLU"
            )
        return cls.from_weights(**{name: getattr(sae, name) for name in NAMES})

    @classmethod
    def from_sae_lens(cls, release: str, sae_id: str) -> JumpReLUSAE:
        """One of a release that SAELens knows, from the hub's cache or the hub. Raises: ConfigError, AssetError."""
        found = find_release(release)
        layer = layer_of(sae_id)
        if sae_id not in found.paths or layer is None:
            some = "', '".join(list(found.paths)[:3])
            raise ConfigError(
                f"release {release} has no id '{sae_id}'\nGive one of its {len(found.paths)}: '{some}' ..."
            )
        return cls.from_layer_sae(load_from_release(found, sae_id, layer, "sae"))

    @property
    def d_in(self) -> int:
        return self.W_enc.shape[0]

    @property
    def n_latents(self) -> int:
        return self.W_enc.shape[1]

    def encode(self, x: Float[Tensor, "*n d_in"]) -> Float[Tensor, "*n d_sae"]:
        """JumpReLU(x W_enc + b_enc): zero where a pre-activation does not exceed its threshold strictly.

        `x` may be of numpy, and of any number type: it is computed in that of the weights.
        """
        pre_acts = torch.as_tensor(x).to(self.W_enc) @ self.W_enc + self.b_enc
        return pre_acts * (pre_acts > self.threshold)

    def decode(self, latent_acts: Float[Tensor, "*n d_sae"]) -> Float[Tensor, "*n d_in"]:
        """The reconstruction, in the input's own scale."""
        return torch.as_tensor(latent_acts).to(self.W_dec) @ self.W_dec + self.b_dec

    def train(self, x: Float[Tensor, "n d_in"], config: TrainingConfig | None = None) -> TrainingReport:
        """Train on rows of `x`, from the weights there are. Raises: ConfigError for too few rows, nan or infinity."""
        config = config or TrainingConfig()
        x = torch.as_tensor(x).float()
        if x.ndim != 2 or x.shape[1] != self.d_in or len(x) < 2 or not x.isfinite().all():
            raise ConfigError(
                f"activations of the shape {tuple(x.shape)} cannot train an SAE of {self.d_in} dimensions\n"
                f"Give two or more rows of {self.d_in} finite numbers"
            )
        scale = float(x.square().sum(dim=1).mean().sqrt()) or 1.0
        return _Training(self, x / scale, scale, config).run()


class _Training:
    """One call of `train`, on inputs with a mean squared norm of 1."""

    def __init__(self, sae: JumpReLUSAE, x: Float[Tensor, "n d_in"], scale: float, config: TrainingConfig):
        self.sae, self.x, self.scale, self.config = sae, x, scale, config
        self.bandwidth = config.bandwidth or 0.05 / math.sqrt(sae.d_in)
        norm = sae.W_dec.norm(dim=1).clamp(min=1e-12)  # moved into the encoder, so that rows have unit norm
        log_threshold = (sae.threshold * norm / scale).clamp(min=self.bandwidth).log()
        start = {"W_enc": sae.W_enc * norm, "b_enc": sae.b_enc * norm / scale, "W_dec": sae.W_dec / norm[:, None]}
        start |= {"b_dec": sae.b_dec / scale, "log_threshold": log_threshold}
        self.parameters = {name: value.clone().requires_grad_(True) for name, value in start.items()}
        # The paper's momentum of 0 suits a gradient that is zero at most steps for most thresholds.
        self.optimizer = torch.optim.Adam(self.parameters.values(), lr=config.learning_rate, betas=(0.0, 0.999))
        self.fired = torch.zeros(sae.n_latents, dtype=torch.bool)

    def run(self) -> TrainingReport:
        generator = torch.Generator().manual_seed(self.config.seed)
        losses = []
        for step in range(self.config.n_steps):
            rows = torch.randint(len(self.x), (min(self.config.batch_size, len(self.x)),), generator=generator)
            losses.append(self._step(step, self.x[rows]))
        self._write_back()
        sample = self.x[rows] * self.scale
        latent_acts = self.sae.encode(sample)
        missed = (sample - self.sae.decode(latent_acts)).square().sum()
        fvu = float(missed / (sample - sample.mean(dim=0)).square().sum())
        l0 = float((latent_acts != 0).float().sum(dim=1).mean())
        return TrainingReport(fvu=fvu, l0=l0, n_dead=int((~self.fired).sum()), losses=losses)

    def _step(self, step: int, x: Float[Tensor, "batch d_in"]) -> float:
        progress = (step + 1) / self.config.n_steps
        coefficient = self.config.l0_coefficient * min(
            1.0, progress / self.config.warm_up if self.config.warm_up else 1
        )
        for group in self.optimizer.param_groups:  # constant, then linear to 0 over the last fifth
            group["lr"] = self.config.learning_rate * min(1.0, (1 - progress) / 0.2 + 1e-3)
        p = self.parameters
        pre_acts, threshold = x @ p["W_enc"] + p["b_enc"], p["log_threshold"].exp()
        loss = jumprelu_loss(x, pre_acts, threshold, p["W_dec"], p["b_dec"], coefficient, self.bandwidth)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        with torch.no_grad():  # the part of the gradient along a decoder row would only change its norm
            W_dec, grad = p["W_dec"], p["W_dec"].grad
            assert grad is not None
            grad -= (grad * W_dec).sum(dim=1, keepdim=True) * W_dec
        self.optimizer.step()
        with torch.no_grad():
            W_dec /= W_dec.norm(dim=1, keepdim=True)
            self.fired |= (pre_acts > threshold).any(dim=0)
        return loss.item()

    @torch.no_grad()
    def _write_back(self) -> None:
        """The weights for inputs as they came."""
        p, sae = self.parameters, self.sae
        sae.W_enc, sae.W_dec = p["W_enc"].detach().clone(), p["W_dec"].detach().clone()
        sae.b_enc, sae.b_dec = p["b_enc"].detach() * self.scale, p["b_dec"].detach() * self.scale
        sae.threshold = p["log_threshold"].detach().exp() * self.scale


def jumprelu_loss(
    x: Float[Tensor, "batch d_in"],
    pre_acts: Float[Tensor, "batch d_sae"],
    threshold: Float[Tensor, " d_sae"],
    W_dec: Float[Tensor, "d_sae d_in"],
    b_dec: Float[Tensor, " d_in"],
    l0_coefficient: float,
    bandwidth: float,
) -> Float[Tensor, ""]:
    """Mean over the batch of |x - x_hat|^2 + l0_coefficient * L0 (equation 9)."""
    x_hat = jumprelu(pre_acts, threshold, bandwidth) @ W_dec + b_dec
    n_active = step(pre_acts, threshold, bandwidth).sum(dim=1)
    return ((x - x_hat).square().sum(dim=1) + l0_coefficient * n_active).mean()


def jumprelu(
    z: Float[Tensor, "batch d_sae"], threshold: Float[Tensor, " d_sae"], bandwidth: float
) -> Float[Tensor, "batch d_sae"]:
    """z where z > threshold, else 0; its gradient in the threshold is equation 11's."""
    return _JumpReLU.apply(z, threshold, bandwidth)


def step(
    z: Float[Tensor, "batch d_sae"], threshold: Float[Tensor, " d_sae"], bandwidth: float
) -> Float[Tensor, "batch d_sae"]:
    """1 where z > threshold, else 0; its gradient in the threshold is equation 12's."""
    return _Step.apply(z, threshold, bandwidth)


def _kernel(z: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
    """K((z - threshold) / bandwidth) / bandwidth, for the rectangle."""
    return ((z - threshold).abs() < bandwidth / 2).to(z) / bandwidth


class _JumpReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(z, threshold)
        ctx.bandwidth = bandwidth
        return z * (z > threshold)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        z, threshold = ctx.saved_tensors
        of_threshold = -threshold * _kernel(z, threshold, ctx.bandwidth) * gradient
        return gradient * (z > threshold), of_threshold.sum(dim=0), None


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(z, threshold)
        ctx.bandwidth = bandwidth
        return (z > threshold).to(z)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None]:
        z, threshold = ctx.saved_tensors
        return None, (-_kernel(z, threshold, ctx.bandwidth) * gradient).sum(dim=0), None
