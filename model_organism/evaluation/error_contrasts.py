"""Whether the model tells apart minimal pairs: on words, and on whole templates, that it never trained on.

*Both signs right*, of a pair: the first answer token of the right error has the higher logit, of the two
errors of the contrast, for either snippet. A model that looks up the template gets one of the two wrong.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.model.language_model import LanguageModel
from model_organism.error_snippets import NOTHING, ErrorSnippet
from model_organism.evaluation.graded_run import proportion
from model_organism.evaluation.held_out_answers import score_answers
from model_organism.minimal_pairs import (
    CONTRASTS,
    HELD_OUT_VOCABULARY,
    KNOWN_VOCABULARY,
    TEMPLATES,
    Vocabulary,
    sample_set,
)

SEED = 4343
N_PAIRS = 100


@dataclass(frozen=True)
class HeldOut:
    """What of a pair is kept out of training."""

    template: bool
    vocabulary: Vocabulary


GROUPS = {
    "words": HeldOut(False, HELD_OUT_VOCABULARY),
    "templates": HeldOut(True, KNOWN_VOCABULARY),
}


@dataclass(frozen=True)
class JudgedSet:
    """A minimal pair with its harmless snippet, if it has one, and what the model made of them."""

    template: str
    both_signs: bool
    against_nothing: bool | None
    is_greedy: tuple[bool, ...]


def error_contrasts(lm: LanguageModel, n_pairs: int = N_PAIRS) -> dict[str, dict]:
    """Per kind of what is held out, per contrast: proportions of `n_pairs` pairs, by template as well."""
    return {
        group: {contrast: _figures(judge(lm, sample_pairs(contrast, group, n_pairs))) for contrast in CONTRASTS}
        for group in GROUPS
    }


def sample_pairs(contrast: str, group: str, n_pairs: int) -> list[tuple[str, list[ErrorSnippet]]]:
    """Sets with the names of their templates, the templates in turn."""
    rng, held_out = random.Random(f"{SEED} {contrast} {group}"), GROUPS[group]
    templates = [row for row in TEMPLATES if row.contrast == contrast and row.is_held_out == held_out.template]
    chosen = [templates[index % len(templates)] for index in range(n_pairs)]
    return [(template.name, sample_set(rng, template, held_out.vocabulary)) for template in chosen]


def judge(lm: LanguageModel, sets: Sequence[tuple[str, list[ErrorSnippet]]]) -> list[JudgedSet]:
    """One forward pass per comparison of two answers."""
    comparisons = [comparison for _, snippets in sets for comparison in _comparisons(snippets)]
    scores = iter(score_answers(lm, comparisons))
    judged = []
    for template, snippets in sets:
        scores_of_set = [next(scores) for _ in _comparisons(snippets)]
        nothing = scores_of_set[2:]
        judged.append(
            JudgedSet(
                template,
                both_signs=scores_of_set[0].beats_wrong and scores_of_set[1].beats_wrong,
                against_nothing=all(score.beats_wrong for score in nothing) if nothing else None,
                is_greedy=tuple(score.is_greedy for score in scores_of_set[:3]),
            )
        )
    return judged


def _comparisons(snippets: Sequence[ErrorSnippet]) -> list[tuple[str, str, str]]:
    """(prompt, right, wrong): the pair both ways; then nothing against the first error, both ways."""
    first, second, *harmless = snippets
    compared = [(first, second), (second, first)]
    for snippet in harmless:
        assert snippet.error == NOTHING
        compared += [(snippet, first), (first, snippet)]
    return [(right.prompt, f" {right.error}", f" {wrong.error}") for right, wrong in compared]


def _figures(judged: Sequence[JudgedSet]) -> dict:
    nothing = [one.against_nothing for one in judged if one.against_nothing is not None]
    templates = dict.fromkeys(one.template for one in judged)
    return {
        "both_signs": proportion(np.array([one.both_signs for one in judged])),
        "against_nothing": proportion(np.array(nothing)),
        "greedy": proportion(np.array([is_greedy for one in judged for is_greedy in one.is_greedy])),
        "by_template": {
            name: proportion(np.array([one.both_signs for one in judged if one.template == name])) for name in templates
        },
    }
