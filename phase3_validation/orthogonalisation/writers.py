"""Which matrices of a model write to its residual stream: found by doing, not by name.

1. One pass over a few tokens, in which the modules that hold parameters (linear layers, norms, embeddings, experts) are
   cut apart: what each reads carries no gradient, what each writes is a leaf of its own.
2. So the gradient of a block's output by what a module wrote goes only along paths without other parameters. Where it
   is a multiple of the gradient at the output, the module's output is added to the stream as it is, or scaled by one
   number for each token (a multiplier, a router's weight): it writes. The same holds for what makes the first block's
   input: embeddings, learned positions, projections.
3. A norm that writes (behind attention or MLP in Gemma, OLMo-2, GLM-4; behind BLOOM's embedding) is asked in the same
   way who wrote what it reads. To write nothing along d behind a gain g, the matrix must write nothing along g * d;
   where the norm subtracts the mean of what it reads, nothing along g * d less its mean.

What cannot be told apart in this way, or leaves a part of the stream unexplained, is refused. That the list is right
shows in use as well: weights.watch_writes.
"""

import copy
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from common.errors import ConfigError
from common.model.hooks import decoder_blocks, embeddings_of, name_of
from common.model.placement import is_offloaded

EMBEDDING = "embedding"
_N_TOKENS = 7  # of the pass; unlikely to be the size of anything else
_ROLES = {"self_attn": "attn", "self_attention": "attn", "attention": "attn"}  # TransformerLens' word for it
_KNOWN: "weakref.WeakKeyDictionary[nn.Module, list[Writer]]" = weakref.WeakKeyDictionary()


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
        gain, subtracts_mean = _gain(self.norm, len(direction))
        scaled = gain.to(direction) * direction
        if subtracts_mean:
            scaled = scaled - scaled.mean()
        return scaled / scaled.norm()


@dataclass(eq=False)
class _Call:
    """One use of a module in the pass: what it read, with its gradient's path, and the leaf it wrote."""

    module: nn.Module | None  # None: the block's input
    read: Tensor | None
    wrote: Tensor


@dataclass
class _Scope:
    """What happened up to the first block, or in one block."""

    name: str
    calls: list[_Call] = field(default_factory=list)
    stream: Tensor | None = None  # what came out


def writers_of(model: PreTrainedModel) -> list[Writer]:
    """Every matrix that writes to the residual stream, in the order of the computation; looked for once a model.

    Raises: ConfigError for an architecture in which it is not known what writes, and where some weights are elsewhere.
    """
    if is_offloaded(model):
        raise ConfigError(
            f"phase 3.5 changes weights, and some of {name_of(model)} wait outside of the device, which is too small "
            f"for it\nUse a larger device, or --device cpu"
        )
    if model not in _KNOWN:
        paths: dict[nn.Module, str] = {module: path for path, module in model.named_modules()}
        writers: dict[nn.Module, Writer] = {}
        for scope in _traced(model):
            for module, norm in _writing(scope.stream, scope.calls, scope.name):
                if module is not None and module not in writers:  # a module that several blocks share is one writer
                    writers[module] = Writer(_name(scope.name, module, paths, model), module, norm)
        _KNOWN[model] = list(writers.values())
    return _KNOWN[model]


def writing_parameters(writer: Writer, d_model: int) -> Iterator[tuple[nn.Module, str, int]]:
    """Module, name and axis [d_model] of each of the matrix's parameters that decide what it writes."""
    matrix = writer.matrix
    if isinstance(matrix, nn.Linear):
        yield matrix, "weight", 0
    elif isinstance(matrix, (nn.Embedding, Conv1D)):
        yield matrix, "weight", -1
    else:  # all experts of a layer in one parameter
        transposed = getattr(matrix, "is_transposed", cast(Tensor, matrix.down_proj).shape[-1] == d_model)
        yield matrix, "down_proj", -1 if transposed else -2
    for name in ("bias", "down_proj_bias"):
        if getattr(matrix, name, None) is not None:
            yield matrix, name, -1


def _writing(
    stream: Tensor | None, calls: Sequence[_Call], where: str, norm: nn.Module | None = None
) -> Iterator[tuple[nn.Module | None, nn.Module | None]]:
    """The modules that wrote what `stream` is the sum of, each with `norm`; None for the block's input."""
    assert stream is not None  # what a block hands on, or a norm reads
    cotangent = torch.randn(stream.shape, generator=torch.Generator().manual_seed(0)).to(stream.device, stream.dtype)
    gradients = torch.autograd.grad(
        stream, [call.wrote for call in calls], cotangent, retain_graph=True, allow_unused=True
    )
    rest = stream.detach().float()
    for call, gradient in zip(calls, gradients, strict=True):
        if gradient is None or not gradient.any():
            continue
        module, of_token = call.module, _multiple(gradient.reshape(stream.shape), cotangent)
        if of_token is None:
            raise _unknown(where, f"what {type(module).__name__} writes is not added as it is, nor behind one norm")
        rest = rest - of_token * call.wrote.detach().float().reshape(stream.shape)
        if norm is not None and (module is None or not _is_matrix(module)):
            raise _unknown(
                where,
                f"{type(norm).__name__} stands in the stream itself, and mixes what lies along a "
                f"direction with all else",
            )
        if module is None or _is_matrix(module):
            yield module, norm
        elif norm is None and _is_norm(module, stream.shape[-1]):
            yield from _writing(call.read, calls, where, module)
        else:
            raise _unknown(where, f"{type(module).__name__} writes, and is neither a linear layer nor a known norm")
    if not rest.norm() <= _allowed(stream.dtype) * stream.norm():
        raise _unknown(where, "a part comes from something without parameters, as fixed position embeddings do")


def _multiple(gradient: Tensor, cotangent: Tensor) -> Float[Tensor, "*n 1"] | None:
    """By which number the gradient of each token is the cotangent's; None where it is no multiple of it."""
    dtype, gradient, cotangent = cotangent.dtype, gradient.float(), cotangent.float()
    factor = (gradient * cotangent).sum(-1, keepdim=True) / (cotangent**2).sum(-1, keepdim=True)
    near = (gradient - factor * cotangent).norm() <= _allowed(dtype) * gradient.norm()
    return factor if near else None


def _allowed(dtype: torch.dtype) -> float:
    return 1e-4 if dtype == torch.float32 else 3e-2


def _is_matrix(module: nn.Module) -> bool:
    down = getattr(module, "down_proj", None)
    return isinstance(module, (nn.Embedding, nn.Linear, Conv1D)) or (isinstance(down, nn.Parameter) and down.ndim == 3)


def _is_norm(module: nn.Module, d_model: int) -> bool:
    """Whether the module gives gain * (x, or x less its mean) / size + bias, as `_gain` takes it to."""
    parameters = list(module.parameters())
    if any(parameter.ndim != 1 for parameter in parameters):
        return False
    x = torch.randn(d_model, generator=torch.Generator().manual_seed(1)).to(parameters[0].device)
    gain, subtracts_mean = _gain(module, d_model)
    norm = copy.deepcopy(module).float().forward
    given = norm(x) - norm(torch.zeros_like(x))
    return _multiple(given, gain * (x - x.mean() if subtracts_mean else x)) is not None


def _gain(norm: nn.Module, d_model: int) -> tuple[Float[Tensor, " d_model"], bool]:
    """A norm's gain, up to a factor, whatever its class calls it and adds to it; whether it subtracts the mean."""
    exact = copy.deepcopy(norm).float().forward  # a copy, so that the number type of the weights rounds nothing
    ones = torch.ones(d_model, device=next(norm.parameters()).device)
    signs = ones.clone()
    signs[1::2] = -1  # its mean is 0 and its size 1, so nothing but gain and bias is done to it
    bias = exact(torch.zeros_like(ones))
    gain = (exact(signs) - bias) * signs
    return gain, bool((exact(ones) - bias).norm() < 0.01 * gain.norm())


def _traced(model: PreTrainedModel) -> list[_Scope]:
    """The scopes of one pass over a few tokens, the embedding's first."""
    table = embeddings_of(model)
    token_ids = torch.arange(10, 10 + _N_TOKENS, device=table.weight.device)[None] % table.num_embeddings
    scopes = [_Scope(EMBEDDING)]
    # Where the caller is in inference mode, gradients are off for good: it has to be left, not only overridden.
    leave = torch.inference_mode(False) if torch.is_inference_mode_enabled() else nullcontext()
    with leave, torch.enable_grad(), _cut_apart(model, scopes):
        model(input_ids=token_ids, use_cache=False)
    assert all(scope.stream is not None for scope in scopes)
    return scopes


@contextmanager
def _cut_apart(model: PreTrainedModel, scopes: list[_Scope]) -> Iterator[None]:
    """Fill the scopes in the next pass."""
    d_model = model.config.get_text_config().hidden_size

    def leaf_of(tensor: Tensor) -> Tensor:
        return tensor.detach().requires_grad_(True)

    def entering(layer: int) -> Callable:
        def enter(block: nn.Module, arguments: tuple, named: dict) -> tuple[tuple, dict]:
            stream = arguments[0] if arguments else named["hidden_states"]
            if layer == 0:
                scopes[0].stream = stream
            leaf = leaf_of(stream)
            scopes.append(_Scope(f"blocks.{layer}", [_Call(None, None, leaf)]))
            # A copy: some blocks add in place, which a leaf does not allow.
            if arguments:
                return (leaf.clone(), *arguments[1:]), named
            return arguments, {**named, "hidden_states": leaf.clone()}

        return enter

    def leave(_block: nn.Module, _arguments: tuple, output: Tensor | tuple) -> None:
        scopes[-1].stream = output[0] if isinstance(output, tuple) else output

    def read(module: nn.Module, arguments: tuple, named: dict) -> tuple[tuple, dict]:
        first = next((value for value in (*arguments, *named.values()) if isinstance(value, Tensor)), None)
        reads.append(first)
        return tuple(map(_detached, arguments)), {name: _detached(value) for name, value in named.items()}

    def wrote(module: nn.Module, _arguments: tuple, output: object) -> Tensor | None:
        first, scope = reads.pop(), scopes[-1]
        if scope.stream is not None or not isinstance(output, Tensor) or not _is_stream_like(output, d_model):
            return None
        leaf = leaf_of(output)
        scope.calls.append(_Call(module, first, leaf))
        return leaf.clone()

    reads: list[Tensor | None] = []
    with ExitStack() as hooks:
        for layer, block in enumerate(decoder_blocks(model)):
            hooks.enter_context(block.register_forward_pre_hook(entering(layer), with_kwargs=True))
            hooks.enter_context(block.register_forward_hook(leave))
        for module in filter(_holds_parameters, model.modules()):
            hooks.enter_context(module.register_forward_pre_hook(read, with_kwargs=True))
            hooks.enter_context(module.register_forward_hook(wrote))
        yield


def _holds_parameters(module: nn.Module) -> bool:
    """Parameters of its own, and no module in it that has some."""
    parameter = next(module.parameters(recurse=False), None)
    return parameter is not None and all(next(child.parameters(), None) is None for child in module.children())


def _is_stream_like(output: Tensor, d_model: int) -> bool:
    return output.is_floating_point() and output.shape[-1] == d_model and output.numel() == _N_TOKENS * d_model


def _detached(value: object) -> object:
    return value.detach() if isinstance(value, Tensor) else value


def _name(scope: str, module: nn.Module, paths: dict[nn.Module, str], model: PreTrainedModel) -> str:
    """embedding, or the path without its beginning: embed_positions; blocks.3.attn, blocks.3.mlp."""
    if module is model.get_input_embeddings():
        return EMBEDDING
    path = paths[module]
    if scope == EMBEDDING:
        return path.rsplit(".", 1)[-1]
    block = next(paths[block] for block in decoder_blocks(model) if module in set(block.modules()))
    child = path.removeprefix(block + ".").split(".")[0]
    return f"{scope}.{_ROLES.get(child, child)}"


def _unknown(where: str, why: str) -> ConfigError:
    return ConfigError(
        f"it is not known which matrices write to the residual stream at {where}: {why}\n"
        f"Phase 3.5 cannot be used with this model: give another --model, or leave this phase out"
    )
