"""Covers phase 2 end to end on a small experiment: what is found, what is not, what is refused, what is written."""

import json
import logging
import shutil

import numpy as np
import pyarrow.parquet
import pytest
from experiments import quiet, save_saes, text_with

from common import handoffs
from common.errors import ArtifactMismatchError, ConfigError, MissingArtifactError, PipelineError
from common.handoffs.document import from_json
from common.handoffs.selected import SelectedDocument
from common.phases.phase import Phase
from common.plots import svg_bytes
from common.report.status import status_lines
from common.runs import discovery
from common.saes.activations import check_reads_the_residual_stream
from common.saes.sources import SaeSource
from phase2_sae_analysis import figures
from phase2_sae_analysis.config import LatentConfig

PLANTED, GENERAL, N = (1, 7), (2, 3), 130


def selected(folder) -> dict:
    return json.loads((folder / "selected.json").read_text())


def latents(folder) -> dict[str, np.ndarray]:
    table = pyarrow.parquet.read_table(folder / "latents.parquet")
    return {name: table.column(name).to_numpy() for name in table.column_names}


def place(latent: dict) -> tuple[int, int]:
    return latent["layer"], latent["latent"]


def test_a_planted_latent_is_found_and_is_significant(planted_run):
    found = selected(planted_run[1])
    for direction in ("predict_incorrect", "steer_incorrect"):
        first = found["directions"][direction]["latents"][0]
        assert place(first) == PLANTED and first["p_max"] < 0.01 and first["q"] < 0.01
        assert found["directions"][direction]["significant"] is True
    assert found["conclusion"].startswith(
        "2 of 82 latents that fire in 3 layers are significant"
    )  # its mirror image too
    assert found["directions"]["predict_incorrect"]["latents"][0]["auroc"] > 0.7
    mirrored = found["directions"]["predict_correct"]["latents"][0]
    assert place(mirrored) == (PLANTED[0], PLANTED[1] + 16) and mirrored["auroc"] < 0.4


def test_the_command_finds_the_same_in_a_process_of_its_own(planted, planted_run, cli):
    planted.build()
    words = ["--model", planted.model, "--dataset", planted.dataset, "--sae", planted.sae, "--n-permutations", 200]
    done = cli("run.py", "phase", "2", *words, "--data-dir", planted.data)
    assert done.returncode == 0, done.stderr
    assert selected(planted_run[1])["conclusion"] in done.stderr


def test_nothing_is_significant_where_labels_are_permuted(planted):
    planted.labels = np.random.default_rng(8).permutation(planted.labels).tolist()
    found = selected(planted.build().run())
    assert found["conclusion"].startswith(
        "Nothing is significant: of 82 latents that fire in 3 layers, the largest |t| among those that pass the "
        "general-text filter is "
    )
    assert not any(entry["significant"] for entry in found["directions"].values())


def test_latents_that_fire_on_general_text_are_left_out_before_ranking(planted_run):
    folder = planted_run[1]
    table = latents(folder)
    row = GENERAL[0] * 32 + GENERAL[1]
    assert np.argmax(np.abs(table["t"])) == row and not table["kept"][row]
    assert np.isnan([table["q"][row], table["p_max"][row]]).all()
    chosen = [place(latent) for entry in selected(folder)["directions"].values() for latent in entry["latents"]]
    assert GENERAL not in chosen


def test_a_higher_limit_on_general_text_keeps_them(planted):
    folder = planted.build().run(general_text_limit=0.5)
    assert place(selected(folder)["directions"]["predict_incorrect"]["latents"][0]) == GENERAL


def test_the_outputs_agree_with_each_other_and_with_what_is_declared(planted_run):
    planted, folder = planted_run
    table, found = latents(folder), selected(folder)
    assert list(table) == list(handoffs.LATENTS.tables["latents.parquet"])
    assert table["layer"].tolist() == np.repeat(range(3), 32).tolist() and len(table["t"]) == found["latents"] == 96
    for name, entry in found["directions"].items():
        assert [latent["rank"] for latent in entry["latents"]] == list(range(1, 21)), name
        for latent in entry["latents"]:
            row = latent["layer"] * 32 + latent["latent"]
            assert all(latent[key] == table[key][row] for key in ("t", "separation", "p_max", "auroc", "n_active"))
            assert latent["neuronpedia"].endswith(f"/small/{latent['layer']}-res/{latent['latent']}")
    top = pyarrow.parquet.read_table(folder / "top_problems.parquet").to_pylist()
    first = [row for row in top if row["direction"] == "predict_incorrect" and row["rank"] == 1]
    resid = planted.resid[PLANTED[0]][:, PLANTED[1]]
    assert [row["task_id"] for row in first] == np.argsort(-resid)[:10].tolist()
    assert first[0]["activation"] == pytest.approx(resid.max()) and first[0]["text"].startswith("Problem")
    drawn = sorted(path.name for path in (folder / "figures").iterdir())
    names = "activations by_layer limits null_maximum sparse_probing volcano"
    assert drawn == [f"{name}.png" for name in names.split()]
    assert all(handoffs.LATENTS.is_unstable(f"figures/{name}") for name in drawn)


def test_a_latent_that_several_directions_selected_is_named_once_in_the_volcano(planted_run, monkeypatch):
    monkeypatch.setattr(figures, "png_bytes", lambda figure: svg_bytes(figure, "volcano"))  # whose text can be read
    folder = planted_run[1]
    directions = from_json(SelectedDocument, selected(folder)).directions
    drawing = figures.volcano(latents(folder), directions).decode()
    best = {(found.latents[0].layer, found.latents[0].latent) for found in directions.values()}
    assert PLANTED in best and len(best) < len(directions)
    assert all(drawing.count(f">{layer} / {latent}<") == 1 for layer, latent in best)
    assert all(drawing.count(f">{name}<") == 1 for name in directions)


def test_the_same_run_gives_the_same_bytes(planted_run, copy_of, tmp_path):
    planted, first = planted_run
    second = copy_of(planted, data=tmp_path / "again").build().run()
    for path in first.rglob("*.*"):
        if path.is_file() and path.name not in ("manifest.json", "log.txt"):
            assert path.read_bytes() == (second / path.relative_to(first)).read_bytes(), path.name


def test_programs_that_could_not_be_judged_are_left_out_and_counted(planted):
    planted.labels[:3] = ["not_run", "unsupported", "not_run"]
    found = selected(planted.build().run())
    assert found["left_out"] == {"not_run": 2, "unsupported": 1} and found["problems"] == N - 3


def test_problems_without_a_record_are_an_error_unless_accepted(planted):
    planted.split = [*range(N), 900, 901]
    planted.build()
    with pytest.raises(MissingArtifactError, match="2 of the 132 problems .* task 900, 901\n.*--accept-missing"):
        planted.run()
    assert selected(planted.run(accept_missing=True))["left_out"] == {"missing": 2}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["correct"] * N, "130 correct and 0 incorrect .*both"),
        (["correct"] * (N - 9) + ["incorrect"] * 9, "121 correct and 9 incorrect .* 10 of each"),
        (["not_run"] * N, "0 problems 0 correct and 0 incorrect .*130 not_run"),
    ],
)
def test_too_few_of_a_label_are_an_error(noise, labels, message):
    noise.labels = labels
    with pytest.raises(ConfigError, match=message):
        noise.build().run()


def test_layers_that_general_text_lacks_are_an_error_with_the_command(noise):
    noise.rates = {0: noise.rates[0]}
    with pytest.raises(ArtifactMismatchError, match=r"layer 1,2; .*layers 0: .*\n.*phase 1\.1 --model") as refused:
        noise.build().run()
    assert "--sae" not in str(refused.value)


def test_a_missing_general_text_baseline_is_an_error_with_the_command(noise):
    noise.build()
    for path in sorted((noise.data / "phase1_1").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    with pytest.raises(MissingArtifactError, match=r"no finished general_text .*\n.*phase 1\.1"):
        noise.run()


def test_the_rates_on_general_text_are_those_of_all_its_documents(planted_run):
    planted, folder = planted_run
    wanted = np.concatenate([planted.rates[layer] for layer in range(3)])
    wanted[[32 * layer + side + j for layer in range(3) for side in (0, 16) for j in quiet(layer)]] = 0
    assert latents(folder)["general_text_rate"].tolist() == wanted.tolist()


def test_a_chosen_layer_without_an_sae_is_an_error(noise):
    """A chosen layer without an SAE is an error; unless chosen, those with one are taken."""
    noise.resid[3] = noise.resid[0]
    noise.build()
    with pytest.raises(ConfigError, match=r"no SAE for layer 3; .*layers 0,1,2\n.*--layers 0,1"):
        noise.run(layers="0,1,3")
    assert [site["layer"] for site in selected(noise.run())["sites"]] == [0, 1, 2]
    assert [site["layer"] for site in selected(noise.run(layers="0,2"))["sites"]] == [0, 2]


def test_a_folder_with_saes_of_two_layers_needs_no_layers(noise, tmp_path):
    for layer in (0, 2):
        shutil.copytree(noise.sae / f"layer_{layer}", tmp_path / "two" / f"layer_{layer}")
    noise.sae = tmp_path / "two"
    assert [site["layer"] for site in selected(noise.build().run())["sites"]] == [0, 2]


def test_all_prompts_may_end_alike_where_the_sae_fits_general_text(noise):
    for layer, resid in noise.resid.items():
        noise.resid[layer] = 0.05 * resid + 3  # too little varies for any threshold
    site = selected(noise.build().run())["sites"][0]
    assert site["fvu"] < 0.5 and 0 < site["last_prompt_token"]["missed_share"] < 0.2
    assert site["last_prompt_token"]["fvu_between"] < 2 and site["last_prompt_token"]["n"] == 130


def test_a_layer_without_activations_is_an_error(noise):
    with pytest.raises(ConfigError, match=r"layer 7 .*activations; .*layers 0,1,2\n.*--layers"):
        noise.build().run(layers="1,7")


@pytest.mark.parametrize("layers", ["", "first", "1,,2", "-1"])
def test_layers_that_are_no_numbers_are_an_error(layers):
    with pytest.raises(ConfigError, match=rf"--layers is '{layers}'\n.*all.* 0,12,25"):
        LatentConfig(layers=layers)


def test_activations_of_another_scale_fail_the_site_check_unless_accepted(noise):
    noise.text = {layer: 0.1 * resid for layer, resid in noise.resid.items()}
    noise.build()
    with pytest.raises(ArtifactMismatchError, match="with --accept-bad-fit"):
        noise.run()
    assert len(selected(noise.run(accept_bad_fit=True))["sites"]) == 3


def test_activations_that_lie_one_layer_off_fail_the_site_check(noise):
    noise.text = {0: noise.resid[1], 1: noise.resid[2], 2: noise.resid[0]}
    noise.build()
    for accept_bad_fit in (False, True):
        with pytest.raises(ArtifactMismatchError, match="does not fit layer .* layer .*better"):
            noise.run(accept_bad_fit=accept_bad_fit)


def test_activations_that_overflowed_are_an_error(noise):
    noise.resid[0][4, 2] = np.inf
    with pytest.raises(ArtifactMismatchError, match=r" 1 of 130 problems .*NaN .*\n.*--dtype"):
        noise.build().run()


def test_latents_that_never_fire_are_reported_and_never_selected(noise):
    noise.resid[0][:, 5] = 0
    folder = noise.build().run()
    table = latents(folder)
    assert table["n_active"][5] == 0 and table["t"][5] == 0 and table["p"][5] == 1 and table["p_max"][5] == 1
    assert np.isnan(table["q"][5]), "what never fires is no part of the family"
    chosen = [place(latent) for entry in selected(folder)["directions"].values() for latent in entry["latents"]]
    assert (0, 5) not in chosen and (0, 21) not in chosen


def test_a_limit_that_leaves_no_latent_says_so(noise, tmp_path):
    noise.sae = save_saes(tmp_path / "saes", silent=lambda layer: [])
    noise.text = dict.fromkeys(range(3), text_with(np.full(32, 0.5), []))
    found = selected(noise.build().run(general_text_limit=0.02))
    assert found["conclusion"] == "Nothing can be selected: every latent fires too often on general text."
    assert all(entry["latents"] == [] and entry["left_out"]["stronger"] for entry in found["directions"].values())
    assert found["limits"][-1]["kept"] == 0 and found["limits"][-1]["auroc"]["value"] == 0.5
    assert [(layer["n_latents"], layer["sparse"]) for layer in found["sparse_probing"]] == [(0, [])] * 3


def reader(experiment, inputs=()):
    """The context of a phase that reads latents, as phase 3 does."""
    phase = Phase(
        id="3.1",
        title="reads",
        config=LatentConfig,
        inputs=(handoffs.LATENTS,),
        output=handoffs.LATENTS,
        run=lambda ctx, config: None,
    )
    return experiment.context(phase, experiment.config(), inputs=inputs)


def test_a_validation_run_says_what_it_is_for_and_feeds_no_phase(planted):
    planted.build()
    describing = planted.run(split="validation")
    manifest = json.loads((describing / "manifest.json").read_text())
    assert manifest["summary"]["use"].startswith("description only")
    assert selected(describing)["use"].startswith("description only")
    with pytest.raises(MissingArtifactError, match="no finished latents"):
        reader(planted).pick_inputs()
    with pytest.raises(ArtifactMismatchError, match=r"description only .split is validation.*\n.*--input"):
        reader(planted, (describing,)).pick_inputs()


def test_a_validation_run_does_not_hide_the_selection(planted):
    selecting = planted.build().run()
    describing = planted.run(split="validation")
    assert describing != selecting
    ctx = reader(planted)
    ctx.pick_inputs()
    assert ctx.read(handoffs.LATENTS).path == selecting
    for split in ("sae", "validation"):  # both are kept: neither is computed again
        with pytest.raises(Exception, match=str(selecting if split == "sae" else describing)):
            planted.run(split=split)
    lines = [line for line in status_lines((handoffs.LATENTS,), planted.data) if line.state == "built"]
    assert {line.path for line in lines} == {selecting, describing}


def test_validation_uses_the_samples_of_phase_1_2_where_there_are_any(planted):
    rng = np.random.default_rng(1)
    chance = [0.1 if label == "incorrect" else 0.8 for label in planted.labels]
    planted.temperature = {
        i: ["correct" if rng.random() < p else "incorrect" for _ in range(6)] for i, p in enumerate(chance)
    }
    planted.temperature[0][0] = "not_run"
    found = selected(planted.build().run(split="validation"))
    assert found["labels_from"] == "samples of phase 1.2" and found["left_out"] == {"not_run": 1}
    assert found["correct"] != round(found["correct"])
    assert place(found["directions"]["predict_incorrect"]["latents"][0]) == PLANTED
    assert selected(planted.run())["labels_from"] == "one greedy program per problem"


def test_validation_without_samples_uses_greedy_labels_and_says_so(planted, caplog):
    log = logging.getLogger("test_greedy")
    with caplog.at_level(logging.INFO, "test_greedy"):
        found = selected(planted.build().run(log, split="validation"))
    assert found["labels_from"] == "one greedy program per problem"
    assert "going on without temperature_samples: no finished" in caplog.text


def test_every_refusal_is_an_error_that_a_user_can_mend():
    for error in (ArtifactMismatchError, ConfigError, MissingArtifactError):
        assert issubclass(error, PipelineError)
    assert discovery.feeds_nothing(handoffs.SPLIT, discovery.RunFolder(None, True, {})) is None


def test_transcoders_are_refused():
    source = SaeSource(name="some-transcoders", identity="x", note="", kind="transcoder", ids={0: "a"})
    with pytest.raises(ConfigError, match=r"--sae some-transcoders .*transcoders.*\n.*--sae"):
        check_reads_the_residual_stream(source)
