"""Covers phase4_anomaly_detection/sidecar.py: which token is read, batches, long and empty texts, types, flags."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from small_detectors import LAYER, prompts
from tiny_models import save_tiny_llama

from common.errors import ConfigError, UnknownHookError
from common.model.loading import load_model
from phase4_anomaly_detection import SidecarConfig, SidecarModel, sidecar

TEXTS = ["x = 1", "def double(n):\n    return n + n\n", "for i in range(10):\n    print(i, i * i)", "pass", "pass"]


def sidecar_of(model, **given) -> SidecarModel:
    return SidecarModel(SidecarConfig(**{"model": str(model), "layer": 2, "device": "cpu", "threads": 1, **given}))


@pytest.fixture(scope="module")
def organism() -> SidecarModel:
    return sidecar_of("organism", layer=LAYER).load()


@pytest.fixture(scope="module")
def tiny_llama(tmp_path_factory):
    return save_tiny_llama(tmp_path_factory.mktemp("tiny_llama"))


def alone_in_float32(model, text: str, layer: int) -> np.ndarray:
    """The residual stream at the last token by transformers itself: one text, no padding, no hook."""
    lm = load_model(str(model), "cpu", "float32", threads=1)
    with torch.inference_mode():
        output = lm.model(**lm.tokenizer(text, return_tensors="pt"), output_hidden_states=True)
    return output.hidden_states[layer + 1][0, -1].double().numpy()


@pytest.mark.parametrize("family", ["tiny_gemma", "tiny_llama"])
def test_the_row_is_what_transformers_computes_at_the_texts_last_token(family, request):
    model = request.getfixturevalue(family)
    layer = 2 if family == "tiny_gemma" else 1  # of the last block transformers' own entry is normalised
    for text, row in zip(TEXTS, sidecar_of(model, layer=layer).read(TEXTS).resid, strict=True):
        expected = alone_in_float32(model, text, layer)
        assert np.abs(row - expected).max() < 1e-4 * np.abs(expected).max()


def test_the_output_of_the_last_block_is_read_before_the_final_norm(tiny_llama):
    lm = load_model(str(tiny_llama), "cpu", "float32", threads=1)
    taken = []
    lm.model.get_decoder().layers[2].register_forward_hook(lambda _module, _arguments, output: taken.append(output))
    lm.model(**lm.tokenizer(TEXTS[1], return_tensors="pt"))
    row = sidecar_of(tiny_llama, layer=2).read([TEXTS[1]]).resid[0]
    np.testing.assert_allclose(row, taken[0][0, -1].double().numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["tiny_gemma", "tiny_llama"])
def test_batch_order_and_padding_change_no_row_by_more_than_1e_11(family, request):
    own = sidecar_of(request.getfixturevalue(family))
    texts = [*TEXTS, *prompts(12), "x = 1\n" * 60]  # next to a long text, the others are mostly padding
    together = own.read(texts).resid
    alone = np.concatenate([own.read([text]).resid for text in texts])
    order = np.random.default_rng(0).permutation(len(texts))
    shuffled = np.empty_like(together)
    shuffled[order] = own.read([texts[i] for i in order]).resid
    scale = np.abs(together).max()
    assert np.abs(together - alone).max() < 1e-11 * scale
    assert np.abs(together - shuffled).max() < 1e-11 * scale
    assert (together[3] == together[4]).all()


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_last_token_is_the_last_token_whatever_side_the_tokenizer_pads(tiny_gemma, tmp_path, side):
    folder = shutil.copytree(tiny_gemma, tmp_path / side)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "padding_side": side}))
    usual = sidecar_of(tiny_gemma).read(TEXTS)
    found = sidecar_of(folder).read(TEXTS)
    assert (found.resid == usual.resid).all() and found.n_tokens.tolist() == usual.n_tokens.tolist()


def test_what_stands_before_the_last_token_is_read(organism):
    """What stands before the last token is read and what would follow is not."""
    rows = organism.read(["a = 1\nb = 2", "a = 9\nb = 2", "a = 1\nb = 2\nc"]).resid
    assert np.abs(rows[0] - rows[1]).max() > 1e-3 and np.abs(rows[0] - rows[2]).max() > 1e-3


def test_tokens_are_counted_with_those_that_the_tokenizer_adds(organism):
    encoded = organism.lm.tokenizer(TEXTS)["input_ids"]
    assert organism.read(TEXTS).n_tokens.tolist() == [len(ids) for ids in encoded]
    assert encoded[0][0] == organism.lm.tokenizer.bos_token_id


def test_several_layers_are_read_in_one_pass_and_each_equals_its_own(tiny_gemma):
    both = sidecar_of(tiny_gemma, layer=None).read_layers(TEXTS, [0, 2])
    for layer, reading in both.items():
        np.testing.assert_allclose(reading.resid, sidecar_of(tiny_gemma, layer=layer).read(TEXTS).resid, atol=1e-10)


def test_only_the_blocks_up_to_the_layer_are_kept(tiny_gemma):
    assert len(sidecar_of(tiny_gemma, layer=1).lm.model.get_decoder().layers) == 2


def test_a_list_without_texts_gives_no_rows(organism):
    reading = organism.read([])
    assert reading.resid.shape == (0, 192) and len(reading.n_tokens) == len(reading.owners) == 0


def test_long_texts_are_refused_with_their_tokens_and_the_limit(organism):
    texts = ["x = 1", "x = 1\n" * 600]
    n = len(organism.lm.tokenizer(texts[1])["input_ids"])
    with pytest.raises(ConfigError, match=rf"1 of 2 texts .* 1024 tokens: text 2 has {n} tokens") as caught:
        organism.read(texts)
    assert "--long-input windows" in str(caught.value)


def test_a_text_as_long_as_the_context_is_read(organism):
    """A text as long as the context is read and one token more is not."""
    tokenizer = organism.lm.tokenizer
    text = "x = 1\n" * 600
    ends = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    fits = next(text[:end] for _, end in ends[1022:1030] if len(tokenizer(text[:end])["input_ids"]) == 1024)
    over = next(text[:end] for _, end in ends[1022:1030] if len(tokenizer(text[:end])["input_ids"]) == 1025)
    assert organism.read([fits]).n_tokens.tolist() == [1024]
    with pytest.raises(ConfigError, match="has 1025 tokens"):
        organism.read([over])


def test_windows_overlap_by_half_and_begin_with_bos():
    """Windows overlap by half, begin with BOS, and the last ends at the last token."""
    ids = [2, *range(100, 125)]
    cut = sidecar.windows(ids, 11, 1)
    assert cut[0] == [2, *range(100, 110)] and cut[1] == [2, *range(105, 115)]
    assert cut[-1] == [2, *range(115, 125)] and all(len(window) == 11 for window in cut)
    assert {token for window in cut for token in window} == {*ids}
    assert sidecar.windows(ids, 26, 1) == [ids]
    assert sidecar.windows([1, 2, 3], 2, 0) == [[1, 2], [2, 3]]


def test_a_long_text_is_read_in_windows_and_its_neighbours_whole(tiny_gemma):
    own = sidecar_of(tiny_gemma, long_input="windows")
    long = "\n".join(f"x{i} = {i}" for i in range(200))
    reading = own.read(["x = 1", long, "pass"])
    ids = own.lm.tokenizer(long)["input_ids"]
    assert reading.n_tokens[1] == len(ids) > own.context_length
    cut = sidecar.windows(ids, own.context_length, 1)
    assert reading.owners.tolist() == [0, *[1] * len(cut), 2] and len(cut) > 1
    np.testing.assert_allclose(reading.resid[[0, -1]], own.read(["x = 1", "pass"]).resid, atol=1e-10)


@pytest.mark.parametrize("text", ["", " ", "\n\t \n"])
def test_an_empty_text_is_refused_with_its_place(organism, text):
    with pytest.raises(ConfigError, match=r"text 2 of 2 is empty\n"):
        organism.read(["x", text])


def test_what_is_no_text_is_refused(organism):
    with pytest.raises(ConfigError, match=r"text 1 .*type int\n"):
        organism.read([5])
    with pytest.raises(ConfigError, match=r"text 1 .*surrogate pair .* 2\n"):
        organism.read(["x \ud800"])


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_fewer_bits_on_a_cpu_are_refused_with_what_they_need(bits):
    with pytest.raises(ConfigError, match=f"--quantisation {bits} .*NVIDIA GPU") as caught:
        sidecar_of("organism", quantisation=bits).load()
    assert "pip install bitsandbytes" in str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dtype": "int8"}, "--dtype is 'int8'"),
        ({"quantisation": "2bit"}, "--quantisation is '2bit'"),
        ({"long_input": "cut"}, "--long-input is 'cut'"),
        ({"batch_size": 0}, "--batch-size is 0"),
    ],
)
def test_an_impossible_setting_is_refused_with_the_possible_ones(given, message):
    with pytest.raises(ConfigError, match=message):
        SidecarConfig(**given)


def test_a_layer_that_the_model_has_not_is_refused_with_those_it_has():
    with pytest.raises(UnknownHookError, match=r"no layer 6\n.*0 to 5"):
        sidecar_of("organism", layer=6).load()
    with pytest.raises(ConfigError, match=r"no layer .*organism .*\n.*0 to 5 .*--layer"):
        sidecar_of("organism", layer=None).read(["x"])


def test_a_small_model_is_read_in_float64_unless_another_type_is_asked_for(organism, tiny_gemma):
    assert organism.dtype == "float64" and organism.reads_quickly
    single = sidecar_of("organism", layer=LAYER, dtype="float32")
    assert single.dtype == "float32" and single.lm.model.dtype == torch.float32
    close = np.abs(single.read(TEXTS).resid - organism.read(TEXTS).resid)
    assert 0 < close.max() < 1e-3 and not single.reads_quickly
    np.testing.assert_array_equal(organism.read(TEXTS, exact=False).resid, single.read(TEXTS, exact=False).resid)
    wide = sidecar_of("organism", layer=LAYER, dtype="float64").load()
    assert wide._loaded.wide is wide.lm.model and wide.lm.model.dtype == torch.float64  # not held twice
    assert sidecar_of(tiny_gemma, dtype="bfloat16").dtype == "bfloat16"


def test_threads_that_share_a_model_each_get_their_own_rows(organism):
    from concurrent.futures import ThreadPoolExecutor

    expected = organism.read(list(prompts(12))).resid
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda text: organism.read([text]).resid[0], prompts(12)))
    np.testing.assert_allclose(np.stack(found), expected, atol=1e-10)


def test_a_small_model_is_read_in_float64_on_a_gpu_too(organism):
    """A small model is read in float64 on an NVIDIA GPU too, unless its weights are quantised."""

    def is_small(device: str, quantisation: str = "none") -> bool:
        return sidecar._is_small(dataclasses.replace(organism.lm, device=device), quantisation)

    assert is_small("cpu") and is_small("cuda") and not is_small("mps")  # which has no float64
    assert not is_small("cuda", "8bit")


def test_a_larger_model_is_read_in_the_usual_type(tiny_gemma, monkeypatch):
    """A larger model is read in the usual type and a small one never has rounded weights."""
    config = SidecarConfig(model=str(tiny_gemma), layer=1, device="cpu", threads=1)
    small = SidecarModel(config, usual_dtype="bfloat16")
    np.testing.assert_array_equal(small.read(TEXTS).resid, SidecarModel(config).read(TEXTS).resid)
    monkeypatch.setattr(sidecar, "FLOAT64_BELOW", 0)
    assert SidecarModel(config, usual_dtype="bfloat16").dtype == "bfloat16"
    assert SidecarModel(config, usual_dtype="float64").dtype == SidecarModel(config).dtype == "float32"


def test_float64_of_quantised_weights_is_refused():
    with pytest.raises(ConfigError, match=r"--dtype is float64 .*--quantisation 8bit.*\nLeave"):
        SidecarConfig(dtype="float64", quantisation="8bit")


def test_without_a_layer_the_registrys_is_read():
    assert SidecarModel(SidecarConfig(model="google/gemma-2-2b-it")).layer == 19
    assert SidecarModel(SidecarConfig(model="meta-llama/Llama-3.1-8B-Instruct")).layer == 12
    assert SidecarModel(SidecarConfig(model="google/gemma-2-2b-it", layer=3)).layer == 3
    assert SidecarModel(SidecarConfig(model="organism")).layer is None  # phase 4.1 looks for the best one


def test_a_layer_above_the_kept_blocks_has_its_own_model(tiny_gemma):
    """A layer above the kept blocks is read by a model of its own."""
    own = sidecar_of(tiny_gemma, layer=1).load()
    higher, lower = own.at_layer(2), own.at_layer(0)
    np.testing.assert_array_equal(higher.read(TEXTS).resid, sidecar_of(tiny_gemma, layer=2).read(TEXTS).resid)
    assert lower.lm is own.lm and higher.lm is not own.lm
    with pytest.raises(UnknownHookError, match="has no layer 99"):
        own.at_layer(99)
