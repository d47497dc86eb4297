"""Covers run.py latent and the report's latents: numbers, tokens in place, what is missing, hostile text, labels."""

import contextlib
import html
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import latent_data
import numpy as np
import pytest
import torch
from pages import Reader, words
from report_data import HOSTILE
from support import ROOT, command
from transformers import AutoModelForCausalLM, AutoTokenizer

from common.errors import AssetError, ConfigError, PipelineError
from common.handoffs import GENERAL_TEXT, GENERATIONS, LATENTS, SPLIT
from common.report.blocks import Commands, Fold, Passages, Section, Table
from common.report.collect import choose, collect_experiment, runs_in
from common.report.document import write_reports
from common.report.latents import neuronpedia
from common.report.latents.inputs import Inputs
from common.report.latents.neuronpedia import fetch_label
from common.report.latents.on_text import quarters
from common.report.latents.page import sections_of_latent
from common.report.latents.section import latents_section, selected_latents
from common.report.latents.tokens import LONGEST, in_its_text, last_token, token_words, visible
from common.saes.sources import sae_source
from run import CATALOGUE

SAES = ROOT / "model_organism" / "weights" / "saes"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return latent_data.latent_data(tmp_path_factory)


@pytest.fixture
def data(folder, tmp_path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(folder / "data", tmp_path / "data"))


def inputs_of(data: Path) -> Inputs:
    runs = runs_in(data)
    return Inputs(collect_experiment(runs, choose(runs, {}, data)[0], data))


@pytest.fixture(scope="module")
def inputs(folder) -> Inputs:
    return inputs_of(folder / "data")


@pytest.fixture(scope="module")
def places(inputs) -> list[tuple[int, int]]:
    """The selected latents, one that fires on much text, one that fires nowhere, and one that is none of these."""
    rates = inputs.statistics(2)["general_text_rate"]
    return [*selected_latents(inputs.collected), (2, int(rates.argmax())), (2, int(rates.argmin())), (4, 7)]


@pytest.fixture(scope="module")
def pages(inputs, places) -> dict[tuple[int, int], dict[str, Section]]:
    return {place: {part.id: part for part in sections_of_latent(inputs, *place)} for place in places}


def only(section: Section, kind: type, title: str):
    [found] = [block for block in section.blocks if isinstance(block, kind) and block.title.startswith(title)]
    return found


def latent_command(data: Path, *words: object):
    return command("run.py", "latent", *words, "--data-dir", data)


def test_every_number_is_that_of_phase_2(inputs, places):
    for layer, latent in places:
        row = {name: values[latent] for name, values in inputs.statistics(layer).items()}
        on_prompts, on_text = inputs.on_prompts(layer, latent), inputs.on_text(layer, latent)
        fires, labels = on_prompts.activations > 0, np.array([each["label"] for each in on_prompts.rows])
        assert row["layer"] == layer and row["latent"] == latent and fires.sum() == row["n_active"]
        assert fires[labels == "correct"].mean() == pytest.approx(row["f_correct"])
        assert fires[labels == "incorrect"].mean() == pytest.approx(row["f_incorrect"])
        assert (on_text.activations > 0).mean() == pytest.approx(row["general_text_rate"])
        assert float(inputs.sae(layer).W_dec[latent].norm()) == pytest.approx(row["decoder_norm"])


def test_the_strongest_prompts_are_those_that_phase_2_stored(inputs, pages):
    stored = inputs.collected.needed(LATENTS).artifact.table("top_problems.parquet")
    for layer, latent in selected_latents(inputs.collected):
        own = {row["place"]: row for row in stored if (row["layer"], row["latent"]) == (layer, latent)}
        shown = only(pages[layer, latent]["prompts"], Passages, "Prompts").passages
        assert [passage.beside.split(",")[0] for passage in shown] == [
            f"problem {own[place]['task_id']}" for place in sorted(own)
        ]
        assert [float(passage.measure) for passage in shown] == [round(own[p]["activation"], 2) for p in sorted(own)]


def test_only_prompts_of_the_selection_split_are_shown_whole_with_their_last_token_marked(inputs, pages):
    split = inputs.collected.needed(SPLIT).artifact.table("sae_{dataset}.parquet")
    programs = {row["task_id"]: row for row in inputs.collected.needed(GENERATIONS).artifact.table("dataset.parquet")}
    prompts = {programs[row["task_id"]]["prompt"] for row in split}
    found = [block for page in pages.values() for block in page["prompts"].blocks if isinstance(block, Passages)]
    shown = [passage for block in found for passage in block.passages]
    assert len(shown) > 10
    for passage in shown:
        assert passage.token == "↵" and f"{passage.before}\n" in prompts


def test_each_token_of_a_text_is_marked_where_phase_1_1_stored_its_activation(inputs, pages):
    rows = {row["document"]: row for row in inputs.collected.needed(GENERAL_TEXT).artifact.table("documents.parquet")}
    n_shown = 0
    for page in pages.values():
        for passage in (p for block in page["text"].blocks if isinstance(block, Passages) for p in block.passages):
            row = rows[int(re.search(r"document (\d+)", passage.beside)[1])]
            text = inputs.documents[row["document"]]
            before, after = passage.before.removeprefix("…"), passage.after.removesuffix("…")
            plain = passage.token.replace("␣", " ").replace("↵", "\n").replace("⇥", "\t")
            assert plain.strip() == row["token"].strip() and before + plain + after in text
            n_shown += 1
    assert n_shown > 30


def test_weaker_texts_stand_beside_the_strongest(inputs, places, pages):
    dense = places[-3]
    page, order = pages[dense]["text"], inputs.on_text(*dense).strongest_first
    strongest = only(page, Passages, "Texts").passages
    others = only(page, Passages, "Over the whole range").passages
    assert len(strongest) == 10 and 6 <= len(others) <= 12 and f"of the {len(order)} documents" in page.blocks[-1].note
    assert min(float(p.measure) for p in strongest) >= max(float(p.measure) for p in others)
    assert {p.beside.split(" quarter")[0] for p in others} >= {"second", "third", "weakest"}


def test_quarters_are_of_all_that_fire_and_evenly_spaced():
    found = quarters(list(range(10, 100)), 100)
    assert found == {"strongest": [10, 17, 24], "second": [25, 37, 49], "third": [50, 62, 74], "weakest": [75, 87, 99]}
    assert quarters([10], 11) == {"strongest": [], "second": [], "third": [], "weakest": [10]}


def test_a_latent_that_fires_nowhere_says_so(inputs, places, pages):
    silent = places[-2]
    assert not inputs.on_text(*silent).strongest_first
    table = only(pages[silent]["text"], Table, "How often")
    assert [cell.text for cell in table.rows[0]] == ["general text", "0.0 %", "–", "–"]
    assert not [block for block in pages[silent]["text"].blocks if isinstance(block, Passages)]


def test_the_tokens_it_raises_and_lowers_are_those_of_the_loaded_model(inputs, places, pages):
    folder = ROOT / "model_organism" / "weights" / "model"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).float(), AutoTokenizer.from_pretrained(folder)
    for layer, latent in places[:3]:
        direction = inputs.sae(layer).W_dec[latent]
        with torch.no_grad():
            effects = model.lm_head(model.model.norm(1e4 * direction) * direction.square().mean().sqrt())
        effects -= effects.mean()
        order = effects.argsort(descending=True).tolist()
        table = only(pages[layer, latent]["logits"], Table, "What it writes")
        for column, expected in ((1, order[:10]), (3, order[::-1][:10])):
            assert [row[column].text for row in table.rows] == [token_words(tokenizer, token) for token in expected]
            values = [row[column + 1].sort for row in table.rows]
            assert values == pytest.approx([float(effects[token]) for token in expected], abs=1e-4)


def test_the_statistics_have_their_meanings_and_ranks(inputs, places, pages):
    first = inputs.collected.needed(LATENTS).document().directions["predict_incorrect"].latents[0]
    page = pages[first.layer, first.latent]["statistics"]
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in only(page, Table, "Its row").rows}
    assert rows["n_active"][0] == str(first.n_active) and "problems on which it fires" in rows["n_active"][1]
    assert float(rows["t"][0].replace("−", "-")) == round(first.t, 2) and rows["kept"][0] == "yes"
    ranks = {row[0].text: row[1].text for row in only(page, Table, "Its place").rows}
    assert ranks["predict-incorrect"] == "1 of 20"
    assert [block.lines for block in page.blocks if isinstance(block, Commands)][0][0].startswith(
        "python3 run.py phase 3.1 --preset demo"
    )
    other = pages[places[-1]]["statistics"]
    assert "It is the first of no direction" in other.blocks[-1].text


def test_the_command_writes_one_file_and_says_where(folder, data, tmp_path, places):
    layer, latent = places[0]
    done = latent_command(data, layer, latent)
    where = data / "latents" / "organism_few_saes" / f"layer_{layer}_latent_{latent}.html"
    assert done.returncode == 0 and done.stdout == f"Page: {where}\n", done.stderr
    named = ("--preset", "demo", "--dataset", folder / "few.jsonl", "--out", tmp_path / "one.html")
    elsewhere = latent_command(data, layer, latent, *named)
    assert elsewhere.returncode == 0 and (tmp_path / "one.html").read_text() == where.read_text()
    assert len(list((data / "latents").rglob("*"))) == 2
    source = where.read_text()
    assert "http" not in source.replace("http-equiv", "") and where.stat().st_size < 500_000


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ((6, 1), "has no SAE of layer 6\nGive one of the layers 0, 1, 2, 3, 4, 5"),
        ((-1, 1), "has no SAE of layer -1"),
        ((3, 6144), "layer_3 has latents 0 to 6,143, and none of the number 6144"),
        ((3, -1), "layer_3 has latents 0 to 6,143, and none of the number -1"),
    ],
)
def test_an_impossible_place_is_refused_with_the_range(inputs, place, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        inputs.latent_of(*place)


def test_a_layer_that_is_no_number_and_a_folder_without_runs_are_refused(folder, tmp_path):
    assert latent_command(folder / "data", "three", 5).returncode == 2
    refused = latent_command(tmp_path, 3, 5, "--preset", "demo")
    assert refused.returncode == 2 and "Build one with: python3 run.py phase 1 --preset demo" in refused.stderr


@pytest.mark.parametrize(("schema", "gone"), [(GENERAL_TEXT, ["text"]), (LATENTS, ["statistics"])])
def test_a_phase_that_has_not_run_leaves_out_its_part_and_says_what_to_type(folder, data, schema, gone):
    latent = latent_data.densest(folder, 3)
    shutil.rmtree(data / schema.folder)
    runs = runs_in(data)
    names = choose(runs, {}, data)[0]
    names["sae"] = sae_source("auto", "organism").identity
    page = {part.id: part for part in sections_of_latent(Inputs(collect_experiment(runs, names, data)), 3, latent)}
    for part in page.values():
        commands = [line for block in part.blocks if isinstance(block, Commands) for line in block.lines]
        if part.id in gone:
            assert commands[0].startswith(f"python3 run.py phase {schema.phase} --preset demo"), commands
    assert page["logits"].blocks[0].rows and any(isinstance(b, Passages) for b in page["prompts"].blocks)


def test_text_that_has_changed_since_is_not_shown(folder, data):
    inputs = inputs_of(data)
    inputs.collected.needed(GENERAL_TEXT).manifest["text"]["sha256"] = "0" * 64
    text = {part.id: part for part in sections_of_latent(inputs, 2, latent_data.densest(folder, 2))}["text"]
    [told] = [block.text for block in text.blocks if getattr(block, "tone", "") == "warning"]
    assert "is not the one that phase 1.1 read" in told


def test_saes_that_are_not_those_of_the_runs_are_refused(data):
    inputs = inputs_of(data)
    inputs.collected.experiment["sae"] = "saes@00000000"
    with pytest.raises(PipelineError, match="--sae auto is saes@.* on this disk, the runs are of saes@00000000"):
        inputs.sae(3)


def test_a_token_that_another_tokenizer_would_put_elsewhere_is_refused(inputs):
    with pytest.raises(PipelineError, match="this tokenizer puts token .* there"):
        in_its_text(inputs.tokenizer, "def f(x):", 1, 2999)
    with pytest.raises(PipelineError, match="this tokenizer puts nothing there"):
        in_its_text(inputs.tokenizer, "def f(x):", 100, 5)


def test_blanks_of_a_token_are_seen_and_long_prompts_are_cut_in_their_middle(inputs):
    assert visible(" a\n\tb") == "␣a↵⇥b"
    before, token = last_token(inputs.tokenizer, "x " * 2000 + "end\n", None)
    assert token == "↵" and LONGEST < len(before) < LONGEST + 50 and "more characters" in before


def test_text_that_would_run_in_a_browser_is_text(folder, data, places, tmp_path):
    latent_command(data, *places[-3], "--out", tmp_path / "one.html")
    report = write_reports(CATALOGUE, data, out=tmp_path / "report.html")[0].path
    for path in (tmp_path / "one.html", report):
        source, found = path.read_text(), Reader(path.read_text())
        assert HOSTILE not in source and "<img src=x" not in source and HOSTILE.split(">")[0] in words(source)
        assert [tag for tag, _ in found.elements].count("script") == 1
        assert not [tag for tag, attributes in found.elements if any(name.startswith("on") for name in attributes)]


def test_the_report_holds_the_page_of_each_selected_latent_and_links_to_it(folder, inputs, pages, tmp_path):
    report = write_reports(CATALOGUE, folder / "data", out=tmp_path / "report.html")[0]
    found = Reader(report.path.read_text())
    links = {a["href"] for tag, a in found.elements if tag == "a" and a["href"].startswith("#latent-")}
    folds = {f"#{a['id']}" for tag, a in found.elements if tag == "details" and a.get("id", "").startswith("latent-")}
    chosen = selected_latents(inputs.collected)
    assert links == folds == {f"#latent-{layer}-{latent}" for layer, latent in chosen}
    text = words(report.path.read_text())
    for place in chosen:
        for passage in only(pages[place]["prompts"], Passages, "Prompts").passages:
            assert " ".join(html.unescape(f"{passage.before} {passage.token}").split()) in text
    assert report.n_bytes < 2_000_000


def test_a_dictionary_that_no_phase_has_read_yet_can_be_looked_at(folder, data, tmp_path):
    saes = named_saes(tmp_path)
    done = latent_command(data, 3, latent_data.densest(folder, 3), "--sae", saes, "--out", tmp_path / "one.html")
    assert done.returncode == 0, done.stderr
    text = words((tmp_path / "one.html").read_text())
    build = f"python3 run.py phase 2 --preset demo --dataset {folder / 'few.jsonl'} --sae {saes} --data-dir {data}"
    assert build in text and "Prompts on which it is most active" in text
    refused = latent_command(data, 3, 5, "--sae", tmp_path / "none")
    assert refused.returncode == 2 and "no folder" in refused.stderr


def named_saes(folder: Path) -> Path:
    """The organism's SAE of layer 3, as if Neuronpedia had it."""
    saes = Path(
        shutil.copytree(SAES, folder / "named", ignore=lambda _, names: {f"layer_{k}" for k in (0, 1, 2, 4, 5)})
    )
    config = json.loads((saes / "layer_3" / "cfg.json").read_text())
    config["metadata"] = {**config.get("metadata", {}), "neuronpedia_id": "small/3-res"}
    (saes / "layer_3" / "cfg.json").write_text(json.dumps(config))
    return saes


def test_neither_a_page_nor_the_report_asks_a_network(folder, tmp_path):
    code = (
        "import socket, run\n"
        "def refused(*_): raise AssertionError('a network was asked')\n"
        "socket.socket.connect = socket.getaddrinfo = refused\n"
        "for words in (['latent', '2', '5'], ['report']):\n"
        f"    words += ['--data-dir', {str(folder / 'data')!r}, '--out', {str(tmp_path / 'x')!r}]\n"
        "    assert run.main(words) == 0\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    environment |= {"HF_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def api(answer: bytes, status: int = 200) -> Iterator[tuple[str, list[str]]]:
    """A server that answers alike whatever it is asked; its address, and what was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/api/feature", asked
    finally:
        server.shutdown()
        server.server_close()


def test_a_label_is_fetched_once_when_asked_for_and_never_else(data, tmp_path):
    label = json.dumps({"explanations": [{"description": f"lists {HOSTILE}"}]}).encode()
    with api(label) as (url, asked):
        words_typed = (data, 3, 5, "--sae", named_saes(tmp_path), "--out", tmp_path / "one.html")
        assert latent_command(*words_typed).returncode == 0 and not asked
        assert "https://www.neuronpedia.org/small/3-res/5" in (tmp_path / "one.html").read_text()
        done = latent_command(*words_typed, "--fetch-label", url)
        assert done.returncode == 0 and asked == ["/api/feature/small/3-res/5"], done.stderr
    source = (tmp_path / "one.html").read_text()
    assert f"Label lists {HOSTILE.split('>')[0]}" in words(source) and HOSTILE not in source


def test_a_page_is_made_without_a_label_that_cannot_be_had(folder, data, tmp_path):
    saes, out, latent = named_saes(tmp_path), tmp_path / "one.html", latent_data.densest(folder, 3)
    with api(b"gone", 404) as (url, _):
        done = latent_command(data, 3, latent, "--sae", saes, "--out", out, "--fetch-label", url)
    text = words(out.read_text())
    assert done.returncode == 0 and "gave no label: HTTPError" in text and "Prompts on which it is most active" in text


@pytest.mark.parametrize("answer", [b"", b"no json", b"[1]", b'{"explanations": 3}', b'{"explanations": [{}]}'])
def test_an_answer_that_is_no_label_is_an_error_with_what_to_type(answer):
    with api(answer) as (url, _), pytest.raises(AssetError, match="gave no label: .*\nLeave out --fetch-label"):
        fetch_label("small/3-res", 5, url)


def test_a_latent_without_a_label_and_a_server_that_is_silent_are_told_apart(monkeypatch):
    with api(b'{"explanations": []}') as (url, _):
        assert fetch_label("small/3-res", 5, url) is None
    monkeypatch.setattr(neuronpedia, "_PATIENCE_S", 0.2)
    silent = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)  # it listens, and never answers
    with contextlib.closing(silent.socket), pytest.raises(AssetError, match="gave no label"):
        fetch_label("small/3-res", 5, f"http://127.0.0.1:{silent.server_port}")


def test_a_fold_of_the_report_is_the_page(inputs, places, pages):
    folds = [block for block in latents_section(inputs.collected).blocks if isinstance(block, Fold)]
    assert [fold.id for fold in folds] == [f"latent-{a}-{b}" for a, b in sorted(selected_latents(inputs.collected))]
    for fold in folds:
        place = tuple(map(int, fold.id.split("-")[1:]))
        assert [b for part in pages[place].values() for b in part.blocks] == [
            b for b in fold.blocks if b.kind != "heading"
        ]
