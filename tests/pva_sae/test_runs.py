"""Covers pva_sae/runs.py: an experiment as tables and arrays, and what is said of what is not there."""

import pandas as pd
import pytest
import report_data

import pva_sae
from common.errors import ArtifactMismatchError, ConfigError, MissingArtifactError


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return report_data.build(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(data):
    return pva_sae.latest("organism", "organism", data=data)


def test_programs_are_those_of_phase_1_with_their_split(run):
    programs = run.programs
    assert run.path.parent.name == "phase1_0" and len(programs) == 3 * report_data.N
    assert programs["split"].value_counts().to_dict() == dict.fromkeys(
        ("sae", "hyperparams", "validation"), report_data.N
    )
    for name in ("sae", "validation"):
        [path] = run.folder("0.1").glob(f"{name}_*.parquet")
        assert set(pd.read_parquet(path).task_id) == set(programs.query("split == @name").task_id)


def test_every_table_and_document_of_any_phase_can_be_read(run):
    assert {"1", "2", "3.1", "6.5"} <= {*run.phases} and "phases 0, 0.1" in repr(run)
    assert len(run.table("3.1", "predictions.parquet")) == len(run.predictions) > 0
    assert run.document("3.1").directions.keys() >= {"predict_incorrect"}
    assert run.selected == run.document("2", "selected.json")
    assert {"layer", "latent", "rank"} <= {*run.table("2", "top_problems.parquet").columns}


def test_cards_have_a_row_for_every_score(run):
    document, detector = run.document("3.1"), run.document("4.1")
    n_scores = sum(1 + len(entry.baselines) for entry in document.directions.values())
    assert len(run.cards) == n_scores + 1 + len(detector.card.baselines)
    own = run.cards.query("score == 'detector'").iloc[0]
    card = detector.card.detector
    assert (own.auroc, own.auroc_low, own.auroc_high, own.verdict) == (
        card.auroc.value,
        card.auroc.low,
        card.auroc.high,
        str(detector.verdict),
    )
    after = set(run.cards.query("phase == '4.1' and known == 'after'").score)
    assert after == {*detector.card.known_after} & {*detector.card.baselines}


def test_what_is_not_built_says_what_to_type(tmp_path):
    with pytest.raises(MissingArtifactError, match="run.py phase 1"):
        pva_sae.latest(data=tmp_path)
    run = pva_sae.latest(data=report_data.build(tmp_path, {"difficulty", "split", "generations"}))
    assert run.phases == ["0", "0.1", "1"]
    with pytest.raises(MissingArtifactError, match="run.py phase 2 "):
        _ = run.latents


def test_wrong_phases_layers_and_files_are_refused(run):
    with pytest.raises(ConfigError, match="'7'"):
        run.folder("7")
    with pytest.raises(ConfigError, match="layer 99"):
        run.resid(99)
    with pytest.raises(ArtifactMismatchError, match=r"none\.parquet"):
        run.table("1", "none.parquet")


def test_changed_files_are_not_handed_out(tmp_path):
    report_data.build(tmp_path, {"difficulty", "split", "generations", "latents"})
    [table] = (tmp_path / "phase2").glob("*/top_problems.parquet")
    table.write_bytes(table.read_bytes()[::-1])
    with pytest.raises(MissingArtifactError, match="damaged"):
        _ = pva_sae.latest(data=tmp_path).selected


def test_the_door_names_what_it_opens():
    assert {*pva_sae.__all__} <= {*dir(pva_sae)}
    assert all(getattr(pva_sae, name).__name__ == name for name in pva_sae.__all__)
    with pytest.raises(AttributeError, match="latest"):
        _ = pva_sae.newest
