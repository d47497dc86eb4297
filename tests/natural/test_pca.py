"""Covers natural.pca: the dictionary reconstructs as the PCA does, also what phase 1.1 stored of other prose."""

import json

import numpy as np
import pyarrow.parquet
import pytest
from runs import newest
from safetensors.torch import load_file
from support import cold_command, command

from common.errors import ConfigError


def test_the_directions_are_those_of_numpys_singular_vectors():
    import torch

    from natural.pca import fit

    x = np.random.default_rng(0).normal(size=(500, 6)) * [9, 5, 3, 2, 1, 0.5] + 4
    found = fit(torch.from_numpy(x), 3)
    centred = x - x.mean(0)
    _, values, rows = np.linalg.svd(centred, full_matrices=False)
    assert np.abs((found.directions.numpy() * rows[:3].T).sum(0)) == pytest.approx(np.ones(3))
    assert found.unexplained(torch.from_numpy(x)) == pytest.approx((values[3:] ** 2).sum() / (values**2).sum())


def test_the_sae_reconstructs_what_the_pca_does(tmp_path):
    import torch

    from common.saes.encoder import load_sae
    from common.saes.sources import sae_source
    from natural.pca import fit, save

    x = torch.randn(400, 8, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 9) + 3
    pca = fit(x, 5)
    save(pca, 2, "some/model", {"kind": "PCA"}, tmp_path / "pca")
    source = sae_source(str(tmp_path / "pca"), "some/model")
    assert list(source.ids) == [2]
    sae = load_sae(source, 2)
    rebuilt = pca.mean + (x.double() - pca.mean) @ pca.directions @ pca.directions.T
    assert torch.allclose(sae.decode(sae.encode(x)).double(), rebuilt, atol=1e-4)
    assert ((sae.encode(x) > 0).sum(1) == 5).all()  # of each direction and its opposite, one


def test_position_0_is_never_read():
    from natural.pca import PER_DOCUMENT, _positions

    assert _positions(1) == [] and _positions(2) == [1] and _positions(4) == [1, 2, 3]
    assert len(_positions(128)) == PER_DOCUMENT and _positions(128)[0] == 1 and _positions(128)[-1] == 127


@pytest.mark.parametrize("words, said", [(["--share", "0"], "--share is 0"), (["--layers", "x"], "--layers is 'x'")])
def test_impossible_settings_are_refused(tmp_path, words, said):
    from natural.pca import parse

    with pytest.raises(ConfigError, match=said):
        parse(["--model", "m", "--text", str(tmp_path), "--layers", "1", "--out", str(tmp_path), *words])


@pytest.fixture(scope="module")
def prose(tmp_path_factory):
    """The first fifty-five documents that the installed packages give, by name."""
    from itertools import islice

    from natural.text import all_documents, write_folder

    folder = tmp_path_factory.mktemp("prose") / "text"
    documents = list(islice(all_documents(20), 55))
    write_folder(documents, len(documents), 42, folder)
    return folder


def test_half_of_its_latents_fire_on_what_phase_1_1_stored(smollm2, prose, tmp_path):
    from common.saes.encoder import load_from_folder
    from common.saes.rates import firing_rates

    pca, data = tmp_path / "pca", tmp_path / "data"
    loading = ["--model", smollm2, "--dtype", "bfloat16", "--threads", "1", "--device", "cpu"]
    made = cold_command(
        "-m", "natural.pca", *loading, "--text", prose, "--layers", "9,20", "--out", pca, "--vectors", "3300"
    )
    assert made.returncode == 0, made.stderr
    done = command("run.py", "phase", "1.1", *loading, "--text", prose, "--documents", "16", "--data-dir", data)
    assert done.returncode == 0, done.stderr
    run = newest(data / "phase1_1")
    documents = pyarrow.parquet.read_table(run / "documents.parquet").to_pylist()
    assert {row["n_tokens"] for row in documents} == {128} and min(row["position"] for row in documents) > 0
    for layer in (9, 20):
        resid = load_file(run / "activations" / f"layer_{layer:02d}.safetensors")["resid_post"]
        rates = firing_rates(load_from_folder(pca / f"layer_{layer}", "pca", layer, "sae"), resid)
        assert rates.mean() == pytest.approx(0.5, abs=0.02)
    facts = json.loads((pca / "layer_9" / "cfg.json").read_text())["metadata"]["training"]
    assert facts["directions"] == 403 and facts["fvu_held_out"] < 0.2
