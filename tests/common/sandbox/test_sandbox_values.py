"""Covers how plain values travel from a program to the judge: exact types, caps, and hostile bytes."""

import collections
import datetime
import decimal
import enum
import fractions
import itertools
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.sandbox.decoding import DecodeError, decode, parse
from common.sandbox.encoding import MAX_DEPTH, MAX_ITEMS, NOT_PLAIN, encode
from common.sandbox.framing import pack, split_frames
from common.sandbox.judge import read_answers


def travelled(value):
    return decode(parse(json.dumps(encode(value)).encode()))


def same(one, other) -> bool:
    """Equal in value and in type, all the way down; NaN equals itself."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, float):
        return (
            math.isnan(one) and math.isnan(other) or one == other and math.copysign(1, one) == math.copysign(1, other)
        )
    return one == other


hashable = st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.binary())
scalars = hashable | st.floats() | st.complex_numbers(allow_nan=False)
values = st.recursive(
    scalars | st.sets(hashable) | st.frozensets(hashable),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(hashable, inner),
    max_leaves=20,
)


@given(values)
def test_a_value_arrives_with_its_exact_type(value):
    assert same(travelled(value), value)


@given(st.binary(max_size=300))
def test_junk_bytes_never_break_the_judge(data):
    answers = read_answers(data)
    assert answers.failed is None or isinstance(answers.failed, tuple)


json_junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)
TAGS = "str int float complex bytes list tuple set frozenset dict not_plain opaque"
tagged_junk = st.recursive(
    json_junk,
    lambda inner: st.builds(lambda tag, body: [tag, *body], st.sampled_from(TAGS.split()), st.lists(inner, max_size=3)),
)


@given(tagged_junk)
@settings(max_examples=300)
def test_junk_that_looks_like_values_is_a_value_or_a_decode_error(node):
    try:
        value = decode(node)
    except DecodeError:
        return
    assert type(travelled(value)) is type(value)  # a value that a program could have sent


@given(json_junk)
def test_junk_messages_are_never_an_answer_of_another_shape(message):
    answers = read_answers(pack(message))
    assert (answers.values, answers.raised, answers.failed) == ({}, {}, None)


def test_the_first_answer_to_a_test_counts():
    messages = [["value", 0, 1], ["value", 0, 2], ["raised", 1, "TypeError", "Mine", "no"], ["value", 1, 3]]
    answers = read_answers(b"".join(map(pack, messages)))
    assert answers.values == {0: 1, 1: 3} and answers.raised == {1: ("TypeError", "Mine", "no")}
    assert answers.failed is None and answers.broken is None


@pytest.mark.parametrize(
    "message",
    [
        ["value", "0", 1],
        ["value", 0],
        ["values", 0, [1]],
        ["raised", 0, "TypeError", "Mine"],
        ["failed", 1, "", "", ""],
    ],
)
def test_a_message_of_another_shape_ends_the_reading(message):
    answers = read_answers(pack(["value", 0, 7]) + pack(message) + pack(["value", 1, 8]))
    assert answers.values == {0: 7} and answers.broken == "the answer is no message of the sandbox"


def test_a_program_that_did_not_run_has_no_later_answers():
    failed = ["failed", "run", "NameError", "NameError", "name 'x' is not defined"]
    answers = read_answers(pack(failed) + pack(["value", 0, 1]))
    assert answers.failed == tuple(failed[1:]) and answers.values == {}


def test_frames_that_claim_more_than_there_is_are_left_out():
    assert split_frames(pack(["value", 0, 1]) + b"\xff\xff\xff\xff{}") == [b'["value", 0, 1]']


@pytest.mark.parametrize("tower", [b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 50_000])
def test_a_tower_of_brackets_is_refused(tower):
    with pytest.raises(DecodeError):
        decode(parse(tower))


def test_a_number_with_too_many_digits_is_refused():
    with pytest.raises(DecodeError):
        parse(b"9" * 100_000)


def test_too_many_parts_are_refused_before_they_cost_memory():
    with pytest.raises(DecodeError, match="too many parts"):
        parse(b"[" + b"[]," * 4_000_000 + b"[]]")


def test_a_value_beyond_the_cap_is_not_plain():
    nested = []
    for _ in range(MAX_DEPTH + 1):
        nested = [nested]
    assert encode(list(range(MAX_ITEMS + 1))) == encode(nested) == NOT_PLAIN


@pytest.mark.parametrize("node", [["list", [0] * (MAX_ITEMS + 1)], ["set", [["list", []]]], ["dict", [[1]]], [], [1]])
def test_a_node_that_no_encoder_writes_is_refused(node):
    with pytest.raises(DecodeError):
        decode(node)


def test_a_tower_of_lists_is_refused():
    node = 0
    for _ in range(MAX_DEPTH + 1):
        node = ["list", [node]]
    with pytest.raises(DecodeError, match="levels"):
        decode(node)


def test_numbers_keep_their_class():
    assert travelled(10**400) == 10**400 and travelled(True) is True and type(travelled(1)) is int
    assert type(travelled(1.0)) is float and type(travelled(1 + 0j)) is complex


class Mine(int):
    pass


class EqualsAll(int):
    def __eq__(self, other):
        return True

    __hash__ = int.__hash__


@pytest.mark.parametrize(
    "value",
    [
        Mine(1),
        EqualsAll(3),
        collections.namedtuple("point", "x y")(1, 2),
        enum.IntEnum("colour", "RED").RED,  # type: ignore[attr-defined]
        collections.Counter("aab"),
        collections.OrderedDict(a=1),
        collections.defaultdict(list),
        collections.deque(),
        {"a": 1}.items(),
        range(3),
        iter([1]),
        itertools.count(),
        (n * n for n in range(3)),
        fractions.Fraction(1, 2),
        decimal.Decimal("0.5"),
        datetime.date(2020, 1, 2),
        object(),
        int,
        len,
        ...,
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_of_another_class_is_not_plain_wherever_it_stands(value):
    assert encode(value) == encode([value]) == encode({"a": (value,)}) == NOT_PLAIN


def test_text_with_lone_surrogates_survives():
    assert travelled("a\ud800b") == "a\ud800b"
