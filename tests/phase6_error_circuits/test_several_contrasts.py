"""Covers phases 6.2 to 6.5 on several contrasts in one data folder: each is an experiment of its own."""

import json
from pathlib import Path

import pytest
from error_pairs import CONTRAST, OTHER, made_gate, made_pairs, write_runs
from runs import content
from tiny_models import save_tiny_llama
from toy_phases import run_phase, stop_after

from common import handoffs
from common.errors import ArtifactMismatchError, ConfigError, MissingArtifactError
from common.handoffs import (
    ERROR_ATTRIBUTION,
    ERROR_GATE,
    ERROR_LATENT_CIRCUITS,
    ERROR_NODES,
    ERROR_PATCHING,
    SCHEMAS,
)
from common.handoffs.error_gate import GateVerdict
from common.launch.catalogue import Catalogue
from common.model.registry import model_identity
from common.phases.phase import Phase
from common.phases.settings import PhaseConfig, build_config
from common.report.blocks import Heading
from common.report.collect import STALE, Collected, collect_experiment, runs_in
from common.report.document import sections_of_phases
from common.report.status import status_lines
from common.runs.artifacts import AlreadyBuilt
from common.runs.discovery import list_runs
from common.stopping import Stopped
from phase6_error_circuits.attribution.config import ErrorAttributionConfig
from phase6_error_circuits.circuits.config import ErrorCircuitsConfig
from phase6_error_circuits.nodes.config import ErrorNodesConfig
from phase6_error_circuits.patching.config import ErrorPatchingConfig
from phase6_error_circuits.patching.phase import PHASE as PATCHING

PASS, STOP = GateVerdict.PASS, GateVerdict.STOP
BOTH, SMALL = (CONTRAST, OTHER), {"n_pairs": 4, "n_heads": 0, "other_shapes": 0, "n_resamples": 1000, "threads": 1}


def gated(data: Path, model: Path | str, studied: str = CONTRAST, fresh: bool = False) -> Path:
    """Pairs of two contrasts; the gate lets both through and chooses one."""
    pairs = [*made_pairs(12), *made_pairs(12, contrast=OTHER)]
    write_runs(data, Path(model), pairs, made_gate({CONTRAST: PASS, OTHER: PASS}, studied), fresh=fresh)
    return data


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def whole(model, tmp_path_factory) -> tuple[Path, Path, Path]:
    """A data folder, and in it what phase 6.2 made of the contrast that the gate chose, and of the other one."""
    data = gated(tmp_path_factory.mktemp("data"), model)
    return data, patch(data, model), patch(data, model, OTHER)


@pytest.fixture
def organism(tmp_path) -> Path:
    return gated(tmp_path, "organism")


def patch(data: Path, model: Path, contrast: str = "auto", **options) -> Path:
    config = ErrorPatchingConfig(model=str(model), contrast=contrast, dtype="float32", **SMALL)
    return run_phase(PATCHING, data, config, **options)


def manifest(path: Path) -> dict:
    return json.loads((path / "manifest.json").read_text())


def test_two_contrasts_stand_side_by_side_under_their_names(whole):
    data, first, second = whole
    assert first.name.endswith("_IndexError-KeyError") and second.name.endswith("_TypeError-NameError")
    assert [run.of("contrast") for run in list_runs(ERROR_PATCHING, data)] == [OTHER, CONTRAST]
    built = [line for line in status_lines((ERROR_PATCHING,), data) if line.state == "built"]
    assert [line.experiment.partition(", ")[2] for line in built] == [OTHER, CONTRAST]


def test_the_contrast_that_the_gate_chose_is_that_contrast_also_when_it_is_typed(whole, model):
    data, made, _ = whole
    assert manifest(made)["command"].endswith(f"--contrast {CONTRAST} --format seed")
    with pytest.raises(AlreadyBuilt) as built:
        patch(data, model, CONTRAST)
    assert built.value.path == made


def test_an_unfinished_contrast_is_in_no_other_ones_way_and_goes_on(whole, model, tmp_path):
    data = gated(tmp_path, model)
    with pytest.raises(Stopped):
        patch(data, model, OTHER, stop=stop_after(3))
    [unfinished] = list_runs(ERROR_PATCHING, data)
    patch(data, model, fresh=True)
    assert list_runs(ERROR_PATCHING, data)[-1].path == unfinished.path
    patch(data, model, OTHER)
    assert content(unfinished.path) == content(whole[2])


def collected(data: Path, model: Path | str, sae: str | None = None) -> Collected:
    names = {"model": model_identity(str(model), ""), "dataset": "none", "sae": sae, "prompt": "plain"}
    return collect_experiment(runs_in(data), names, data)


def test_the_report_shows_every_contrast_and_names_it(whole, model):
    data, *made = whole
    catalogue = Catalogue({"6.2": "phase6_error_circuits.patching.phase"}, {}, {}, ())
    found = collected(data, model)
    assert [one.artifact.path for one in found.results_of(ERROR_PATCHING)] == made[::-1]
    section = sections_of_phases(catalogue, found)[ERROR_PATCHING.name]
    headings = [block.beside for block in section.blocks if isinstance(block, Heading)]
    assert headings == [f"{OTHER}, seed", f"{CONTRAST}, seed"]
    assert not any(one.schema == ERROR_PATCHING for one in found.unfinished)


STUBS: dict[str, tuple[handoffs.ArtifactSchema, type[PhaseConfig], tuple[handoffs.ArtifactSchema, ...]]] = {
    "6.2": (ERROR_PATCHING, ErrorPatchingConfig, ()),
    "6.3": (ERROR_ATTRIBUTION, ErrorAttributionConfig, ()),
    "6.4": (ERROR_LATENT_CIRCUITS, ErrorCircuitsConfig, (ERROR_ATTRIBUTION,)),
    "6.5": (ERROR_NODES, ErrorNodesConfig, (ERROR_ATTRIBUTION, ERROR_LATENT_CIRCUITS)),
}


def stub(phase: str, data: Path, *contrasts: str, **options) -> Path:
    """A run of a phase on the organism that leaves nothing but its manifest."""
    output, config, inputs = STUBS[phase]

    def write(ctx, _config) -> None:
        with ctx.write() as out:
            out.summary = {"of": " ".join(getattr(ctx.config, "contrasts", ()))}

    gate = (handoffs.ERROR_PAIRS, handoffs.ERROR_GATE)
    made = Phase(id=phase, title="made", config=config, inputs=(*gate, *inputs), output=output, run=write)
    named = {"contrast": contrasts[0]} if contrasts and phase == "6.2" else {"contrasts": contrasts}
    return run_phase(made, data, build_config(config, "demo", named if contrasts else {}), preset="demo", **options)


def read(path: Path, schema: handoffs.ArtifactSchema) -> str:
    return Path(manifest(path)["input_paths"][schema.name]).name


def test_a_later_phase_takes_the_run_of_its_contrast(organism):
    own = {name: stub("6.3", organism, name) for name in BOTH}
    circuits = {name: stub("6.4", organism, name) for name in BOTH}
    assert {name: read(path, ERROR_ATTRIBUTION) for name, path in circuits.items()} == {
        name: path.name for name, path in own.items()
    }
    nodes = stub("6.5", organism, CONTRAST)
    assert read(nodes, ERROR_LATENT_CIRCUITS) == circuits[CONTRAST].name


def test_a_run_of_several_contrasts_serves_each_where_there_is_none_of_it_alone(organism):
    several = stub("6.3", organism, "passing")
    assert several.name.endswith("_IndexError-KeyError-TypeError-NameError")
    assert read(stub("6.4", organism), ERROR_ATTRIBUTION) == several.name
    alone = stub("6.3", organism, OTHER)
    stub("6.3", organism, "passing", fresh=True)
    assert read(stub("6.4", organism, OTHER), ERROR_ATTRIBUTION) == alone.name
    with pytest.raises(ArtifactMismatchError, match=rf"is of contrasts '{OTHER}', this run is of '{CONTRAST}'"):
        stub("6.4", organism, CONTRAST, given_inputs=(alone,))


def test_the_order_in_which_contrasts_are_typed_makes_no_other_experiment(organism):
    made = stub("6.3", organism, OTHER, CONTRAST)
    assert manifest(made)["summary"] == {"of": " ".join(BOTH)}
    with pytest.raises(AlreadyBuilt):
        stub("6.3", organism, *BOTH)


def test_who_lacks_the_run_of_its_contrast_is_told_which_there_is_and_what_to_type(organism):
    stub("6.3", organism, CONTRAST)
    missing = f"of organism.*, {OTHER}: .*holds organism.*, {CONTRAST}\nBuild it with: .*phase 6.3.*--contrasts {OTHER}"
    with pytest.raises(MissingArtifactError, match=missing):
        stub("6.4", organism, OTHER)


def test_the_report_takes_of_each_contrast_what_belongs_together(organism):
    for name in BOTH:
        stub("6.3", organism, name)
        stub("6.4", organism, name)
    sae = list_runs(ERROR_ATTRIBUTION, organism)[0].of("sae")
    found = collected(organism, "organism", sae)
    assert [one.state for one in found.results_of(ERROR_LATENT_CIRCUITS)] == ["finished", "finished"]
    assert not [line for line in status_lines(SCHEMAS, organism) if line.state == "stale"]


def test_what_a_new_gate_no_longer_chooses_is_out_of_date_and_told_how_to_build(organism):
    old = stub("6.2", organism)
    gated(organism, "organism", studied=OTHER, fresh=True)
    new = stub("6.2", organism)
    assert new.name.endswith("_TypeError-NameError")
    shown, stale = collected(organism, "organism").results_of(ERROR_PATCHING)
    assert shown.artifact.path == new and stale.state == STALE
    [line] = [line for line in status_lines((ERROR_GATE, ERROR_PATCHING), organism) if line.state == "stale"]
    assert line.path == old and f"--contrast {CONTRAST}" in (line.command or "")


def test_a_damaged_run_is_seen_whatever_its_contrast(organism):
    (stub("6.2", organism, OTHER) / "manifest.json").write_text("{")
    [found] = collected(organism, "organism").results_of(ERROR_PATCHING)
    assert found.state == "damaged"


def test_a_gate_that_was_forced_goes_on_with_what_it_chose(tmp_path):
    gate = made_gate({CONTRAST: STOP, OTHER: STOP}, CONTRAST)
    write_runs(tmp_path, Path("organism"), [*made_pairs(12), *made_pairs(12, contrast=OTHER)], gate)
    assert stub("6.2", tmp_path).name.endswith("_IndexError-KeyError")
    with pytest.raises(ConfigError, match=f"of {OTHER}, seed"):
        stub("6.2", tmp_path, OTHER)
