"""Covers phases 6.3 to 6.5 as they are typed, on the organism: what they leave, slices, fields that others read."""

import json
import shutil
from pathlib import Path

import pandas
import pytest
from runs import newest
from support import built_once, command

from common.handoffs.document import from_json
from common.handoffs.error_attribution import ErrorAttributionDocument, TopLatentsDocument
from common.handoffs.error_latent_circuits import ErrorLatentCircuitsDocument
from common.handoffs.error_nodes import ErrorNode, ErrorNodesDocument, NodeSource
from common.report.graphs.neuronpedia import from_neuronpedia

SMALL_ATTRIBUTION = ["--n-pairs", 4, "--n-exact", 4]
SMALL_CIRCUITS = (
    "--n-pairs 4 --sizes 200 --errors nodes --ablations resample --mask-steps 2 --n-others 1 --one-layer 10"
)
SMALL_CIRCUITS += " --edge-nodes 4 --edge-pairs 2 --n-exact 2 --other-sizes 200"


def typed(*words: object, data: Path) -> str:
    done = command("run.py", "phase", *words, "--preset", "demo", "--data-dir", data)
    assert done.returncode == 0, done.stderr
    return done.stderr


def build(data: Path) -> None:
    typed("6.1", data=data)
    typed("6.1b", data=data)
    typed("6.3", *SMALL_ATTRIBUTION, data=data)
    typed("6.4", *SMALL_CIRCUITS.split(), "--start", 0, "--end", 1, data=data)
    typed("6.4", *SMALL_CIRCUITS.split(), data=data)
    typed("6.5", "--n-nodes", 20, data=data)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_once(tmp_path_factory, "error_latents", build)


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def test_attribution_tells_sums_errors_null_and_held_out_pairs(data):
    run = newest(data / "phase6_3")
    told = from_json(ErrorAttributionDocument, read(run / "attribution.json"))
    [shape] = told.shapes
    assert told.site == "hook_resid_post" and told.null_pairs.n > 0 and told.held_out is not None
    assert told.error_share == shape.error_share and 0 < shape.error_share.share.known < 1
    for layer in shape.layers:
        assert layer.ig == pytest.approx(1.0, abs=0.021) and layer.worth == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("name, site", [("attention_saes", "hook_attn_out"), ("mlp_saes", "hook_mlp_out")])
def test_the_organism_s_dictionaries_of_attention_and_of_mlp_outputs_are_taken_with_sae(data, name, site, tmp_path):
    """Two layers have them: the nodes are worth what that part of a block adds, not all that the stream holds."""
    copy = shutil.copytree(data, tmp_path / "data")
    said = typed("6.3", *SMALL_ATTRIBUTION, "--sae", f"model_organism/weights/{name}", data=copy)
    told = from_json(ErrorAttributionDocument, read(newest(copy / "phase6_3") / "attribution.json"))
    assert (told.site, told.note) == (site, "") and "error nodes" not in said
    assert [layer.layer for layer in told.shapes[0].layers] == [3, 5]
    assert told.shapes[0].n_nodes > 0 and told.error_share.share.value is not None


def test_the_strongest_latents_come_with_tokens_that_they_promote(data):
    tops = from_json(TopLatentsDocument, read(newest(data / "phase6_3") / "top_latents.json"))
    [found] = tops.contrasts.values()
    assert len(found) == 25 and all(top.promotes and top.suppresses for top in found)
    assert [abs(top.effect) for top in found] == sorted((abs(top.effect) for top in found), reverse=True)
    assert " TypeError" in [one.token for top in found[:5] for one in top.promotes or []]


def test_circuits_have_the_fields_that_are_asked_for(data):
    told = from_json(ErrorLatentCircuitsDocument, read(newest(data / "phase6_4") / "circuits.json"))
    assert told.faithfulness.value is not None and told.completeness.value is not None
    assert told.held_out == 4 and told.error_share.value is not None and told.null_pairs.size > 0
    assert told.edges is not None and told.edges.n_edges > 0
    assert told.edges.all_pairs.value == pytest.approx(told.edges.node_circuit.value, abs=1e-4)
    rows = pandas.read_parquet(newest(data / "phase6_4") / "circuit.parquet")
    [named] = rows[["contrast", "template", "shape"]].drop_duplicates().itertuples(index=False)
    first = told.circuits[0]
    assert (first.contrast, first.template, first.shape) == tuple(named)


def test_the_circuit_is_exported_as_a_graph_and_a_page(data):
    [folder] = (newest(data / "phase6_4") / "graphs").iterdir()
    graph = from_neuronpedia(read(folder / "graph.json"))
    assert graph.links and graph.targets and (folder / "graph.html").stat().st_size > 10_000


def test_a_run_in_slices_is_joined(data):
    manifest = read(newest(data / "phase6_4") / "manifest.json")
    assert [process["n_records"] for process in manifest["processes"]] == [2, 4]


def test_nodes_of_the_circuit_are_told_of_in_its_order(data):
    circuit = from_json(ErrorLatentCircuitsDocument, read(newest(data / "phase6_4") / "circuits.json")).circuits[0]
    size = next(one.size for one in circuit.enough if one.ranking == "positive")
    told = from_json(ErrorNodesDocument, read(newest(data / "phase6_5") / "nodes.json"))
    [one] = told.contrasts
    assert size is not None and (one.source, one.of) == (NodeSource.CIRCUIT, size)
    rows = pandas.read_parquet(newest(data / "phase6_4") / "circuit.parquet").sort_values("rank")
    rows = rows[rows["rank"] < size]
    wanted = [tuple(row) for row in rows[["layer", "position", "ig"]].head(20).itertuples(index=False)]
    assert [(node.layer, node.position, node.effect) for node in one.nodes] == wanted
    own = rows.head(20)
    errors, latents = own[own["latent"] == -1], own[own["latent"] != -1]
    found = [(node.layer, node.position) for node in one.nodes if isinstance(node.what, ErrorNode)]
    assert found == [*errors[["layer", "position"]].itertuples(index=False, name=None)]
    different = latents[["layer", "latent"]].drop_duplicates()
    assert [(each.layer, each.latent) for each in told.latents] == [*different.itertuples(index=False, name=None)]


def test_the_strongest_latent_is_that_of_one_error_on_other_words_and_writes_its_name(data):
    first = from_json(ErrorNodesDocument, read(newest(data / "phase6_5") / "nodes.json")).latents[0]
    assert first.selective is not None and first.selective.auroc.low is not None and first.selective.auroc.low > 0.9
    assert first.promotes is not None and first.promotes[0].token == f" {first.selective.error}"
    assert next(iter(first.places)) == "end" and first.spread is not None and first.spread > 3
    own = first.kinds[first.selective.error]
    assert own.mean == max(kind.mean for kind in first.kinds.values()) and own.added is not None and own.added > 0
