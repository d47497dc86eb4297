"""Covers the fit of transcoders in phase 5.3: FVU by numpy, what is refused or warned of, and layers without one."""

import json
import logging
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from circuit_latents_data import (
    N_LAYERS,
    TRANSCODERS,
    config,
    document_of,
    run_latents,
    saelens_transcoder,
    write_prompts,
)
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_tensors
from safetensors.torch import save_file

from common.errors import ArtifactMismatchError
from common.handoffs.circuit_latents import LastFit, TranscoderFit
from common.handoffs.dictionaries import TextFit
from common.model.loading import load_model
from common.saes.encoder import load_sae
from common.saes.site_check import check_neighbours, neighbours
from common.saes.sources import transcoder_source
from phase5_attribution_graphs.latents.fits import fits_at_last, warn_of_lost_behaviours
from phase5_attribution_graphs.latents.mlps import GeneralText

BOS = 2


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("fit")
    write_prompts(folder)
    return folder


@pytest.fixture(scope="module")
def run(data) -> Path:
    return run_latents(data, described=0)


@pytest.fixture(scope="module")
def text() -> GeneralText:
    return GeneralText(load_model("organism", "cpu", threads=1), config(), [BOS])


@torch.no_grad()
def missed(layer: int, x: np.ndarray, out: np.ndarray) -> np.ndarray:
    """What SAELens' own encode and decode leave of the MLP's output, [row, d_model]."""
    transcoder = saelens_transcoder(layer)
    return out - transcoder.decode(transcoder.encode(torch.from_numpy(x))).numpy()


def fvu(layer: int, x: np.ndarray, out: np.ndarray) -> float:
    errors, deviation = missed(layer, x, out).astype(float), (out - out.mean(0)).astype(float)
    return (errors**2).sum() / (deviation**2).sum()


def written(folder: Path, layers: dict[int, int]) -> Path:
    """Transcoders of the organism, each in another place: folder number -> layer whose weights it holds."""
    for place, layer in layers.items():
        shutil.copytree(TRANSCODERS / f"layer_{layer}", folder / f"layer_{place}")
        path = folder / f"layer_{place}" / "cfg.json"
        path.write_text(path.read_text().replace(f"blocks.{layer}.", f"blocks.{place}."))
    return folder


def copied(data: Path, folder: Path) -> Path:
    shutil.copytree(data / "phase5_1", folder / "data" / "phase5_1")
    return folder / "data"


def test_fvu_at_the_last_position_is_that_of_numpy_pooled_and_within_each_behaviour(run):
    rows = document_of(run)
    behaviours = np.array(["agreement"] * 6 + ["addition"] * 6)
    assert rows["prompts"] == {"agreement": {"train": 4, "test": 2}, "addition": {"train": 4, "test": 2}}
    for layer in range(N_LAYERS):
        kept = load_file(run / "last_token" / f"layer_{layer:02d}.safetensors")
        x, out = kept["mlp_input"], kept["mlp_out"]
        told = rows["layers"][str(layer)]
        assert told["last"]["fvu"] == pytest.approx(fvu(layer, x, out), rel=1e-4)
        active = (saelens_transcoder(layer).encode(torch.from_numpy(x)) > 0).sum(1).double().mean()
        assert told["last"]["l0"] == pytest.approx(float(active), abs=0.2) and told["last"]["n"] == 12
        for name, fit in told["behaviours"].items():
            own = behaviours == name
            # Where all prompts end in the same token, what differs is the rounding of float32.
            if fit["fvu"] < 10:
                assert fit["fvu"] == pytest.approx(fvu(layer, x[own], out[own]), rel=1e-3)


def test_fvu_on_text_is_that_of_numpy_without_massive_documents(run, text):
    for layer, rows in enumerate(text.one_of_each()):
        x, out = rows.normalised.numpy(), rows.out.numpy()
        deviation = ((out - out.mean(0)).astype(float) ** 2).sum(1)
        ordinary = deviation <= 20 * np.median(deviation)
        told = document_of(run)["layers"][str(layer)]
        assert told["text"]["fvu"] == pytest.approx(fvu(layer, x[ordinary], out[ordinary]), rel=1e-3)
        assert told["fvu_with_massive"] == pytest.approx(fvu(layer, x, out), rel=1e-3)
        assert told["text"]["n"] == len(x) and told["text"]["n_massive"] == (~ordinary).sum()


def test_every_transcoder_fits_its_own_layer_far_better_than_its_neighbours(run):
    for layer, told in document_of(run)["layers"].items():
        beside = [one["layer"] for one in told["neighbours"]]
        assert beside == [other for other in (int(layer) - 1, int(layer) + 1) if 0 <= other < N_LAYERS]
        assert all(one["n_better"] < 0.1 * one["n"] for one in told["neighbours"])
        assert told["text"]["fvu"] < 0.5 < min(one["fvu"] for one in told["neighbours"])
        assert told["published_fvu"] > 0 and told["published_l0"] > 0


@pytest.mark.parametrize("accepted", [False, True])
def test_transcoders_of_the_next_layer_are_refused_whatever_is_accepted(data, tmp_path, accepted):
    swapped = written(tmp_path / "swapped", {place: (place + 1) % N_LAYERS for place in range(N_LAYERS)})
    with pytest.raises(ArtifactMismatchError) as caught:
        run_latents(copied(data, tmp_path), transcoders=str(swapped), accept_bad_fit=accepted)
    words = str(caught.value)
    assert "layer_0 does not fit layer 0: FVU" in words and "Check --model and --transcoders" in words
    assert ("layer 1, which it fits better on" in words) == accepted
    assert ("does not lift this" if accepted else "go on with --accept-bad-fit") in words
    assert not list((tmp_path / "data" / "phase5_3").glob("*/manifest.json"))


def test_transcoders_that_fit_nothing_are_refused_unless_that_is_accepted(data, tmp_path, caplog):
    noise = written(tmp_path / "noise", {0: 0, 1: 1})
    weights = load_tensors(noise / "layer_1" / "sae_weights.safetensors")
    weights["W_dec"] = weights["W_dec"].flip(0).contiguous()  # every latent writes what another should
    save_file(weights, noise / "layer_1" / "sae_weights.safetensors")
    place = copied(data, tmp_path)
    with pytest.raises(ArtifactMismatchError, match=r"layer_1 does not fit layer 1: FVU .* \(above 0.9\)"):
        run_latents(place, transcoders=str(noise), described=0)
    with caplog.at_level(logging.WARNING):
        run = run_latents(place, transcoders=str(noise), described=0, accept_bad_fit=True)
    assert "layer_1 fits badly: FVU" in caplog.text
    assert "no transcoder of layers 2, 3, 4, 5 in" in caplog.text
    document = document_of(run)
    assert document["without"] == [2, 3, 4, 5] and [*document["layers"]] == ["0", "1"] and document["accepted"]
    assert json.loads((run / "manifest.json").read_text())["settings"]["accept_bad_fit"] is True


def test_a_behaviour_of_which_a_transcoder_loses_what_differs_is_named(caplog):
    def at_last(value: float | None) -> LastFit:
        return LastFit(fvu=value, l0=3.0, n=7)

    fit = TranscoderFit(
        id="x",
        reads="y",
        n_latents=3,
        has_skip=False,
        text=TextFit(fvu=0.1, l0=1.0, n=9, n_massive=0),
        fvu_with_massive=0.1,
        published_fvu=None,
        published_l0=None,
        neighbours=[],
        last=at_last(0.4),
        behaviours={"agreement": at_last(0.9), "addition": at_last(2.5), "own": at_last(None)},
    )
    with caplog.at_level(logging.WARNING):
        warn_of_lost_behaviours(3, fit, logging.getLogger("test"))
    assert caplog.messages == [
        "layer 3: FVU 2.5 at the last position of addition, worse than the mean of its 7 prompts (above 1)"
    ]
    assert fit.lost == ["addition"]


def test_prompts_that_do_not_differ_have_no_fvu():
    sae = load_sae(transcoder_source("auto", "organism"), 0)
    x, out = torch.randn(1, 192).expand(3, -1), torch.randn(1, 192).expand(3, -1)
    last, within = fits_at_last(sae, x, out, ["a", "a", "b"])
    assert last.fvu is None and within["b"].fvu is None and (within["a"].n, within["b"].n) == (2, 1)


def test_a_transcoder_is_compared_at_its_neighbours_by_what_their_mlps_add(text):
    """By hand: of the documents, on how many does the relative error fall when it stands one layer further on."""
    rows = text.one_of_each()
    sae = load_sae(transcoder_source("auto", "organism"), 2)
    inputs, targets = {3: rows[3].normalised}, {layer: rows[layer].out for layer in (2, 3)}
    [found] = neighbours(sae, rows[2].normalised, inputs, targets)
    relative = {}
    for layer in (2, 3):
        x, out = rows[layer].normalised.numpy(), rows[layer].out.numpy()
        deviation = ((out - out.mean(0)) ** 2).sum(1)
        relative[layer] = (missed(2, x, out) ** 2).sum(1) / deviation
    assert found.layer == 3 and found.n <= 64
    assert found.n_better == pytest.approx((relative[3] < relative[2]).sum(), abs=3)
    assert check_neighbours(sae, rows[2].normalised, inputs, targets) == [found]


def test_one_position_of_each_document_is_drawn_from_its_text_alone(text):
    other = GeneralText(text._lm, config(documents=32), [BOS])
    assert other.documents == text.documents[:32]
    assert all(one.ids[0] == BOS and 1 <= one.position < len(one.ids) <= 24 for one in text.documents)
    random.seed(0)
    drawn = random.sample(text.documents, 5)
    assert len({one.position for one in drawn}) > 1
