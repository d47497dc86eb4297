"""Small decoders with dictionaries for phase 6: a random one, a linear one, one with a planted circuit of two nodes."""

from typing import Any, cast

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from common.model.language_model import LanguageModel
from common.model.sites import RESID_POST, site_name
from common.saes.encoder import LayerSae
from phase6_error_circuits.latents.dictionaries import SiteDictionaries
from phase6_error_circuits.pair import NULL, REAL, SELECT, ErrorPair

D_MODEL, D_SAE, N_TOKENS, VOCABULARY = 16, 40, 7, 30
DIFFERS = 3  # the position at which the two programs of a pair differ
RIGHT, WRONG = 28, 29
ROUNDING = 1e-5  # of a metric in float32: the difference of two logits of size one to ten, on any processor


class NoNorm(nn.Module):
    """In the place of a norm, so that a decoder is linear."""

    def forward(self, resid: torch.Tensor) -> torch.Tensor:
        return resid


def random_decoder(n_layers: int = 3, seed: int = 0) -> LanguageModel:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=D_MODEL,
        intermediate_size=32,
        num_hidden_layers=n_layers,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.35,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    return LanguageModel(model, cast(Any, None), "toy", "cpu", "float32", None)


def linear_decoder(n_layers: int = 3, seed: int = 0) -> LanguageModel:
    """Attention is even over all earlier positions, norms and MLPs do nothing: the metric is linear in every stream."""
    lm = random_decoder(n_layers, seed)
    decoder = cast(Any, lm.model).model
    decoder.norm = NoNorm()
    for block in decoder.layers:
        block.input_layernorm, block.post_attention_layernorm = NoNorm(), NoNorm()
        for weight in (block.self_attn.q_proj, block.self_attn.k_proj, block.mlp.down_proj):
            weight.weight.zero_()
    return lm


def random_dictionaries(
    lm: LanguageModel, kind: str = RESID_POST, threshold: float = 0.1, seed: int = 1
) -> SiteDictionaries:
    torch.manual_seed(seed)
    return SiteDictionaries(kind, {layer: _random_sae(layer, kind, threshold) for layer in range(lm.n_layers)})


def _random_sae(layer: int, kind: str, threshold: float) -> LayerSae:
    weights = {
        "W_enc": torch.randn(D_MODEL, D_SAE) * 0.3,
        "b_enc": torch.randn(D_SAE) * 0.1,
        "W_dec": torch.randn(D_SAE, D_MODEL) * 0.2,
        "b_dec": torch.randn(D_MODEL) * 0.1,
        "threshold": torch.full((D_SAE,), threshold),
    }
    return a_sae(layer, kind, **weights)


def a_sae(layer: int, kind: str = RESID_POST, **weights: torch.Tensor) -> LayerSae:
    site = site_name(layer, kind)
    return LayerSae(
        **weights, id="toy", layer=layer, kind="sae", site=site, site_out=site, neuronpedia_id=None, revision=None
    )


def random_pairs(n: int = 4, seed: int = 2, kind: str = REAL) -> list[ErrorPair]:
    """Pairs of one shape, which differ at one position; null pairs likewise."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for number in range(n):
        clean = [1, *torch.randint(3, 20, (N_TOKENS - 1,), generator=generator).tolist()]
        corrupted = [*clean]
        corrupted[DIFFERS] = 20 + int(torch.randint(0, 8, (1,), generator=generator))
        found.append(a_pair(number, clean, corrupted, kind=kind))
    return found


def a_pair(number: int, clean: list[int], corrupted: list[int], **known: Any) -> ErrorPair:
    facts: dict[str, Any] = {
        "record": number,
        "pair": number,
        "kind": REAL,
        "contrast": "TypeError/SyntaxError",
        "template": "toy",
        "format": "seed",
        "split": SELECT,
        "shape": 0,
        "corruption": "another token",
        "clean": "clean",
        "corrupted": "corrupted",
        "clean_error": "TypeError",
        "corrupted_error": "SyntaxError",
        "clean_ids": clean,
        "corrupted_ids": corrupted,
        "roles": ["front", "call", "left", "right", "close", "question", "question"],
        "code_start": 1,
        "positions": {"diff_first": 3, "diff_last": 3, "after_diff": 4, "code_end": 4, "raise": 5, "end": 6},
        "clean_token": RIGHT,
        "corrupted_token": WRONG,
    }
    return ErrorPair(**{**facts, **known})


def null_of(pairs: list[ErrorPair]) -> list[ErrorPair]:
    """Clean programs in a circle, each with the next, as phase 6.1 makes them."""
    following = [*pairs[1:], pairs[0]]
    both = zip(pairs, following, strict=True)
    return [a_pair(one.pair, one.clean_ids, other.clean_ids, kind=NULL) for one, other in both]


def planted() -> tuple[LanguageModel, SiteDictionaries, list[ErrorPair]]:
    """A circuit of two nodes: latent 0 of layer 0 where the programs differ, latent 1 of layer 1 at the end.

    The token that differs writes direction 0; attention of block 1 hands it on as direction 1, which is all that the
    unembedding of the two answers reads. All else is the same in both programs, and dictionaries leave no error.
    """
    lm = linear_decoder(n_layers=2)
    model = cast(Any, lm.model)
    table, head = model.model.embed_tokens.weight, model.lm_head.weight
    table[:, :2] = 0.0
    table[3:20, 0] = 1.0  # tokens of clean programs
    for token in range(20, 28):
        table[token] = table[3]
        table[token, 0] = 0.0
    table[3:20, 2:] = table[3, 2:]
    first, second = (block.self_attn for block in model.model.layers)
    first.v_proj.weight.zero_()
    second.v_proj.weight.zero_()
    second.v_proj.weight[0, 0] = 1.0
    second.o_proj.weight.zero_()
    second.o_proj.weight[1, 0] = 1.0
    head[RIGHT], head[WRONG] = 0.0, 0.0
    head[RIGHT, 1] = 5.0
    weights = {
        "W_enc": torch.cat([torch.eye(D_MODEL), -torch.eye(D_MODEL)], 1),
        "b_enc": torch.zeros(2 * D_MODEL),
        "W_dec": torch.cat([torch.eye(D_MODEL), -torch.eye(D_MODEL)]),
        "b_dec": torch.zeros(D_MODEL),
        "threshold": torch.zeros(2 * D_MODEL),
    }
    dictionaries = SiteDictionaries(RESID_POST, {layer: a_sae(layer, **weights) for layer in range(2)})
    return lm, dictionaries, random_pairs(4)
