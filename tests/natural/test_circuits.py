"""Covers natural.circuits: what phases 6.1b, 6.2 and 6.4b wrote is what the page says."""

import shutil
from pathlib import Path

import pytest
from error_pairs import CONTRAST, OTHER, made_gate, made_pairs, write_runs
from tiny_models import save_tiny_llama
from toy_phases import run_phase

from common.errors import MissingArtifactError
from common.handoffs import ERROR_DENSE, ERROR_PATCHING
from common.handoffs.error_gate import GateVerdict
from common.runs.artifacts import Artifact
from common.runs.discovery import list_runs
from natural.circuits import main, newest, tables_of
from phase6_error_circuits.dense.config import ErrorDenseConfig
from phase6_error_circuits.dense.phase import PHASE as DENSE
from phase6_error_circuits.patching.config import ErrorPatchingConfig
from phase6_error_circuits.patching.phase import PHASE as PATCHING

SETTINGS = {"n_pairs": 4, "n_resamples": 1000, "threads": 1, "dtype": "float32"}
SIZES = (10, 40)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder, model = tmp_path_factory.mktemp("data"), save_tiny_llama(tmp_path_factory.mktemp("llama"))
    gate = made_gate({CONTRAST: GateVerdict.PASS, OTHER: GateVerdict.STOP}, CONTRAST)
    write_runs(folder, model, made_pairs(12), gate)
    run_phase(PATCHING, folder, ErrorPatchingConfig(model=str(model), n_heads=2, other_shapes=0, **SETTINGS))
    run_phase(DENSE, folder, ErrorDenseConfig(model=str(model), sizes=SIZES, n_random=1, midpoints=2, **SETTINGS))
    return folder


def document(data: Path, schema):
    [run] = list_runs(schema, data)
    return Artifact(schema, run, "").document()


def test_the_tables_say_what_the_documents_say(data):
    tables, maps, circuits = tables_of([data]), document(data, ERROR_PATCHING), document(data, ERROR_DENSE)
    assert f"| {CONTRAST} | seed |" in tables["gate"] and "| STOP |" in tables["gate"]
    assert len(tables["paths"].splitlines()) == 2 + len(maps.path)
    assert f"{maps.path[0].denoising.value:.3f}" in tables["paths"]
    assert tables["parts"].count("| head ") == 2
    assert [line.split(" | ")[2] for line in tables["circuits"].splitlines()[2:]] == [str(size) for size in SIZES]
    assert f"{circuits.held_out.faithfulness[1].value:.3f}" in tables["circuits"].splitlines()[-1]
    assert f"{circuits.nodes[0].importance:+.3f}" in tables["nodes"] and "| end |" in tables["directions"]


def test_the_newest_run_counts_in_whichever_folder_it_is(data, tmp_path):
    other = shutil.copytree(data, tmp_path / "data")
    [run] = (path.parent for path in (other / ERROR_DENSE.folder).glob("*/manifest.json"))
    later = run.rename(run.with_name(f"2999{run.name[4:]}"))
    for folders in ([data, other], [other, data]):
        assert {contrast: made.path for contrast, made in newest(ERROR_DENSE, folders).items()} == {
            f"{CONTRAST}, seed": later
        }


def test_a_folder_without_runs_is_refused_and_the_page_is_kept(data, tmp_path):
    page = tmp_path / "circuits.md"
    page.write_text("<!-- gate -->\nas it was\n<!-- end of gate -->\n")
    with pytest.raises(MissingArtifactError, match=r"phase 6\.1b in .*absent\n.*python3 run\.py phase 6\.1b"):
        main(["--data-dir", str(tmp_path / "absent"), "--page", str(page)])
    assert "as it was" in page.read_text()


def test_the_page_is_filled_and_the_heat_map_lies_beside_it(data, tmp_path):
    page = tmp_path / "circuits.md"
    page.write_text("".join(f"<!-- {name} -->\n<!-- end of {name} -->\n" for name in tables_of([data])))
    assert main(["--data-dir", str(data), "--page", str(page)]) == 0
    assert CONTRAST in page.read_text() and (tmp_path / "heat_map.svg").read_bytes().startswith(b"<?xml")
