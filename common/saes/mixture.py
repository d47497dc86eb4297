"""What a dictionary is trained on: parts of activations, each with its share of every batch and its own scale.

Each part's error is divided by that part's own variance. Otherwise a part that varies little, such as prompts that all
end in the same token, is not learnt: its whole answer is less than the error on text (Gemma-2's last prompt tokens: FVU
of transcoders within a behaviour 0.07 to 2.3 beside 0.05 to 0.16 on text; trained so, a third to a half of that).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

N_FOR_SCALE = 50_000
MASSIVE_DOCUMENT = 20  # times the median row's squared deviation from the mean


@dataclass(frozen=True)
class Samples:
    """Activations that a dictionary reads and what it is to give, [row, d], any float type; one tensor for an SAE."""

    inputs: Tensor
    targets: Tensor

    @property
    def is_autoencoder(self) -> bool:
        return self.inputs is self.targets


@dataclass(frozen=True)
class Part:
    """Rows of one kind, and what share of every batch they are."""

    share: float
    samples: Samples


@dataclass(frozen=True)
class Batch:
    """Normalised rows in float32, and the weight of each row's squared error."""

    inputs: Float[Tensor, "row d_in"]
    targets: Float[Tensor, "row d_out"]
    weights: Float[Tensor, " row"]


@dataclass(frozen=True)
class Scale:
    """raw = mean + factor * normalised, with unit variance per dimension on average."""

    mean: Float[Tensor, " d"]
    factor: float

    @classmethod
    def of(cls, raw: Tensor) -> "Scale":
        sample = raw[:: max(1, len(raw) // N_FOR_SCALE)].float()
        mean = sample.mean(0)
        return cls(mean, (sample - mean).pow(2).mean().sqrt().item())

    def normalise(self, raw: Tensor) -> Tensor:
        return (raw.float() - self.mean) / self.factor


@dataclass(frozen=True)
class Ordinary:
    """Which rows are no massive activations (Sun et al. 2024, arXiv:2402.17762): one can hold most of the variance.

    Those far from the mean: beyond `limit`, in squared distance.
    """

    mean: Float[Tensor, " d"]
    limit: float

    @classmethod
    def of(cls, rows: Tensor) -> "Ordinary":
        rows = rows.float()
        mean = rows.mean(0)
        return cls(mean, MASSIVE_DOCUMENT * (rows - mean).pow(2).sum(1).median().item())

    def among(self, rows: Tensor) -> Bool[Tensor, " row"]:
        return (rows.float() - self.mean).pow(2).sum(1) <= self.limit


@dataclass(frozen=True)
class Normalisation:
    """Scales of inputs and targets, which are those of the first part, and the weight of each part's squared error."""

    inputs: Scale
    targets: Scale
    weights: tuple[float, ...]

    @classmethod
    def of(cls, parts: Sequence[Part]) -> "Normalisation":
        first = parts[0].samples
        inputs = Scale.of(first.inputs)
        targets = inputs if first.is_autoencoder else Scale.of(first.targets)
        factors = [Scale.of(part.samples.targets).factor for part in parts]
        # Rows that do not differ at all have no scale of their own.
        return cls(inputs, targets, tuple((targets.factor / factor) ** 2 if factor > 0 else 0.0 for factor in factors))


def rows_of_parts(shares: Sequence[float], batch_size: int) -> list[int]:
    """How many rows of a batch each part has: by largest remainder, in all `batch_size`."""
    exact = [share / sum(shares) * batch_size for share in shares]
    rows = [int(number) for number in exact]
    by_remainder = sorted(range(len(shares)), key=lambda part: rows[part] - exact[part])
    for part in by_remainder[: batch_size - sum(rows)]:
        rows[part] += 1
    return rows


def batches(
    parts: Sequence[Part], batch_size: int, normalisation: Normalisation, generator: torch.Generator
) -> Iterator[Batch]:
    """Batches without end; a part is gone through in a new order each time it is used up."""
    n_rows = rows_of_parts([part.share for part in parts], batch_size)
    used = [
        (part.samples, n, weight) for part, n, weight in zip(parts, n_rows, normalisation.weights, strict=True) if n
    ]
    weights = torch.cat([torch.full((n,), weight) for _, n, weight in used]).to(used[0][0].inputs.device)
    orders = [_shuffled_forever(len(samples.inputs), n, generator) for samples, n, _ in used]
    for chosen in zip(*orders, strict=True):
        rows = [index.to(weights.device) for index in chosen]
        picked = [samples.inputs[index] for (samples, _, _), index in zip(used, rows, strict=True)]
        inputs = normalisation.inputs.normalise(torch.cat(picked))
        if used[0][0].is_autoencoder:
            yield Batch(inputs, inputs, weights)
            continue
        picked = [samples.targets[index] for (samples, _, _), index in zip(used, rows, strict=True)]
        yield Batch(inputs, normalisation.targets.normalise(torch.cat(picked)), weights)


def _shuffled_forever(n_rows: int, n_wanted: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Indices of rows, some at a time; a row comes again when all others have come."""
    left = torch.empty(0, dtype=torch.int64)
    while True:
        while len(left) < n_wanted:
            left = torch.cat([left, torch.randperm(n_rows, generator=generator)])
        yield left[:n_wanted]
        left = left[n_wanted:]
