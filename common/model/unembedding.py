"""What a direction of the residual stream adds to the logits by the direct path, without loading the model.

1. The model is made of its config without any weights; that tells its unembedding and its final norm.
2. Of its safetensors files the weights of these two alone are read, the unembedding some rows at a time.
3. A direction d adds W_U (g * d) to the logits, divided by the length that the final norm divides the stream by. That
   length is left out: it depends on the rest of the stream. So are constants: biases, and a factor of all logits.

A LayerNorm takes the mean off a direction first. The cap that some models put on their logits is left out. What is
added to all logits alike changes no probability, so the mean over the vocabulary is taken off.

Source: nostalgebraist 2020, "interpreting GPT: the logit lens"; Bricken et al. 2023, "Towards Monosemanticity", of a
dictionary's latents.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from common.errors import AssetError
from common.model.hooks import decoder_blocks, embeddings_of
from common.model.registry import folder_on_this_disk

ROWS_AT_ONCE = 8192  # of the unembedding: 75 MB in float32 for 2,304 dimensions
_GIVE = "Give a --model of the form of Llama, Gemma or GPT-2 to see what a latent adds to the logits"
_RENAMED = {"embed_out.weight": "lm_head.weight"}  # of GPT-NeoX: the name in its files, and in transformers
_INDEX = "model.safetensors.index.json"
_LENGTH = 1e4  # of what a norm is asked with: what it adds to a square before its root is nothing beside it


@dataclass(frozen=True, eq=False)
class Unembedding:
    """The end of a model: its final norm, with its weights, and where the unembedding lies on the disk.

    `tied`: the unembedding is the table of the tokens that the model reads. `centres`: the norm takes the mean off.
    """

    file: Path
    tensor: str
    norm: nn.Module
    tied: bool
    centres: bool
    caps_logits: bool

    def effects(self, direction: Float[Tensor, " d_model"], n_tokens: int) -> Float[Tensor, " n_tokens"]:
        """W_U (g * direction) of the first `n_tokens` of the vocabulary, minus its mean over them.

        In logits per unit of `direction`, times the length that the final norm divides by.
        Raises: AssetError when the file cannot be read.
        """
        return self.effects_of(direction[None], n_tokens)[0]

    def effects_of(self, directions: Float[Tensor, "n d_model"], n_tokens: int) -> Float[Tensor, "n n_tokens"]:
        """The same of several directions, for which the file is read once."""
        through = torch.stack([linear_part(self.norm, one, self.centres) for one in directions])
        effects = torch.cat([through @ rows.float().T for rows in self._rows(n_tokens)], dim=1)
        return effects - effects.mean(1, keepdim=True)

    def _rows(self, n_tokens: int) -> Iterator[Tensor]:
        with _opened(self.file) as opened:
            table = opened.get_slice(self.tensor)
            last = min(n_tokens, table.get_shape()[0])
            for first in range(0, last, ROWS_AT_ONCE):
                yield table[first : min(first + ROWS_AT_ONCE, last)]


def find_unembedding(model: str, revision: str = "") -> Unembedding:
    """The end of a model on this disk: a name or folder as `--model` takes it. No hub is asked.

    Raises: AssetError when the model is not here, or is none that ends in a norm and one product.
    """
    folder = folder_on_this_disk(model, revision)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        with torch.device("meta"):
            made = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError) as error:
        raise AssetError(f"the model in {folder} cannot be made of its config: {error}\n{_GIVE}") from error
    head, norm = made.get_output_embeddings(), final_norm(made)
    if not isinstance(head, nn.Linear) or norm is None or head.in_features != made.config.get_text_config().hidden_size:
        raise AssetError(f"{type(made).__name__} in {folder} does not end in a norm and one product\n{_GIVE}")
    files = _files_of_tensors(folder)
    tensor = _stored_as(made, head.weight, files, folder)
    norm = _with_weights(made, norm, files, folder)
    tied = head.weight is embeddings_of(made).weight
    capped = bool(getattr(made.config.get_text_config(), "final_logit_softcapping", None))
    return Unembedding(files[tensor], tensor, norm, tied, _takes_the_mean_off(norm, head.in_features), capped)


def final_norm(model: PreTrainedModel) -> nn.Module | None:
    """The norm between the last block and the unembedding; None where it is not one module beside the blocks."""
    blocks = decoder_blocks(model)
    owner = next(module for module in model.modules() if any(child is blocks for child in module.children()))
    beside = list(owner.children())
    place = next(i for i, child in enumerate(beside) if child is blocks)
    norms = [(i, child) for i, child in enumerate(beside) if "norm" in type(child).__name__.lower()]
    behind = [child for i, child in norms if i > place]  # BLOOM has one before the blocks too
    candidates = behind or [child for _, child in norms]
    return candidates[0] if len(candidates) == 1 else None


def linear_part(norm: nn.Module, direction: Float[Tensor, " d_model"], centres: bool) -> Float[Tensor, " d_model"]:
    """g * direction of an RMSNorm, g * (direction - its mean) of a LayerNorm, where g is the norm's gain.

    The norm itself is asked, since some store the gain as it is and others (Gemma) what it is above 1.
    """
    length = direction.norm()
    if not length:
        return direction
    asked = direction * (_LENGTH / length)
    with torch.no_grad():
        out = norm(asked[None])[0] - norm(torch.zeros_like(asked)[None])[0]
    spread = (asked - asked.mean() if centres else asked).square().mean().sqrt()
    return out * spread * (length / _LENGTH)


def _takes_the_mean_off(norm: nn.Module, d_model: int) -> bool:
    """Whether a norm gives the same for a constant stream as for none."""
    with torch.no_grad():
        constant, nothing = norm(torch.full((1, d_model), _LENGTH)), norm(torch.zeros(1, d_model))
    return bool(torch.allclose(constant, nothing, atol=1e-2))


def _with_weights(model: PreTrainedModel, norm: nn.Module, files: dict[str, Path], folder: Path) -> nn.Module:
    """The norm on the processor in float32, with its own weights."""
    weights = {}
    for name, parameter in norm.named_parameters():
        tensor = _stored_as(model, parameter, files, folder)
        with _opened(files[tensor]) as opened:
            weights[name] = opened.get_tensor(tensor).float()
    made = norm.float().to_empty(device="cpu")
    made.load_state_dict(weights, strict=False)
    return made


def _files_of_tensors(folder: Path) -> dict[str, Path]:
    """The file of each tensor of a saved model, by the tensor's name."""
    if (folder / _INDEX).is_file():
        names: dict[str, Any] = json.loads((folder / _INDEX).read_bytes())["weight_map"]
        return {name: folder / file for name, file in names.items()}
    file_of = {}
    for path in sorted(folder.glob("*.safetensors")):
        with _opened(path) as opened:
            file_of |= dict.fromkeys(opened.keys(), path)
    return file_of


def _stored_as(model: PreTrainedModel, parameter: Tensor, files: dict[str, Path], folder: Path) -> str:
    """The name under which a model's files hold a parameter: its own, or the one that ends most like it.

    Makers name the outer modules of one model in several ways. Raises: AssetError when none or several fit.
    """
    names = [name for name, other in model.named_parameters(remove_duplicate=False) if other is parameter]
    alike = {name: max(_n_alike(_RENAMED.get(name, name), mine) for mine in names) for name in files}
    most = max(alike.values(), default=0)
    best = [name for name, n in alike.items() if n == most]
    if most < 2 or (len(best) > 1 and not set(best) & set(names)):
        raise AssetError(f"no tensor in {folder} fits '{names[0]}'\n{_GIVE}")
    return next((name for name in names if name in best), best[0])


def _n_alike(one: str, other: str) -> int:
    """How many parts two names have in common from their ends: 2 of 'model.norm.weight' and 'norm.weight'."""
    parts = zip(reversed(one.split(".")), reversed(other.split(".")), strict=False)
    return next((n for n, (a, b) in enumerate(parts) if a != b), min(one.count("."), other.count(".")) + 1)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A safetensors file, memory-mapped. Raises: AssetError when it is torn or gone."""
    try:
        with safe_open(path, framework="pt") as opened:
            yield opened
    except (OSError, SafetensorError) as error:
        raise AssetError(f"{path} cannot be read: {error}\nFetch the model again") from error
