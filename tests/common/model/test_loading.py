"""Covers common/model/loading.py and common/model/registry.py: names, identities, number types, and models that
cannot be had.
"""

import json
import platform
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.numpy import load_file, save_file
from support import cold_command
from tiny_models import save_tiny_llama

from common.errors import AssetError, ConfigError
from common.model.loading import load_model
from common.model.registry import MODELS, default_dtype, model_identity, model_location, shown_name


def test_a_hub_id_is_its_identity_and_a_folder_its_content(tiny_gemma, tmp_path):
    """A hub id is its own identity and a folder is known by its content."""
    assert model_identity("google/gemma-2-2b") == "google/gemma-2-2b"
    copy = shutil.copytree(tiny_gemma, tmp_path / tiny_gemma.name)
    assert model_identity(str(copy)) == model_identity(str(tiny_gemma))
    (copy / "config.json").write_text((copy / "config.json").read_text() + " ")
    model_identity.cache_clear()
    assert model_identity(str(copy)) != model_identity(str(tiny_gemma))


def test_what_is_handed_on_says_a_folders_name_and_not_where_it_lies(tmp_path):
    (tmp_path / "coder").mkdir()
    assert (
        shown_name(str(tmp_path / "coder")) == shown_name(f"{tmp_path}/coder/") == shown_name("/gone/coder") == "coder"
    )
    assert [shown_name(name) for name in ("organism", "google/gemma-2-2b")] == ["organism", "google/gemma-2-2b"]


@pytest.mark.parametrize("name", ["gemma", "a/b/c", "/nowhere/at/all", "", "../x"])
def test_a_name_that_is_no_model_is_refused_with_the_known_ones(name):
    with pytest.raises(ConfigError, match="organism, google/gemma-2-2b"):
        model_location(name)


def test_number_types_follow_the_device():
    assert default_dtype("google/gemma-2-2b", "cuda") == "bfloat16"
    assert default_dtype("google/gemma-2-2b", "cpu") == "float32"
    assert default_dtype("someone/else", "cuda") == "bfloat16"


def test_a_loaded_model_is_ready_for_inference(tiny_gemma):
    lm = load_model(str(tiny_gemma), "cpu", "bfloat16", threads=1)
    assert (lm.n_layers, lm.d_model, lm.context_length) == (4, 64, 512)
    assert lm.model.dtype == torch.bfloat16 and not lm.model.training
    assert lm.end_of_sequence_ids == {1} and lm.tokenizer.padding_side == "left"
    assert not any(parameter.requires_grad for parameter in lm.model.parameters())


@pytest.mark.parametrize("n_rows", [1, 3])
def test_the_unembedding_reads_last_positions_in_one_piece(tiny_gemma, n_rows):
    """With other strides, torch's product in bfloat16 takes hundreds of times as long."""
    lm = load_model(str(tiny_gemma), "cpu")
    seen = []
    hook = lm.model.get_output_embeddings().register_forward_hook(lambda _head, args, _out: seen.append(args[0]))
    with torch.inference_mode():
        lm.model(torch.full((n_rows, 5), 3), logits_to_keep=1)
    hook.remove()
    assert [resid.stride() for resid in seen] == [(lm.d_model, lm.d_model, 1)]


def damage_model(folder, kind: str) -> None:
    weights = folder / "model.safetensors"
    if kind == "no weights":
        weights.unlink()
    elif kind == "bad config":
        (folder / "config.json").write_text("{")
    elif kind == "bad weights":
        weights.write_bytes(b"\x00" * 100)
    elif kind == "a layer without weights":
        arrays = {name: array for name, array in load_file(weights).items() if ".layers.2." not in name}
        save_file(arrays, weights, metadata={"format": "pt"})
    elif kind == "weights of another layer more":
        config = json.loads((folder / "config.json").read_text())
        config.update(num_hidden_layers=3, layer_types=config["layer_types"][:3])
        (folder / "config.json").write_text(json.dumps(config))
    elif kind == "config that is a list":
        (folder / "config.json").write_text("[]")
    elif kind == "weights of another shape":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 96}))
    elif kind == "pickled weights":
        torch.save({name: torch.from_numpy(a) for name, a in load_file(weights).items()}, folder / "pytorch_model.bin")
        weights.unlink()
    elif kind == "no tokenizer":
        for path in folder.glob("token*"):
            path.unlink()
    elif kind == "nothing":
        shutil.rmtree(folder)
        folder.mkdir()


@pytest.mark.parametrize(
    "kind",
    [
        "nothing",
        "no weights",
        "bad config",
        "config that is a list",
        "bad weights",
        "a layer without weights",
        "weights of another layer more",
        "weights of another shape",
        "pickled weights",
        "no tokenizer",
    ],
)
def test_a_folder_that_holds_no_whole_model_is_one_message(tiny_gemma, tmp_path, kind):
    folder = Path(shutil.copytree(tiny_gemma, tmp_path / "model"))
    damage_model(folder, kind)
    with pytest.raises(AssetError, match=rf"{folder}(.|\n)*\n.*\(config, safetensors, tokenizer\)"):
        load_model(str(folder), "cpu")


def test_a_reason_that_its_first_line_only_announces_is_told_whole(tmp_path):
    folder = save_tiny_llama(tmp_path)
    damage_model(folder, "no tokenizer")
    with pytest.raises(AssetError, match="backend tokenizer.*: .*serialization"):
        load_model(str(folder), "cpu")


def test_a_hub_id_that_cannot_be_had_says_how_to_get_it():
    with pytest.raises(AssetError, match=r"'nobody/nothing' (.|\n)*hf download nobody/nothing(.|\n)*--preset demo"):
        load_model("nobody/nothing", "cpu")


def test_every_registry_row_can_be_named():
    assert all(model_location(name) for name in MODELS)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has ways of its own")
def test_memory_that_was_freed_is_used_again_without_asking_the_kernel():
    """In a process of its own: what the C library is told, it cannot be told to forget."""
    source = (
        "import resource, torch\n"
        "from common.model.freed_memory import keep_freed_memory\n"
        "def faults():\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    for _ in range(20):\n"
        "        tensors = [torch.ones(12 * 2**18) for _ in range(6)]\n"  # of 12 MiB each
        "        del tensors\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
        "without = faults()\n"
        "keep_freed_memory()\n"
        "faults()\n"
        "print(without, faults())\n"
    )
    done = cold_command("-c", source)
    without, kept = map(int, done.stdout.split())
    assert kept < without / 2, done.stderr
