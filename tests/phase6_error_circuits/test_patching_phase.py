"""Covers phase 6.2 on disk: which contrast it takes, that stopped and sliced runs end alike, and what its files say."""

from pathlib import Path

import numpy as np
import pytest
from error_pairs import CONTRAST, DIFF, END, N_TOKENS, OTHER, made_gate, made_pairs, write_runs
from runs import content
from tiny_models import save_tiny_llama
from toy_phases import run_phase, stop_after

from common.errors import ConfigError
from common.handoffs import ERROR_PATCHING
from common.handoffs.error_gate import GateVerdict
from common.handoffs.error_patching import ErrorPatchingDocument
from common.runs.artifacts import Artifact
from common.runs.discovery import read_run
from common.stopping import Stopped
from phase6_error_circuits.patching.config import ErrorPatchingConfig
from phase6_error_circuits.patching.phase import PHASE

N_LAYERS, N_PAIRS = 3, 4
PASS, WEAK, STOP = GateVerdict.PASS, GateVerdict.WEAK, GateVerdict.STOP
Made = tuple[Path, Path]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("llama"))


def inputs(data: Path, model: Path, verdict: GateVerdict = PASS, studied: str | None = CONTRAST) -> Path:
    """Twelve pairs of one shape, half of which select, and six of another template with a longer end."""
    pairs = [*made_pairs(12), *made_pairs(6, template="bracket", shape=1, n_tokens=N_TOKENS + 1)]
    write_runs(data, model, pairs, made_gate({CONTRAST: verdict, OTHER: STOP}, studied))
    return data


def config(model: Path, **given) -> ErrorPatchingConfig:
    settings = {"n_pairs": N_PAIRS, "n_heads": 3, "n_resamples": 1000, "threads": 1, "dtype": "float32", **given}
    return ErrorPatchingConfig(model=str(model), **settings)


def made_run(path: Path) -> Artifact:
    run = read_run(path, ERROR_PATCHING)
    assert run is not None
    return Artifact(ERROR_PATCHING, run, "")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, model) -> Path:
    data = inputs(tmp_path_factory.mktemp("data"), model)
    return run_phase(PHASE, data, config(model))


def test_the_document_says_what_must_be_exact_and_it_is(whole):
    found: ErrorPatchingDocument = made_run(whole).document()
    assert found.holds.before_difference == 0
    assert found.holds.last_layer < 1e-4 and found.holds.all_positions < 1e-4
    assert (found.n, found.pairs.n_tokens, found.both_signs.of) == (N_PAIRS, N_TOKENS, N_PAIRS)
    assert found.pairs.tokens[DIFF].count("/") == 1 and "/" not in found.pairs.tokens[END]
    assert [len(found.heads[way].heads) for way in ("denoising", "noising")] == [3, 3]
    assert [(other.pairs.shape, other.pairs.n) for other in found.others] == [(1, 3)]


def test_every_share_is_in_the_table_with_its_interval(whole):
    rows = made_run(whole).table("shares.parquet")
    own = [row for row in rows if row["shape"] == 0 and row["direction"] == "denoising"]
    by_part = {part: [row for row in own if row["part"] == part] for part in {row["part"] for row in own}}
    assert len(by_part["resid_post"]) == N_LAYERS * (N_TOKENS - 2 + 1)  # all but what stands in front, and all together
    assert len(by_part["heads first order"]) == N_LAYERS * 4 and len(by_part["head"]) == 3
    assert {row["position"] for row in by_part["attn_out"]} == {
        "",
        "diff_first",
        "diff_last",
        "after_diff+code_end",
        "raise",
        "end",
    }
    assert all(row["share_low"] <= row["share"] <= row["share_high"] for row in rows)
    end = next(row for row in by_part["resid_post"] if (row["layer"], row["pos"]) == (N_LAYERS - 1, END))
    assert end["share"] == pytest.approx(1, abs=1e-4)


def test_shares_are_ratios_of_means(whole):
    made = made_run(whole)
    effects = {
        (row["direction"], row["part"], row["layer"]): np.array(row["effects"])
        for row in made.table("effects.parquet")
        if row["shape"] == 0 and row["part"] in ("none", "mlp_out")
    }
    total = effects["noising", "none", -1].mean() - effects["denoising", "none", -1].mean()
    own = effects["denoising", "mlp_out", 1].reshape(-1, N_PAIRS)[-1]
    row = next(
        row
        for row in made.table("shares.parquet")
        if (row["direction"], row["part"], row["layer"], row["pos"]) == ("denoising", "mlp_out", 1, -1)
    )
    assert row["share"] == pytest.approx(own.mean() / total)
    assert made.document().pairs.total.value == pytest.approx(total)


def test_a_run_that_was_stopped_ends_as_one_that_was_not(whole, model, tmp_path):
    data = inputs(tmp_path, model)
    with pytest.raises(Stopped):
        run_phase(PHASE, data, config(model), stop=stop_after(20))
    assert content(run_phase(PHASE, data, config(model))) == content(whole)


def test_slices_end_as_one_run(whole, model, tmp_path):
    data = inputs(tmp_path, model)
    run_phase(PHASE, data, config(model), start=0, end=24)
    assert content(run_phase(PHASE, data, config(model), start=25)) == content(whole)


def test_a_weak_answer_is_patched_and_said_to_be_weak(model, tmp_path):
    path = run_phase(PHASE, inputs(tmp_path, model, WEAK), config(model, n_heads=0, other_shapes=0))
    found = made_run(path).document()
    assert found.verdict is WEAK and any("leans to the right side" in sentence for sentence in found.sentences)


def test_a_contrast_that_the_model_does_not_tell_apart_is_refused(model, tmp_path):
    data = inputs(tmp_path, model, STOP, studied=None)
    with pytest.raises(ConfigError, match="does not tell the two apart"):
        run_phase(PHASE, data, config(model))
    found = made_run(run_phase(PHASE, data, config(model, force=True, n_heads=0))).document()
    assert found.verdict is STOP and found.forced and found.contrast == CONTRAST


def test_the_layers_that_are_asked_for_are_patched_and_the_last(whole, model, tmp_path):
    """Heads of all layers are tried to first order. What is said of a layer does not depend on the others."""
    data = inputs(tmp_path, model)
    made = made_run(run_phase(PHASE, data, config(model, layers="0")))

    def rows(run: Artifact, part: str) -> list[dict]:
        return [row for row in run.table("shares.parquet") if row["part"] == part]

    assert (
        {row["layer"] for row in rows(made, "resid_post")}
        == {0, N_LAYERS - 1}
        == {row["layer"] for row in rows(made, "mlp_out")}
    )
    assert rows(made, "heads first order") == rows(made_run(whole), "heads first order")
    expected = [row for row in rows(made_run(whole), "attn_out") if row["layer"] in (0, N_LAYERS - 1)]
    assert rows(made, "attn_out") == expected
    assert [place.layer for place in made.document().path] == [0, N_LAYERS - 1]
    some = "of all below only layers 0 and 2 of 3 were looked at, heads apart"
    assert some in made.document().sentences
    assert not any("looked at" in sentence for sentence in made_run(whole).document().sentences)
    assert not any("layers 0 to 2" in sentence for sentence in made.document().sentences)
    with pytest.raises(ConfigError, match="the layers of .* are 0 to 2"):
        run_phase(PHASE, data, config(model, layers="0,3"))


def test_a_contrast_may_be_asked_for(model, tmp_path):
    data = inputs(tmp_path, model)
    with pytest.raises(ConfigError, match="of TypeError/NameError, seed"):
        run_phase(PHASE, data, config(model, contrast=OTHER))
    with pytest.raises(ConfigError, match="knows no pairs of 'IndexError'"):
        run_phase(PHASE, data, config(model, contrast="IndexError"))
