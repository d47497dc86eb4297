"""An attribution graph: edges between latents, errors, tokens, constants and targets of one prompt.

    columns (sources)  [ latents | errors by layer and position | tokens | constants by layer ]
    rows (targets)     [ latents | targets ]

`edges[t, s]` is what source s adds to the pre-activation of latent t, or to the target's logit, with attention patterns
and norm scales as recorded. A row adds up to `values`: the latent's pre-activation minus its encoder's bias, or the
target's logit. Latents stand in the order of layer, position and number, so a row reads only earlier layers' columns.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors.torch import load, save
from torch import Tensor

ROWS_AT_ONCE = 256  # in double precision
TENSORS = ("layer", "pos", "latent", "activation", "values", "edges", "weights", "tokens")


@dataclass(frozen=True)
class Graph:
    """On the processor, float32. `names` and `weights` are of the targets; `n_active` counts latents before a cap."""

    layer: Int[Tensor, " n"]
    pos: Int[Tensor, " n"]
    latent: Int[Tensor, " n"]
    activation: Float[Tensor, " n"]
    values: Float[Tensor, " row"]
    edges: Float[Tensor, "row column"]
    weights: Float[Tensor, " target"]
    tokens: Int[Tensor, " pos"]
    names: list[str]
    target_tokens: list[tuple[int, ...]]
    n_layers: int
    n_active: int

    @property
    def n_latents(self) -> int:
        return len(self.layer)

    @property
    def n_pos(self) -> int:
        return len(self.tokens)

    @property
    def error_columns(self) -> slice:
        return slice(self.n_latents, self.n_latents + self.n_layers * self.n_pos)

    @property
    def token_columns(self) -> slice:
        return slice(self.error_columns.stop, self.error_columns.stop + self.n_pos)

    @property
    def constant_columns(self) -> slice:
        return slice(self.token_columns.stop, self.token_columns.stop + self.n_layers)

    @property
    def is_capped(self) -> bool:
        return self.n_active > self.n_latents

    def unexplained(self) -> Float[Tensor, " row"]:
        """By how much each row misses its value, relative to the sum of its absolute edges.

        Large edges may cancel, so no smaller measure can hold. Of a capped graph, rows lack the latents left out.
        """
        shares = []
        for first in range(0, len(self.edges), ROWS_AT_ONCE):
            rows = self.edges[first : first + ROWS_AT_ONCE].double()
            missed = (rows.sum(1) - self.values[first : first + ROWS_AT_ONCE].double()).abs()
            shares.append(missed / rows.abs_().sum(1).clamp(min=1e-30))
        return torch.cat(shares).float()

    def to_bytes(self) -> bytes:
        """A safetensors file, with what is no tensor in its metadata."""
        facts = {"names": self.names, "target_tokens": self.target_tokens, "n_layers": self.n_layers}
        tensors = {name: getattr(self, name).contiguous() for name in TENSORS}
        return save(tensors, {"graph": json.dumps({**facts, "n_active": self.n_active})})

    @classmethod
    def read(cls, path: Path) -> "Graph":
        data = path.read_bytes()
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        facts = json.loads(header["__metadata__"]["graph"])
        facts["target_tokens"] = [tuple(tokens) for tokens in facts["target_tokens"]]
        return cls(**load(data), **facts)
