"""Covers how values travel from a program to the judge: exact types, caps, and hostile bytes."""

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

from common.sandbox.decoding import DecodeError, Opaque, OpaqueUse, decode, parse
from common.sandbox.encoding import MAX_DEPTH, MAX_ITEMS, encode
from common.sandbox.framing import pack, split_frames
from common.sandbox.judge import read_answers


def travelled(value):
    return decode(parse(json.dumps(encode(value)).encode()))


def same(one, other) -> bool:
    """Equal in value and in type, all the way down; NaN equals itself."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple | collections.deque):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, float):
        return (
            math.isnan(one) and math.isnan(other) or one == other and math.copysign(1, one) == math.copysign(1, other)
        )
    return one == other


hashable = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(), st.binary(), st.fractions(), st.dates(), st.timedeltas()
)
scalars = hashable | st.one_of(
    st.floats(), st.complex_numbers(allow_nan=False), st.decimals(allow_nan=False), st.datetimes(), st.times()
)
values = st.recursive(
    scalars | st.sets(hashable) | st.frozensets(hashable),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(hashable, inner)
        | st.lists(inner).map(collections.deque)
    ),
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
TAGS = "str int float complex bytes range list tuple set dict counter keys items decimal fraction date timedelta opaque"
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
    assert all(isinstance(nodes, list) for nodes in answers.values.values())


def test_frames_that_claim_more_than_there_is_are_left_out():
    assert split_frames(pack(["values", 0, [1]]) + b"\xff\xff\xff\xff{}") == [b'["values", 0, [1]]']


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


@pytest.mark.parametrize(
    "value", [list(range(MAX_ITEMS + 1)), itertools.count()], ids=["long list", "endless iterator"]
)
def test_a_value_beyond_the_cap_is_too_large(value):
    assert encode(value) == ["too_large"]


def test_a_value_nested_beyond_the_cap_is_too_large():
    nested = []
    for _ in range(MAX_DEPTH + 1):
        nested = [nested]
    assert encode(nested) == ["too_large"]


def test_the_numeric_tower_compares_as_in_python():
    assert travelled(fractions.Fraction(1, 2)) == 0.5 == travelled(decimal.Decimal("0.5"))
    assert travelled(10**400) == 10**400 and travelled(True) is True and type(travelled(1)) is int


def test_mappings_keep_their_rules_of_equality():
    assert travelled(collections.Counter("aab")) == collections.Counter(a=2, b=1, c=0)
    assert travelled(collections.OrderedDict(a=1, b=2)) != collections.OrderedDict(b=2, a=1)
    assert travelled(collections.defaultdict(list, a=[1])) == {"a": [1]}
    assert travelled({"a": 1}.items()) == {"a": 1}.items() and list(travelled({"a": 1}.values())) == [1]


def test_an_iterator_is_read_once_and_equals_no_list():
    squares = travelled(n * n for n in range(3))
    assert squares != [0, 1, 4] and list(squares) == [0, 1, 4] and list(squares) == []


def test_a_subclass_without_its_own_equality_is_sent_as_its_base():
    point = collections.namedtuple("point", "x y")
    colour = enum.IntEnum("colour", "RED")
    assert travelled(point(1, 2)) == (1, 2) and travelled(colour.RED) == 1


class EqualsAll(int):
    def __eq__(self, other):
        return True

    __hash__ = int.__hash__


def test_an_object_with_its_own_equality_equals_nothing():
    stranger = travelled(EqualsAll(3))
    with pytest.raises(OpaqueUse):
        _ = stranger == 3
    assert isinstance(stranger, Opaque) and stranger is not None


def test_a_set_of_opaque_objects_is_opaque_itself():
    assert isinstance(travelled({datetime.UTC}), Opaque)
    assert isinstance(travelled({EqualsAll(1): 2}), Opaque)


def test_text_with_lone_surrogates_survives():
    assert travelled("a\ud800b") == "a\ud800b"
