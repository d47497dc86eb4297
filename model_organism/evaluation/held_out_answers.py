"""How often the model answers held-out items of the other tasks rightly: error types and behaviours."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from common.model.language_model import LanguageModel
from model_organism.behaviours import BEHAVIOURS, sample_item
from model_organism.error_snippets import ERROR_WEIGHTS, sample_snippet
from model_organism.evaluation.graded_run import proportion
from model_organism.problems import EVALUATION

N_SNIPPETS = 400
N_ITEMS = 400
N_DRAWS = 3000
SEED = 4242
BATCH = 64
# Several words would be right after these prompts, so the right one is compared with the wrong one.
COMPARED_WITH_WRONG = frozenset({"agreement", "sentiment"})


@dataclass(frozen=True)
class AnswerScore:
    """Whether greedy decoding gives the right completion; whether its first token beats the wrong one's."""

    is_greedy: bool
    beats_wrong: bool


def error_type_accuracy(lm: LanguageModel) -> dict:
    """Share of different held-out failing snippets whose error the model names, overall and by error."""
    rng = random.Random(SEED)
    drawn = {snippet.code: snippet for snippet in (sample_snippet(rng, EVALUATION) for _ in range(N_DRAWS))}
    snippets = list(drawn.values())[:N_SNIPPETS]
    answers = [(snippet.prompt, f" {snippet.error}", " TypeError") for snippet in snippets]
    is_right = np.array([score.is_greedy for score in score_answers(lm, answers)])
    errors = np.array([snippet.error for snippet in snippets])
    by_error = {error: proportion(is_right[errors == error]) for error in ERROR_WEIGHTS if error in errors}
    return {**proportion(is_right), "by_error": by_error}


def behaviour_accuracies(lm: LanguageModel) -> dict[str, dict]:
    """Share of different held-out items answered rightly, per behaviour; capitals have fewer than `N_ITEMS`."""
    accuracies = {}
    for behaviour in BEHAVIOURS:
        rng = random.Random(f"{SEED} {behaviour}")
        drawn = {item.prompt: item for item in (sample_item(rng, behaviour, EVALUATION) for _ in range(N_DRAWS))}
        items = list(drawn.values())[:N_ITEMS]
        scores = score_answers(lm, [(item.prompt, item.correct, item.incorrect) for item in items])
        compared = behaviour in COMPARED_WITH_WRONG
        is_right = np.array([score.beats_wrong if compared else score.is_greedy for score in scores])
        judged = "right above wrong" if compared else "greedy"
        accuracies[behaviour] = {**proportion(is_right), "judged_by": judged}
    return accuracies


@torch.no_grad()
def score_answers(lm: LanguageModel, answers: Sequence[tuple[str, str, str]]) -> list[AnswerScore]:
    """Scores of (prompt, right completion, wrong completion), from one forward pass each.

    A completion is what greedy decoding gives exactly if, with it in place, each of its tokens is
    the model's first choice.
    """
    encoded = [
        (
            lm.tokenizer(prompt)["input_ids"],
            lm.tokenizer(right, add_special_tokens=False)["input_ids"],
            lm.tokenizer(wrong, add_special_tokens=False)["input_ids"],
        )
        for prompt, right, wrong in answers
    ]
    scores = []
    for start in range(0, len(encoded), BATCH):
        batch = encoded[start : start + BATCH]
        longest = max(len(prompt) + len(right) for prompt, right, _ in batch)
        token_ids = torch.full((len(batch), longest), lm.pad_token_id)
        for row, (prompt, right, _) in enumerate(batch):
            token_ids[row, : len(prompt) + len(right)] = torch.tensor(prompt + right)
        # Padding on the right cannot be seen by the positions that are read.
        logits = lm.model(input_ids=token_ids.to(lm.device)).logits.float().cpu()
        scores += [_score(row, *lengths) for row, lengths in zip(logits, batch, strict=True)]
    return scores


def _score(logits: torch.Tensor, prompt: list[int], right: list[int], wrong: list[int]) -> AnswerScore:
    first = len(prompt) - 1
    choices = logits[first : first + len(right)].argmax(-1).tolist()
    differing = next((index for index, pair in enumerate(zip(right, wrong, strict=False)) if pair[0] != pair[1]), 0)
    compared = logits[first + differing]
    return AnswerScore(choices == right, bool(compared[right[differing]] > compared[wrong[differing]]))
