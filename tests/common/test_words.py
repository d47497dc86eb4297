"""Covers words that several parts of the project share."""

from types import SimpleNamespace

import pytest

from common.words import roles_words


@pytest.mark.parametrize(
    ("latents", "words"),
    [
        ("", ""),
        ("ab", ""),
        ("abab", "2 latents, each in two roles"),
        ("aaaa", "one latent in 4 roles"),
        ("aab", "2 latents, 1 of them in several roles"),
    ],
)
def test_latents_that_directions_share_are_counted_once(latents, words):
    assert roles_words([SimpleNamespace(layer=3, latent=each) for each in latents]) == words
