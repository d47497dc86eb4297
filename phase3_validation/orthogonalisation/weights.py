"""Take from a model the ability to write one direction d into its residual stream.

1. The embedding and, in every block, attention's and the MLP's last matrices write to the stream (writers.py).
2. What a matrix W with bias b writes loses its part along v:  W <- W - v v^T W,  b <- b - v v^T b,  and for the rows of
   the embedding  E <- E - E v v^T.
3. Where nothing stands between matrix and stream, v = d. Gemma has a norm with a gain behind both matrices: it writes
   (1 + g) * x / rms(x), whose part along d is that of x along (1 + g) * d. There v = (1 + g) * d, scaled to length 1.
   A bias that such a norm adds is a write too, and loses its part along d.
4. An unembedding that is tied to the embedding keeps the old weight: it reads the stream, and writes nothing to it.

The idea is Arditi et al. 2024, arXiv:2406.11717, section 2.4; the norms behind the matrices are not in it.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from common.errors import PipelineError
from common.model.hooks import decoder_blocks
from phase3_validation.orthogonalisation.writers import Writer, writers_of, writing_parameters

FLOAT32_LIMIT = 1e-5
STREAM = "the stream after the last block"
_ROWS_AT_ONCE = 8192  # of a matrix, in double precision


def bytes_of_writers(model: PreTrainedModel) -> int:
    """What lies beside the model while it is orthogonalised: the changed matrices."""
    d_model = model.config.get_text_config().hidden_size
    written = [part for writer in writers_of(model) for part in writing_parameters(writer, d_model)]
    return sum(getattr(module, name).nbytes for module, name, _axis in written)


@contextmanager
def orthogonalised(
    model: PreTrainedModel, direction: Float[Tensor, " d_model"]
) -> Iterator[Callable[[], AbstractContextManager]]:
    """While the block is open, nothing that the model writes has a part along `direction`.

    Gives a context in which the model is for a while what it was.
    The old parameters are put back afterwards, the very objects: the model is what it was, bit for bit. Meanwhile
    the changed matrices lie beside them, about as large as half of the model.
    Raises: ConfigError, as `writers_of`.
    """
    double = torch.float32 if direction.device.type == "mps" else torch.float64  # Metal has no float64
    direction, config = direction.to(double), model.config.get_text_config()
    olds: list[tuple[nn.Module, str, Any]] = []
    news: list[tuple[nn.Module, str, Any]] = []
    tied = config.tie_word_embeddings

    def put(parameters: list[tuple[nn.Module, str, Any]], are_tied: bool) -> None:
        config.tie_word_embeddings = are_tied
        for module, name, parameter in parameters:
            setattr(module, name, parameter)

    @contextmanager
    def unchanged() -> Iterator[None]:
        put(olds, tied)
        try:
            yield
        finally:
            put(news, False)

    try:
        for writer in writers_of(model):
            for module, name, axis, removed in _changes(writer, direction):
                old = getattr(module, name)
                olds.append((module, name, old))
                new = _without(old.movedim(axis, -1), removed.to(old.device)).movedim(-1, axis).contiguous()
                # A tied unembedding holds the old parameter itself, and so is untied by this.
                news.append((module, name, nn.Parameter(new, requires_grad=False)))
        put(news, False)
        yield unchanged
    finally:
        put(olds, tied)


def _changes(
    writer: Writer, direction: Float[Tensor, " d_model"]
) -> Iterator[tuple[nn.Module, str, int, Float[Tensor, " d_model"]]]:
    """Module, name and output axis of each parameter that is changed, and what it loses, of length 1."""
    v = writer.removed_from_matrix(direction)
    for module, name, axis in writing_parameters(writer, len(direction)):
        yield module, name, axis, v
    if writer.norm is not None and getattr(writer.norm, "bias", None) is not None:
        yield writer.norm, "bias", -1, direction / direction.norm()


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
    writes = Writes([0.0] * len(mask), [""] * len(mask))
    direction = direction.float() / direction.float().norm()

    def measuring(name: str) -> Callable[[nn.Module, tuple, Any], None]:
        def measure(_module: nn.Module, _arguments: tuple, output: Tensor | tuple) -> None:
            written = (output[0] if isinstance(output, tuple) else output).float()
            # Experts see the tokens of all rows in one list; positions are looked up once for all rows.
            written = written.reshape(-1, mask.shape[1], len(direction)).expand(*mask.shape, -1)
            size = written.norm(dim=-1).clamp(min=torch.finfo(torch.float32).tiny)
            share = (written @ direction.to(written.device)).abs() / size
            for row, worst in enumerate(share.masked_fill(~mask.to(share.device), 0.0).amax(dim=1).tolist()):
                if worst > writes.worst[row] or worst != worst:  # once nan, it stays
                    writes.worst[row], writes.component[row] = worst, name

        return measure

    with ExitStack() as hooks:
        for writer in writers_of(model):
            hooks.enter_context(writer.last.register_forward_hook(measuring(writer.name)))
        hooks.enter_context(decoder_blocks(model)[-1].register_forward_hook(measuring(STREAM)))
        yield writes
