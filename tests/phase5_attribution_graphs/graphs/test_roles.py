"""Covers what a position is to its prompt (phase5_attribution_graphs/graphs/roles.py)."""

import pytest

from common.model.loading import load_model
from phase5_attribution_graphs.graphs.roles import roles_of


@pytest.fixture(scope="module")
def lm():
    return load_model("organism", "cpu", "float32")


def roles(lm, prompt: str, entity: str) -> list[str]:
    return roles_of(lm, lm.tokenizer(prompt)["input_ids"], entity)


def test_the_first_and_the_last_position_have_roles_of_their_own(lm):
    found = roles(lm, "The capital of France is", "France")
    assert found[0] == "first"
    assert found[-1] == "last"


def test_entities_of_different_lengths_end_at_the_same_role(lm):
    short, long = (roles(lm, f"The capital of {name} is", name) for name in ("France", "Atlantis and Wonderland"))
    assert len(short) != len(long)
    assert "entity" in short and "entity" in long
    assert short[: short.index("entity")][:4] == long[:4]
    assert [role for role in long if role.startswith("entity, ")]


def test_a_template_word_that_stands_twice_is_numbered(lm):
    found = roles(lm, "The old farmers near the dog by the old", "dog")
    assert [role for role in found if role.startswith('" the"')] == ['" the"', '" the" 2']


def test_an_entity_that_is_not_in_the_text_has_no_position(lm):
    assert "entity" not in roles(lm, "The capital of France is", "Atlantis")
    assert "entity" not in roles(lm, "The capital of France is", "")
