"""Load a causal language model with its tokenizer: a hub id or a folder, the same loader."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import huggingface_hub
import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PreTrainedModel

from common.errors import AssetError
from common.model.capabilities import NEEDED_BY_ALL, find_capabilities
from common.model.freed_memory import keep_freed_memory
from common.model.grouped_attention import use_grouped_attention
from common.model.hooks import embeddings_of
from common.model.language_model import LanguageModel
from common.model.placement import place
from common.model.registry import default_dtype, folder_on_this_disk, model_location, similar_model
from common.model.tokenizer_checks import faults_of
from common.phases.hub import cached_revision, what_is_cached


def load_model(
    name: str, device: str, dtype: str = "auto", threads: int = 0, quantisation: str = "none", revision: str = ""
) -> LanguageModel:
    """Load `name` (a hub id, a folder, or a name in the registry) for inference.

    `threads` above 0 sets the number of processor threads of the whole process: sums over
    another number of threads differ in their last bits. `quantisation` 8bit or 4bit holds the weights of
    linear layers in so many bits, which bitsandbytes does on an NVIDIA GPU. `revision` is the commit to read of a
    hub id; '' reads what its main branch is at.

    Raises: AssetError when it is not on this disk and cannot be fetched, or is no causal
    language model; it says how to get it.
    """
    if threads:
        torch.set_num_threads(threads)
    if device == "cpu":
        keep_freed_memory()
    location = model_location(name)
    dtype = default_dtype(name, device) if dtype == "auto" else dtype
    with _loading_errors(name, location, revision):
        tokenizer = AutoTokenizer.from_pretrained(location, revision=revision or None, trust_remote_code=False)
        # The default attention is right: for Gemma-2, which caps its scores, that is eager, or what equals it.
        model, report = cast(Any, AutoModelForCausalLM).from_pretrained(
            location,
            revision=revision or None,
            output_loading_info=True,
            trust_remote_code=False,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            **_quantised(quantisation, device),
        )
    _check_weights(report, name, location)
    _check_tokenizer(tokenizer, model, name, location)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # padding is masked, so any token serves
    tokenizer.padding_side = "left"
    model.requires_grad_(False).eval()
    if quantisation == "none":  # quantised weights lie there already, and refuse to be moved
        model = place(model, device, name)
    use_grouped_attention(model)
    _spare_copies_of_the_head(model)
    lm = LanguageModel(model, tokenizer, name, device, dtype, revision or cached_revision(location))
    find_capabilities(lm).require("every phase", *NEEDED_BY_ALL)
    return lm


def load_tokenizer(name: str, revision: str = "") -> Any:
    """The tokenizer alone of a model on this disk; `revision` as in `load_model`. No hub is asked.

    Raises: AssetError when it is not here, or cannot be read.
    """
    folder = folder_on_this_disk(name, revision)
    with _loading_errors(name, str(folder)):
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def vocabulary_size(name: str, revision: str = "") -> int:
    """How many tokens a model on this disk has embeddings for; raises as `load_tokenizer` does."""
    folder = folder_on_this_disk(name, revision)
    with _loading_errors(name, str(folder)):
        return AutoConfig.from_pretrained(folder, trust_remote_code=False).get_text_config().vocab_size


def n_layers_of(name: str, revision: str = "") -> int:
    """How many blocks a model on this disk has; raises as `load_tokenizer` does."""
    folder = folder_on_this_disk(name, revision)
    with _loading_errors(name, str(folder)):
        return AutoConfig.from_pretrained(folder, trust_remote_code=False).get_text_config().num_hidden_layers


def _spare_copies_of_the_head(model: PreTrainedModel) -> None:
    """Give the unembedding what it reads in one piece.

    The last position of every row is a slice, [batch, 1, d_model] with the strides of all positions: for that torch's
    product copies the whole matrix for each row, 17 GB for 64 rows of a vocabulary of 152,000 and 896 dimensions in
    bfloat16. A single row counts as contiguous whatever its strides, and is copied all the same.
    """

    def in_one_piece(_head: torch.nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return arguments[0].clone(memory_format=torch.contiguous_format), *arguments[1:]

    head = model.get_output_embeddings()
    if head is not None:
        head.register_forward_pre_hook(in_one_piece)


def _quantised(quantisation: str, device: str) -> dict[str, Any]:
    """What `from_pretrained` is told about the bits of a weight."""
    if quantisation == "none":
        return {}

    bits = BitsAndBytesConfig(load_in_8bit=quantisation == "8bit", load_in_4bit=quantisation == "4bit")
    return {"quantization_config": bits, "device_map": {"": device}}


@contextlib.contextmanager
def _loading_errors(name: str, location: str, revision: str = "") -> Iterator[None]:
    """Turn the libraries' many ways of saying 'not there' into one that helps."""
    if Path(location).is_dir() and not (Path(location) / "config.json").is_file():
        raise AssetError(f"model '{name}': {location} has no config.json\n{_how_to_get(location)}")
    transformers.utils.logging.set_verbosity_error()
    huggingface_hub.utils.logging.set_verbosity_error()  # its retries are no news; what they end in is
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    # transformers raises all of these, for a file that is missing, torn, or does not fit its config.
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, SafetensorError) as error:
        if "trust_remote_code" in str(error):
            raise AssetError(
                f"model '{name}' in {location} needs code of its own repository (auto_map in its config), which is not "
                f"run here\nGive a --model of an architecture that is part of transformers {transformers.__version__}; "
                f"many such models have a second repository whose name ends in -hf"
            ) from error
        raise AssetError(
            f"model '{name}' cannot be loaded from {location}{_at(location, revision)}: {_reason(error)}\n"
            f"{_how_to_get(location, revision)}"
        ) from error


def _reason(error: Exception) -> str:
    """The first line of a message, and more where that line only announces it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0] if not lines[0].rstrip().endswith(":") else " ".join(" ".join(lines).split())[:300]


def _at(location: str, revision: str) -> str:
    return f" at commit {revision}{what_is_cached(location, revision)}" if revision else ""


def _how_to_get(location: str, revision: str = "") -> str:
    if Path(location).is_dir():
        return "Give the folder of a whole model (config, safetensors, tokenizer), or a hub id, with --model"
    if revision and what_is_cached(location, revision):
        return f"Fetch it with: hf download {location} --revision {revision}, or begin anew with: --revision main"
    return (
        f"{similar_model(location)}Fetch it with: hf auth login && hf download {location}  "
        f"(Gemma needs its licence accepted on its page), give a folder with --model, or run without the network: "
        f"--preset demo"
    )


def _check_weights(report: dict[str, Any], name: str, location: str) -> None:
    """transformers fills a missing weight with noise and only warns: every later number would be noise."""
    kinds = [f"{kind}_keys" for kind in ("missing", "mismatched", "unexpected") if report.get(f"{kind}_keys")]
    wrong = [f"{kind.removesuffix('_keys')} {sorted(map(str, report[kind]))[:3]}" for kind in kinds]
    if wrong:
        raise AssetError(
            f"model '{name}' in {location} does not fit its config: {'; '.join(wrong)}\n{_how_to_get(location)}"
        )


def _check_tokenizer(tokenizer: Any, model: PreTrainedModel, name: str, location: str) -> None:
    """Whether texts reach the model as they are. transformers makes up a tokenizer where it finds none."""
    n_known = embeddings_of(model).num_embeddings
    wrong = faults_of(tokenizer, n_known)
    if wrong:
        raise AssetError(
            f"model '{name}' in {location} has no fast tokenizer that fits it ({type(tokenizer).__name__}, "
            f"{len(tokenizer)} tokens, {n_known} of which the model knows): {'; '.join(wrong)}\n{_how_to_get(location)}"
        )
