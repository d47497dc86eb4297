"""Covers phase 6.4b on disk: its curves on both splits, stopped and sliced runs, and what its document says."""

from pathlib import Path

import numpy as np
import pytest
from error_pairs import CONTRAST, made_gate, made_nulls, made_pairs, write_runs
from runs import content
from tiny_models import save_tiny_llama
from toy_phases import run_phase, stop_after

from common.errors import ConfigError
from common.evaluation.statistics import counted
from common.handoffs import ERROR_DENSE
from common.handoffs.error_dense import DenseCurves, DenseVerdict, ErrorDenseDocument
from common.handoffs.error_gate import GateVerdict
from common.handoffs.estimates import Interval
from common.runs.artifacts import Artifact
from common.runs.discovery import read_run
from common.stopping import Stopped
from phase6_error_circuits.dense.config import ErrorDenseConfig
from phase6_error_circuits.dense.phase import PHASE
from phase6_error_circuits.dense.results import smallest_enough, verdict

SIZES = (10, 100, 100_000)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("llama"))


def inputs(data: Path, model: Path, gate: GateVerdict = GateVerdict.PASS) -> Path:
    """Twelve pairs, half of which are held out, and null pairs of those that select."""
    pairs = made_pairs(12)
    write_runs(data, model, [*pairs, *made_nulls(pairs[::2])], made_gate({CONTRAST: gate}, CONTRAST))
    return data


def config(model: Path, **given) -> ErrorDenseConfig:
    settings = {"sizes": SIZES, "n_random": 2, "midpoints": 3, "n_resamples": 1000, "n_pairs": 12, **given}
    return ErrorDenseConfig(model=str(model), threads=1, dtype="float32", **settings)


def made_run(path: Path) -> Artifact:
    run = read_run(path, ERROR_DENSE)
    assert run is not None
    return Artifact(ERROR_DENSE, run, "")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, model) -> Path:
    return run_phase(PHASE, inputs(tmp_path_factory.mktemp("data"), model), config(model))


def test_everything_kept_is_the_clean_run_and_nothing_kept_the_corrupted_one(whole):
    found: ErrorDenseDocument = made_run(whole).document()
    assert found.everything_kept < 1e-4 and found.nothing_kept < 1e-4
    assert (found.n, found.held_out.n) == (6, 6) and found.sizes == [10, 100, found.n_nodes]
    for one in (found, found.held_out):
        assert one.faithfulness[-1].value == pytest.approx(1, abs=1e-4)
        assert one.completeness[-1].value == pytest.approx(0, abs=1e-4)
        assert one.random[-1].value == pytest.approx(1, abs=1e-4), "all that differ are drawn"
    assert 0 < found.n_heads < found.n_nodes and found.null_pairs is not None and found.null_pairs.n == 6


def test_curves_are_ratios_of_means_over_the_pairs_of_a_split(whole):
    made = made_run(whole)
    rows = made.table("metrics.parquet")
    clean, corrupted = (
        np.array(row["values"]) for what in ("clean", "corrupted") for row in rows if row["what"] == what
    )
    circuit = next(np.array(row["values"]) for row in rows if (row["what"], row["size"]) == ("circuit", 100))
    for split, own in (("select", slice(0, 6)), ("held_out", slice(6, 12))):
        share = (circuit - corrupted)[own].mean() / (clean - corrupted)[own].mean()
        row = next(
            row
            for row in made.table("curves.parquet")
            if (row["split"], row["curve"], row["size"]) == (split, "faithfulness", 100)
        )
        assert row["share"] == pytest.approx(share)


def test_the_first_nodes_stand_in_the_table_and_directions_at_every_named_position(whole):
    made = made_run(whole)
    nodes = made.table("nodes.parquet")
    importances = [abs(row["importance"]) for row in nodes]
    assert importances == sorted(importances, reverse=True) and len(nodes) == 1000
    directions = made.table("directions.parquet")
    assert len(directions) == 3 * 5 and {row["position"] for row in directions} >= {"diff_first", "end"}
    last = next(row for row in directions if (row["layer"], row["position"]) == (2, "end"))
    assert last["whole"] == pytest.approx(1, abs=1e-4)


def test_a_run_that_was_stopped_ends_as_one_that_was_not(whole, model, tmp_path):
    data = inputs(tmp_path, model)
    with pytest.raises(Stopped):
        run_phase(PHASE, data, config(model), stop=stop_after(1))
    assert content(run_phase(PHASE, data, config(model))) == content(whole)


def test_slices_end_as_one_run(whole, model, tmp_path):
    data = inputs(tmp_path, model)
    run_phase(PHASE, data, config(model), start=0, end=8)
    assert content(run_phase(PHASE, data, config(model), start=9)) == content(whole)


def test_a_weak_answer_is_said_to_be_weak_and_without_null_pairs_none_are_reported(model, tmp_path):
    write_runs(tmp_path, model, made_pairs(8), made_gate({CONTRAST: GateVerdict.WEAK}, CONTRAST))
    found = made_run(run_phase(PHASE, tmp_path, config(model, sizes=(10,), n_random=1))).document()
    assert found.gate is GateVerdict.WEAK and found.null_pairs is None
    assert any("leans to the right side" in sentence for sentence in found.sentences)


def test_without_held_out_pairs_nothing_is_computed(model, tmp_path):
    write_runs(tmp_path, model, made_pairs(8, split="select"), made_gate({CONTRAST: GateVerdict.PASS}, CONTRAST))
    with pytest.raises(ConfigError, match="0 are held out"):
        run_phase(PHASE, tmp_path, config(model))


def test_sizes_rise():
    with pytest.raises(ConfigError, match="--sizes is 30,10"):
        ErrorDenseConfig(sizes=(30, 10))


def test_a_circuit_that_keeps_far_more_than_the_total_is_no_finding():
    nothing = Interval(0.0, None, None)
    shares = [Interval(value, None, None) for value in (0.3, 1.8, 0.9, 1.0)]
    curves = DenseCurves(
        n=2, total=nothing, both_signs=counted(1, 2), faithfulness=shares, completeness=shares, random=shares
    )
    assert smallest_enough(curves, [1, 2, 3, 4]) == 3


def test_a_circuit_of_most_nodes_is_no_finding():
    assert verdict(100, 10_000) is DenseVerdict.FOUND
    assert verdict(2_000, 10_000) is verdict(None, 10_000) is DenseVerdict.NOT_FOUND
