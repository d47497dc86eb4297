"""Take from a model the ability to write one direction d into its residual stream.

1. The embedding and, in every block, attention's o_proj and the MLP's down_proj write to the stream (`writers_of`).
2. What a matrix W with bias b writes loses its part along v:  W <- W - v v^T W,  b <- b - v v^T b,  and for the rows of
   the embedding  E <- E - E v v^T.
3. Where nothing stands between matrix and stream, v = d. Gemma has a norm with a gain behind both matrices: it writes
   (1 + g) * x / rms(x), whose part along d is that of x along (1 + g) * d. There v = (1 + g) * d, scaled to length 1.
4. An unembedding that is tied to the embedding keeps the old weight: it reads the stream, and writes nothing to it.

The idea is Arditi et al. 2024, arXiv:2406.11717, section 2.4; the norms behind the matrices are not in it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from common.errors import ConfigError, PipelineError
from common.hooks import decoder_blocks

FLOAT32_LIMIT = 1e-5
EMBEDDING, STREAM = "embedding", "the stream after the last block"
_BEFORE = {"input_layernorm", "post_attention_layernorm"}
_AROUND = _BEFORE | {"pre_feedforward_layernorm", "post_feedforward_layernorm"}  # of Gemma-2 and Gemma-3
_ROWS_AT_ONCE = 8192  # of a matrix, in double precision


@dataclass(frozen=True)
class Writer:
    """A matrix that writes to the residual stream, and the norm that it goes through, where there is one."""

    name: str
    matrix: nn.Module
    norm: nn.Module | None

    @property
    def last(self) -> nn.Module:
        """The module whose output is added to the stream."""
        return self.matrix if self.norm is None else self.norm

    def removed_from_matrix(self, direction: Float[Tensor, " d_model"]) -> Float[Tensor, " d_model"]:
        """v, length 1: what the matrix must not write, so that the stream receives nothing along `direction`."""
        if self.norm is None:
            return direction / direction.norm()
        # An RMS norm of ones is its gain, up to a factor: (1 + g) in Gemma, whatever the class calls its weight.
        ones = torch.ones(len(direction), dtype=torch.float32, device=direction.device)
        scaled = self.norm(ones).to(direction.dtype) * direction
        return scaled / scaled.norm()


def writers_of(model: PreTrainedModel) -> list[Writer]:
    """Every matrix that writes to the residual stream, in the order of the computation.

    Raises: ConfigError for an architecture in which it is not known what writes.
    """
    writers = [Writer(EMBEDDING, model.get_input_embeddings(), None)]
    for layer, block in enumerate(decoder_blocks(model)):
        children = {name for name, _ in block.named_children()}
        norms = children - {"self_attn", "mlp"}
        attention, mlp = (
            getattr(getattr(block, part, None), matrix, None)
            for part, matrix in (("self_attn", "o_proj"), ("mlp", "down_proj"))
        )
        if norms not in (_BEFORE, _AROUND) or not all(isinstance(matrix, nn.Linear) for matrix in (attention, mlp)):
            raise _unknown(block, children)
        after_attention, after_mlp = None, None
        if norms == _AROUND:
            after_attention, after_mlp = block.post_attention_layernorm, block.post_feedforward_layernorm
            if not type(after_mlp).__name__.endswith("RMSNorm"):  # a norm that subtracts the mean has another v
                raise _unknown(block, children)
        writers.append(Writer(f"blocks.{layer}.attn", attention, after_attention))
        writers.append(Writer(f"blocks.{layer}.mlp", mlp, after_mlp))
    return writers


@contextmanager
def orthogonalised(model: PreTrainedModel, direction: Float[Tensor, " d_model"]) -> Iterator[None]:
    """While the block is open, nothing that the model writes has a part along `direction`.

    The old parameters are put back afterwards, the very objects: the model is what it was, bit for bit. Meanwhile
    the changed matrices lie beside them, about as large as half of the model.
    Raises: ConfigError, as `writers_of`.
    """
    double = torch.float32 if direction.device.type == "mps" else torch.float64  # Metal has no float64
    direction, config, olds = direction.to(double), model.config.get_text_config(), []
    tied = config.tie_word_embeddings
    try:
        for writer in writers_of(model):
            v = writer.removed_from_matrix(direction)
            for name, old in list(writer.matrix.named_parameters(recurse=False)):
                olds.append((writer.matrix, name, old))
                by_output = old if writer.name == EMBEDDING or old.ndim == 1 else old.T
                new = _without(by_output, v)
                new = new if by_output is old else new.T.contiguous()
                # A tied unembedding holds the old parameter itself, and so is untied by this.
                setattr(writer.matrix, name, nn.Parameter(new, requires_grad=False))
        config.tie_word_embeddings = False
        yield
    finally:
        config.tie_word_embeddings = tied
        for matrix, name, old in olds:
            setattr(matrix, name, old)


def _without(vectors: Float[Tensor, "*n d_model"], v: Float[Tensor, " d_model"]) -> Float[Tensor, "*n d_model"]:
    """`vectors` without their part along v, of length 1: computed in v's precision, rounded once."""
    parts = []
    for part in vectors.reshape(-1, len(v)).split(_ROWS_AT_ONCE):
        exact = part.to(v.dtype)
        parts.append((exact - (exact @ v)[:, None] * v).to(vectors.dtype))
    return torch.cat(parts).reshape(vectors.shape)


def write_limit(dtype: torch.dtype) -> float:
    """The largest |<d, write>| / |write| that a model of this number type may show once it is orthogonalised.

    1e-5 in float32. In bfloat16 (8e-3) and float16 (1e-3) it is the type's epsilon: every number of a weight and of
    a write is rounded by up to half of it, and nothing closer to zero than this can be asked of what was rounded.
    """
    return FLOAT32_LIMIT if dtype == torch.float32 else torch.finfo(dtype).eps


@dataclass
class Writes:
    """The largest |<d, write>| / |write| of each row of a batch, in [0, 1], and the component that wrote it."""

    worst: list[float]
    component: list[str]

    def check(self, limit: float) -> None:
        """Raises: PipelineError where a component still writes the direction."""
        for share, component in zip(self.worst, self.component, strict=True):
            if not share <= limit:
                raise PipelineError(
                    f"{component} still writes the direction that was removed: |<d, write>| is {share:.2g} of |write|, "
                    f"above {limit:.2g}\n"
                    f"Give --dtype float32; where that fails too, phase 3.5 does not know this architecture"
                )


@contextmanager
def watch_writes(
    model: PreTrainedModel, direction: Float[Tensor, " d_model"], mask: Bool[Tensor, "batch pos"]
) -> Iterator[Writes]:
    """Measure the direction's share in what each component writes, in the passes made while the block is open.

    `mask` is False at padding. The stream after the last block counts as a component too: it is the sum of all
    writes, and would show one that `writers_of` does not know of.
    """
    found = Writes([0.0] * len(mask), [""] * len(mask))
    direction = direction.float() / direction.float().norm()

    def measuring(name: str) -> object:
        def measure(_module: nn.Module, _arguments: tuple, output: Tensor) -> None:
            written = output.float()
            share = (written @ direction).abs() / written.norm(dim=-1).clamp(min=torch.finfo(torch.float32).tiny)
            for row, worst in enumerate(share.masked_fill(~mask, 0.0).amax(dim=1).tolist()):
                if worst > found.worst[row] or worst != worst:  # once nan, it stays
                    found.worst[row], found.component[row] = worst, name

        return measure

    handles = []
    try:
        for writer in writers_of(model):
            handles.append(writer.last.register_forward_hook(measuring(writer.name)))
        handles.append(decoder_blocks(model)[-1].register_forward_hook(measuring(STREAM)))
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _unknown(block: nn.Module, children: set[str]) -> ConfigError:
    return ConfigError(
        f"it is not known which matrices of {type(block).__name__} write to the residual stream: "
        f"it holds {', '.join(sorted(children))}\n"
        f"Phase 3.5 knows blocks like those of Gemma-2, Gemma-3, Llama, Qwen2 and Qwen3: give such a --model"
    )
