"""aimv2_np/config/fields.py"""

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.config.fields import MAX_SIZE, activation, boolean, checked, integer, number, pixels
from aimv2_np.errors import mismatch
from aimv2_np.network.activations import ACTIVATIONS


def check(item, value):
    return item.metadata["check"](value)


def refuses(item, value):
    with pytest.raises(ValueError, match="expected"):
        check(item, value)


@given(value=st.integers(1, MAX_SIZE))
def test_integers_within_limits_are_kept_and_numpy_ones_made_plain(value):
    assert check(integer(1), value) == value
    assert type(check(integer(1), np.int64(value))) is int


@pytest.mark.parametrize("value", [0, -1, MAX_SIZE + 1, 10**4000, True, 8.0, "8", None, [8], np.bool_(True), math.nan])
def test_what_is_no_size_is_refused(value):
    refuses(integer(1), value)
    refuses(checked(1, pixels), value)


@given(value=st.floats(0, 1))
def test_numbers_are_kept_as_floats(value):
    assert check(number(0.0, 0.0, 1.0), value) == value
    assert type(check(number(0.0), 1)) is float
    assert type(check(number(0.0), np.float32(0.5))) is float
    assert check(number(0.0), Fraction(1, 2)) == 0.5


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, -0.1, 1.1, True, "0.5", None, 1j])
def test_what_is_no_number_within_limits_is_refused(value):
    refuses(number(0.0, 0.0, 1.0), value)


@pytest.mark.parametrize("value", [0, 1, "true", None, np.bool_(True)])
def test_only_true_and_false_are_booleans(value):
    refuses(boolean(True), value)


def test_pairs_are_height_and_width_and_squares_one_number():
    assert check(checked(1, pixels), [28, 56]) == (28, 56)
    assert check(checked(1, pixels), (28, 28)) == 28
    assert check(checked(1, pixels), 28) == 28
    for value in ([], [1], [1, 2, 3], [0, 2], [2, True], [[1], 2], {1: 2}):
        refuses(checked(1, pixels), value)


def test_every_fixed_activation_of_transformers_is_known():
    assert len(ACTIVATIONS) == len(set(ACTIVATIONS)) == 21
    assert all(check(checked("silu", activation), name) == name for name in ACTIVATIONS)
    for value in ("prelu", "xielu", "SiLU", "", None, ["silu"]):
        refuses(checked("silu", activation), value)


def test_messages_do_not_grow_with_the_value():
    assert len(mismatch("x" * 10**6, "y")) < 120
    assert mismatch(3, "4") == "is 3; expected 4"


def test_the_default_is_the_fields():
    kind = dataclasses.make_dataclass("Kind", [("size", int, integer(7))])
    assert kind().size == 7


def test_an_integer_that_python_does_not_print_is_described():
    with pytest.raises(ValueError, match="an integer of 33220 bits"):
        check(integer(1), 10**10_000)
