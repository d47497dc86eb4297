"""What a model is like here: whether two implementations read the same in it, and whether its dictionaries fit."""

import logging
from collections.abc import Iterator

import numpy as np
import torch

from common.errors import ArtifactMismatchError, AssetError, ConfigError
from common.launch.doctor.finding import BAD, GOOD, WORTH_KNOWING, Finding
from common.model.language_model import LanguageModel
from common.model.loading import load_model
from common.model.read_text import ReadText
from common.model.sites import resid_post_site
from common.model.text_activations import read_documents
from common.saes.site_check import checked_sae
from common.saes.sources import sae_source

TEXT = "def add(a, b):\n    return a + b\n\nassert add(1, 2) == 3\n"
CLOSE = {"float32": 1e-4}  # of the largest number of the layer
CLOSE_16_BIT = 0.05
_quiet = logging.getLogger("pva_sae.doctor")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False


def about_model(name: str, sae: str, device: str) -> Iterator[Finding]:
    """Load a model that is on this disk; compare, and look at the dictionary of its middle layer that has one."""
    try:
        lm = load_model(name, device)
    except (AssetError, ConfigError) as error:
        words, _, advice = str(error).partition("\n")
        yield Finding("model", BAD, words, advice)
        return
    facts = lm.describe()
    size = f"{facts['n_layers']} layers of width {facts['d_model']}, {facts['dtype']} on {facts['device']}"
    yield Finding("model", GOOD, f"{name}: {size}")
    yield dictionary_fit(lm, name, sae)
    yield agreement(lm)  # last: the bridge puts its own hooks into the model


def agreement(lm: LanguageModel) -> Finding:
    """The residual stream as this program reads it, beside TransformerLens' TransformerBridge."""
    from transformer_lens.model_bridge import TransformerBridge

    [reading] = read_documents(lm, [TEXT], max_tokens=64, base_seed=0)
    ids = torch.tensor([reading.token_ids], device=lm.device)
    try:
        bridge = TransformerBridge.boot_transformers(
            lm.name, device=lm.device, hf_model=lm.model, tokenizer=lm.tokenizer
        )
        with torch.no_grad():
            _, cache = bridge.run_with_cache(ids)
    except Exception as error:  # whatever it cannot do is no fault of the model, nor of this program
        words = f"TransformerBridge cannot run it ({type(error).__name__}): nothing to compare with"
        return Finding("agreement", WORTH_KNOWING, words, "The tests compare other models of many kinds")
    off = []
    for layer, ours in enumerate(reading.resid_post):
        theirs = cache[resid_post_site(layer)][0, reading.position].float().cpu().numpy()
        off.append(float(np.abs(ours - theirs).max() / np.abs(theirs).max()))
    words = f"resid_post of {len(off)} layers is TransformerBridge's within {max(off):.1g} of the largest number"
    if max(off) <= CLOSE.get(lm.dtype, CLOSE_16_BIT):
        return Finding("agreement", GOOD, words)
    layer = int(np.argmax(off))
    return Finding("agreement", BAD, words, f"Layer {layer} differs most: report it, with the versions above")


def dictionary_fit(lm: LanguageModel, name: str, sae: str) -> Finding:
    """Whether the SAE reconstructs general text there, and better than at the layers beside it."""
    try:
        source = sae_source(sae, name)
        layers = source.layers(lm.n_layers)
        layer = layers[len(layers) // 2]
        sae_of_layer, fit = checked_sae(source, _general_text(lm, name), layer, False, _quiet)
    except (AssetError, ConfigError) as error:
        words, _, advice = str(error).partition("\n")
        return Finding("SAEs", WORTH_KNOWING, words, advice)
    except ArtifactMismatchError as error:
        words, _, advice = str(error).partition("\n")
        return Finding("SAEs", BAD, words, advice)
    published = "" if sae_of_layer.published_fvu is None else f"; its makers: {sae_of_layer.published_fvu:.2f}"
    words = f"{source.name}, layer {layer}: FVU {fit.decisive:.2f}{published}, mean L0 {fit.l0:.0f} on {fit.n} texts"
    return Finding("SAEs", GOOD, words)


def _general_text(lm: LanguageModel, name: str) -> ReadText:
    """That of phase 1.1 where it is on this disk, else the organism's."""
    text = ReadText("auto", name, lambda: lm, _quiet)
    try:
        text.of_layer(0)
    except AssetError:
        return ReadText("organism", name, lambda: lm, _quiet)
    return text
