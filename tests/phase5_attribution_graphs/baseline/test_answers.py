"""Covers log-probabilities of answers: batches, padding and lack of memory change nothing, whatever the model."""

import logging

import pytest
import torch
from architectures import small

from common.model.loading import load_model
from phase5_attribution_graphs.baseline import answers
from phase5_attribution_graphs.baseline.answers import Asked, read_answers

LOG = logging.getLogger("test")


def asked(n: int = 23) -> list[Asked]:
    """Prompts of 2 to 31 tokens with answers of 1 to 4, in no order."""
    random = torch.Generator().manual_seed(0)

    def tokens(n: int) -> list[int]:
        return torch.randint(4, 1000, (n,), generator=random).tolist()

    return [Asked([2, *tokens(1 + 7 * number % 30)], tokens(1 + number % 4)) for number in range(n)]


def alone(lm, one: Asked) -> list[float]:
    """By a plain forward pass of one row without padding."""
    with torch.no_grad():
        log_p = lm.model(torch.tensor([one.prompt + one.answer])).logits[0].float().log_softmax(-1)
    first = len(one.prompt) - 1
    return [float(log_p[first + number, token]) for number, token in enumerate(one.answer)]


@pytest.mark.parametrize("batch_size", [1, 7, 64])
@pytest.mark.parametrize("model", ["tiny gemma", "llama", "qwen2", "qwen3", "gpt2"])
def test_the_size_of_batches_changes_nothing(model, batch_size, tiny_gemma):
    lm = load_model(str(tiny_gemma), "cpu", threads=1) if model == "tiny gemma" else small(model)
    given = asked()
    found = read_answers(lm, given, batch_size, LOG)
    for one, log_p in zip(given, found, strict=True):
        assert log_p == pytest.approx(alone(lm, one), abs=1e-4) and len(log_p) == len(one.answer)


def test_what_does_not_fit_in_memory_is_read_in_parts(monkeypatch):
    lm, given, sizes = small("llama"), asked(), []
    whole, together = read_answers(lm, given, 64, LOG), answers._read_together

    def short_of_memory(lm, part):
        sizes.append(len(part))
        if len(part) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return together(lm, part)

    monkeypatch.setattr(answers, "_read_together", short_of_memory)
    found = read_answers(lm, given, 64, LOG)
    assert sizes[0] == len(given) and min(sizes) < 6
    for one, other in zip(whole, found, strict=True):
        assert one == pytest.approx(other, abs=1e-4)
