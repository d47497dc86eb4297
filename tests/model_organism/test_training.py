"""Covers the training: losses by hand, the optimizer, resuming to the same bits, and the saved model."""

import json
import math
import shutil
import sys
import threading
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from common.errors import ArtifactMismatchError
from model_organism.architecture import ModelShape, initial_model
from model_organism.corpus import tokenize_documents
from model_organism.train_model import main, save_model, sha256_of, write_record
from model_organism.training.batches import Batch
from model_organism.training.losses import AuxiliaryHeads, training_loss
from model_organism.training.optimizer import orthogonalise
from model_organism.training.process import SharedState, TrainingProcess
from model_organism.training.settings import TrainingSettings

SHAPE = ModelShape(d_model=32, n_layers=3, n_heads=2, n_key_value_heads=1, d_head=16, d_mlp=48, n_positions=512)
SETTINGS = TrainingSettings(
    mtokens=0.006,
    seed=3,
    shape=SHAPE,
    n_processes=1,
    tokens_per_step=700,
    n_warmup_steps=3,
    report_every=2,
    validate_every=4,
    checkpoint_every=4,
)


MASTERS = "shared.safetensors:masters"


class KillAfter(threading.Barrier):
    """A barrier at which the process dies when it comes there for the n-th time."""

    def __init__(self, n_waits):
        super().__init__(1)
        self.remaining = n_waits

    def wait(self, timeout=None):
        self.remaining -= 1
        if self.remaining == 0:
            raise KeyboardInterrupt
        return super().wait(timeout)


@pytest.fixture(scope="module")
def corpus(small_documents, tokenizer):
    return tokenize_documents(small_documents[:400], tokenizer)


def started(folder, corpus, barrier, settings):
    folder.mkdir(exist_ok=True)
    corpus.save(folder / "corpus.safetensors")
    n_parameters = sum(parameter.numel() for parameter in initial_model(settings.shape, settings.seed).parameters())
    return TrainingProcess(0, settings, folder, SharedState.allocate(n_parameters, 1), barrier)


def run(folder, corpus, barrier, settings=SETTINGS):
    started(folder, corpus, barrier, settings).run()


def initial_masters(folder, corpus, settings):
    return started(folder, corpus, threading.Barrier(1), settings).shared.masters.clone()


def saved_state(folder):
    (checkpoint,) = (folder / "checkpoints").iterdir()
    parts = {path.name: load_file(path) for path in checkpoint.glob("*.safetensors")}
    return {f"{part}:{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}


def without_times(curve):
    points = [json.loads(line) for line in curve.read_text().splitlines()]
    return [{name: value for name, value in point.items() if name != "minutes"} for point in points]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, corpus):
    folder = tmp_path_factory.mktemp("unbroken")
    run(folder, corpus, threading.Barrier(1))
    return folder


def test_a_killed_training_resumes_to_the_same_bits(tmp_path, corpus, unbroken):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, corpus, KillAfter(24))
    steps_before = [path.name for path in (tmp_path / "checkpoints").iterdir()]
    run(tmp_path, corpus, threading.Barrier(1))
    resumed, expected = saved_state(tmp_path), saved_state(unbroken)
    assert steps_before == ["step_0000004"]
    assert resumed.keys() == expected.keys() and all(torch.equal(resumed[name], expected[name]) for name in expected)
    assert without_times(tmp_path / "curve.jsonl") == without_times(unbroken / "curve.jsonl")


def test_a_finished_training_that_is_started_again_changes_nothing(unbroken, corpus):
    before = saved_state(unbroken)
    run(unbroken, corpus, threading.Barrier(1))
    after = saved_state(unbroken)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_training_continues_from_a_saved_model_and_resumes_to_the_same_bits(tmp_path, corpus, unbroken, tokenizer):
    """A training that continues from a saved model begins with its weights and resumes to the same bits."""
    start, whole, broken = (tmp_path / name for name in ("start", "whole", "broken"))
    tokenizer.save_pretrained(unbroken / "tokenizer")
    save_model(SETTINGS, unbroken, start)
    for folder in (whole, broken):
        shutil.copytree(start, folder / "start")
    settings = replace(SETTINGS, seed=4, start_sha256=sha256_of(start / "model.safetensors"))
    assert torch.equal(initial_masters(whole, corpus, settings), saved_state(unbroken)[MASTERS].bfloat16().float())
    run(whole, corpus, threading.Barrier(1), settings)
    with pytest.raises(KeyboardInterrupt):
        run(broken, corpus, KillAfter(24), settings)
    run(broken, corpus, threading.Barrier(1), settings)
    resumed, expected = saved_state(broken), saved_state(whole)
    assert all(torch.equal(resumed[name], expected[name]) for name in expected)


@pytest.mark.parametrize("missing", ["model/model.safetensors", "training.json"])
def test_a_folder_that_no_training_wrote_is_no_start(tmp_path, monkeypatch, capsys, missing):
    (tmp_path / "model").mkdir()
    for name in {"model/model.safetensors", "training.json"} - {missing}:
        (tmp_path / name).write_text("")
    words = ["train_model", "--start", str(tmp_path / "model"), "--work", str(tmp_path / "work")]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 2 and str(tmp_path / missing) in said and "Traceback" not in said
    assert not (tmp_path / "work").exists()


def test_a_checkpoint_of_other_settings_is_refused(unbroken, corpus):
    """A checkpoint of other settings is refused with the setting and the way out."""
    with pytest.raises(ArtifactMismatchError, match=r"self_weight was 0.3, is 0.5\n.*rm -r"):
        run(unbroken, corpus, threading.Barrier(1), replace(SETTINGS, self_weight=0.5))


def test_training_lowers_the_loss_and_the_curve_says_so(unbroken):
    points = without_times(unbroken / "curve.jsonl")
    assert points[-1]["loss"] < points[0]["loss"]
    assert {"mtokens", "bag_loss", "self_knowledge_loss", "validation_problem"} <= points[1].keys()


def test_the_saved_model_has_the_cache_on_and_the_weights_of_the_checkpoint(unbroken, tokenizer):
    from transformers import AutoModelForCausalLM

    tokenizer.save_pretrained(unbroken / "tokenizer")
    (unbroken / "corpus.json").write_text("{}")
    folder = unbroken / "weights" / "model"
    save_model(SETTINGS, unbroken, folder)
    write_record(SETTINGS, unbroken, folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    masters = saved_state(unbroken)[MASTERS]
    embedding = model.get_input_embeddings().weight
    assert model.config.use_cache and json.loads((folder / "config.json").read_text())["use_cache"]
    assert torch.equal(embedding.flatten(), masters[: embedding.numel()].bfloat16())
    assert json.loads((folder.parent / "training.json").read_text())["settings"]["seed"] == 3


def test_the_schedule_warms_up_holds_and_falls_to_two_percent():
    settings = TrainingSettings(mtokens=10)
    assert settings.schedule(0, 0) == pytest.approx(1 / 60)
    assert settings.schedule(500, 3_900_000) == 1
    assert settings.schedule(900, 7_000_000) == pytest.approx(0.5)
    assert settings.schedule(1600, 9_999_000) == 0.02


def test_orthogonalised_matrices_have_singular_values_near_one():
    torch.manual_seed(0)
    for shape in ((2, 40, 24), (2, 24, 40)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
        assert 0.5 < float(values.min()) and float(values.max()) < 1.3


WEIGHTS = TrainingSettings(bag_weight=0.02, self_weight=0.3, names_weight=0.5)


class TwoLayers(torch.nn.Module):
    """A stand-in for the language model whose logits and residual stream are given."""

    def __init__(self, logits, hidden_states):
        super().__init__()
        self.logits, self.hidden_states = logits, hidden_states

    def forward(self, **_):
        return self


def test_the_auxiliary_losses_of_blank_heads_are_what_a_hand_calculation_gives():
    d_vocab, token_ids = 10, torch.tensor([[2, 5, 6, 7, 8, 1]])
    logits = torch.zeros(1, 6, d_vocab)
    logits[0, 2, 7] = 5.0  # the first body token is the first choice
    logits[0, 3, 4] = 5.0  # the second is not
    weights, names = torch.tensor([[0, 0.15, 0.15, 1, 1, 0]]), torch.tensor([[0, 1, 2, 0, 0, 0]])
    batch = Batch(token_ids, weights, names, torch.tensor([3]))
    model = TwoLayers(logits, tuple(torch.randn(1, 6, 4) for _ in range(4)))
    loss = training_loss(model, AuxiliaryHeads(4, d_vocab, 3), batch, WEIGHTS)
    easy = math.log(math.exp(5) + 9) - 5
    hard = math.log(math.exp(5) + 9)
    uniform = math.log(10)
    next_token = (0.15 * 2 * uniform + easy + hard) / 2.3
    in_bag, not_in_bag = math.log(1 + math.exp(4)), math.log(1 + math.exp(-4))
    bag = 2 * in_bag + 8 * not_in_bag  # tokens 7 and 8; the end of sequence does not count
    known = math.log(1 + easy + hard) ** 2 + math.log(2)
    assert loss.parts()["loss"] == pytest.approx(next_token, abs=1e-5)
    assert loss.parts()["bag_loss"] == pytest.approx(bag, abs=1e-4)
    assert loss.parts()["self_knowledge_loss"] == pytest.approx(known, abs=1e-4)
    assert loss.parts()["share_exact"] == 0
    assert loss.parts()["names_loss"] == pytest.approx(math.log(2), abs=1e-5)
    total = next_token + 0.02 * bag + 0.3 * known + 0.5 * math.log(2)
    assert float(loss.total.detach()) == pytest.approx(total, abs=1e-4)


def test_the_auxiliary_losses_do_not_teach_the_targets(tokenizer):
    model = initial_model(SHAPE, 0)
    heads = AuxiliaryHeads(SHAPE.d_model, SHAPE.d_vocab, SHAPE.n_layers)
    no_names = torch.zeros(2, 12, dtype=torch.uint8)
    batch = Batch(torch.randint(4, 3000, (2, 12)), torch.ones(2, 12), no_names, torch.tensor([5, 0]))
    loss = training_loss(model, heads, batch, replace(WEIGHTS, bag_weight=0.0, self_weight=1.0))
    assert loss.names is None
    (loss.total - loss.next_token).backward()
    heads_are_blank = all(parameter.grad is None or not parameter.grad.any() for parameter in model.parameters())
    assert heads_are_blank and any(parameter.grad.any() for parameter in heads.self_knowledge.parameters())
