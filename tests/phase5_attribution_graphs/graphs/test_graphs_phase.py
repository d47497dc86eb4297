"""Covers phase 5.4 and `run.py trace` on the model organism: what they write, and that slices give the same bytes."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from runs import newest
from support import built_once, command

from common.handoffs import CIRCUIT_GRAPHS
from common.handoffs.document import from_json
from common.handoffs.graphs import GraphsDocument, Verification
from common.report.graphs.graph_check import check_graph
from common.report.graphs.graph_document import NodeKind
from common.report.graphs.neuronpedia import from_neuronpedia
from common.tables import from_parquet
from phase5_attribution_graphs.graphs.graphs import shuffled
from phase5_attribution_graphs.replacement.graph import Graph

FEW = ["--preset", "demo", "--n-prompts", "2"]


def prompts(data: Path) -> None:
    done = command("run.py", "phase", "5.1", "--preset", "demo", "--n-train", 2, "--n-test", 4, "--data-dir", data)
    assert done.returncode == 0, done.stderr


def graphs(data: Path, *flags: object) -> Path:
    done = command("run.py", "phase", "5.4", *FEW, *flags, "--data-dir", data)
    assert done.returncode == 0, done.stderr
    return newest(data / "phase5_4") if not flags else data


def build(data: Path) -> None:
    prompts(data)
    graphs(data)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return built_once(tmp_path_factory, "graphs_phase", build)


@pytest.fixture(scope="module")
def run(data) -> Path:
    return newest(data / "phase5_4")


@pytest.fixture(scope="module")
def rows(run) -> list[dict]:
    return from_parquet((run / "graphs.parquet").read_bytes())


def test_every_graph_of_the_organism_is_exact(run, rows):
    document = from_json(GraphsDocument, json.loads((run / "graphs.json").read_bytes()))
    assert (document.n, document.exact) == (len(rows), len(rows)) == (4, 4)
    assert document.worst["zero_change"] == 0
    for row in rows:
        verification = from_json(Verification, json.loads(row["verification"]))
        assert verification.exact and verification.strongest.n == verification.random.n == 50
        written = json.loads((run / "graphs" / row["slug"] / "verification.json").read_bytes())
        assert written == json.loads(row["verification"])


def test_a_graph_is_written_in_neuronpedias_form_with_links_between_its_nodes(run, rows):
    for row in rows:
        folder = run / "graphs" / row["slug"]
        graph = json.loads((folder / "graph.json").read_bytes())
        check_graph(graph)
        document = from_neuronpedia(graph)
        latents = [node for node in document.nodes if node.kind is NodeKind.LATENT]
        assert (len(latents), len(document.links)) == (row["n_shown"], row["n_links"])
        assert [node.id for node in document.targets] == [f"7_{document.d_vocab}_{row['n_tokens'] - 1}"]
        assert (folder / "graph.graphml").read_bytes().startswith(b"<?xml")
    pages = sorted(path.parent.name for path in run.glob("graphs/*/graph.html"))
    assert pages == sorted({row["behaviour"]: row["slug"] for row in reversed(rows)}.values()), "the first of each"


def test_the_documents_means_follow_from_the_rows(run, rows):
    document = from_json(GraphsDocument, json.loads((run / "graphs.json").read_bytes()))
    for name, behaviour in document.behaviours.items():
        own = [row for row in rows if row["behaviour"] == name]
        assert behaviour.value.value == pytest.approx(np.mean([row["value"] for row in own]))
        for score, estimate in behaviour.scores.items():
            assert estimate.value == pytest.approx(np.mean([row[score] for row in own]))
        counted = {}
        for row in own:
            for layer, latent, role in {tuple(node[:3]) for node in json.loads(row["nodes"])}:
                counted[layer, latent, role] = counted.get((layer, latent, role), 0) + 1
        assert {(n.layer, n.latent, n.role): n.n for n in behaviour.nodes} == counted, "both of two are a fifth"


def test_a_contrast_is_the_difference_of_the_logits_that_the_model_gives(data, rows):
    from common.model.loading import load_model

    lm = load_model("organism", "cpu", "float32")
    known = {row["record"]: row for row in from_parquet((newest(data / "phase5_1") / "prompts.parquet").read_bytes())}
    for row in rows:
        prompt = known[row["prompt_record"]]
        import torch

        logits = lm.model(torch.tensor([prompt["token_ids"]])).logits[0, -1]
        difference = logits[prompt["correct_token"]] - logits[prompt["incorrect_token"]]
        assert row["capped"] == pytest.approx(float(difference), abs=1e-4)
        assert abs(row["value"]) >= abs(row["capped"]), "the final cap only brings logits nearer"


def test_slices_give_the_same_content_as_one_run(data, run, tmp_path):
    shutil.copytree(data / "phase5_1", tmp_path / "phase5_1")
    graphs(tmp_path, "--start", 2, "--end", 3)
    graphs(tmp_path, "--start", 0, "--end", 1)
    runs = (run, newest(tmp_path / "phase5_4"))
    contents = [json.loads((one / "manifest.json").read_bytes())["content_sha256"] for one in runs]
    assert contents[0] == contents[1]


def test_a_node_has_every_declared_column(run):
    nodes = from_parquet((run / "nodes.parquet").read_bytes())
    assert nodes and nodes[0].keys() == CIRCUIT_GRAPHS.tables["nodes.parquet"].keys()


def test_another_prompts_answers_are_of_the_same_behaviour_and_others():
    def prompt(record: int, behaviour: str, pair: tuple[int, int]) -> dict:
        return {"record": record, "behaviour": behaviour, "correct_token": pair[0], "incorrect_token": pair[1]}

    some = [prompt(0, "a", (1, 2)), prompt(1, "a", (3, 4)), prompt(2, "a", (1, 2)), prompt(3, "b", (5, 6))]
    drawn = shuffled(some, 0)
    assert [one["record"] for one in drawn] == [1, drawn[1]["record"], 1, 3]
    assert drawn[1]["record"] in (0, 2)
    assert drawn == shuffled(some, 0)


@pytest.fixture(scope="module")
def traced(tmp_path_factory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("trace")
    words = ["The old farmers near the dog", "--answer", " are", "--against", " is", "--preset", "demo"]
    done = command("run.py", "trace", *words, "--data-dir", folder)
    assert done.returncode == 0, done.stderr
    [made] = (folder / "traces").iterdir()
    return made, done.stdout


def test_a_trace_is_one_verified_graph_in_a_folder(traced):
    folder, said = traced
    names = " ".join(sorted(path.name for path in folder.iterdir()))
    assert names == "graph.graphml graph.html graph.json graph.safetensors trace.json verification.json"
    assert 'explained: " are" - " is"' in said and "\nexact: " in said and str(folder / "graph.html") in said
    assert from_json(Verification, json.loads((folder / "verification.json").read_bytes())).exact


def test_the_whole_graph_of_a_trace_adds_up_when_it_is_read_back(traced):
    graph = Graph.read(traced[0] / "graph.safetensors")
    assert float(graph.unexplained().max()) < 2e-5
    assert graph.names == ['" are" - " is"'] and not graph.is_capped


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_trace_without_answers_explains_the_likeliest_tokens(tmp_path):
    words = ["The capital of France is", "--preset", "demo", "--head-loadings", 5, "--virtual-weights"]
    done = command("run.py", "trace", *words, "--out", tmp_path / "here")
    assert done.returncode == 0, done.stderr
    by_edge: dict[tuple, dict[str, float]] = {}
    for row in rows_of(tmp_path / "here" / "head_loadings.csv"):
        at = by_edge.setdefault((row["source"], row["target"], float(row["edge"])), {})
        at[row["layer"]] = at.get(row["layer"], 0.0) + float(row["carries"])
    assert 0 < len(by_edge) <= 5
    for (*_, edge), layers in by_edge.items():
        assert list(layers.values()) == pytest.approx([edge] * len(layers), rel=1e-4)
    known = {node["node_id"] for node in json.loads((tmp_path / "here" / "graph.json").read_bytes())["nodes"]}
    weights = rows_of(tmp_path / "here" / "virtual_weights.csv")
    assert weights and {row["source"] for row in weights} <= known
    graph = Graph.read(tmp_path / "here" / "graph.safetensors")
    assert all(len(tokens) == 1 for tokens in graph.target_tokens)
    assert graph.weights.tolist() == sorted(graph.weights.tolist(), reverse=True)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--answer", " are"], "only --answer ' are' is given"),
        (["--answer", " are", "--against", " are"], "one answer begins with the other"),
        (["--transcoders", "model_organism/weights/saes"], "which are SAEs"),
        (["--transcoders", "own"], "holds no finished dictionaries"),
    ],
)
def test_a_trace_that_cannot_be_made_says_what_to_type(tmp_path, words, what):
    done = command("run.py", "trace", "The old farmers", *words, "--preset", "demo", "--data-dir", tmp_path)
    assert done.returncode == 2
    assert what in done.stderr and len(done.stderr.strip().splitlines()) >= 2
    assert not (tmp_path / "traces").exists()
