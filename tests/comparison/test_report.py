"""Differences in words: numbers of two digits, and where the largest error lies."""

from math import inf, nan

import numpy as np
import pytest

from aimv2_np.comparison import compare
from aimv2_np.comparison.report import in_words, two_digits


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (1.234e-7, "1.2e-07"), (0.0344, "0.034"), (12.3, "12"), (123456.0, "1.2e+05"), (inf, "inf"),
        (nan, "nan"), (None, "-"),
    ],
)  # fmt: skip
def test_numbers(value, text):
    assert two_digits(value) == text


def test_the_place_of_the_largest_error():
    ours = np.ones((1, 3, 4), np.float32)
    theirs = ours.copy()
    theirs[0, 2, 1] = 1.5
    result = compare({"rms_norm": ours}, {"rms_norm": theirs})
    assert "at batch 0, token 2, channel 1" in in_words(result.first)
    assert in_words(result.first) in result.explanation


def test_infinite_numbers_are_counted():
    ours = np.ones((1, 3, 4), np.float32)
    theirs = ours.copy()
    theirs[0, 0, :2] = np.inf
    assert "2 numbers are infinite or NaN" in in_words(compare({"rms_norm": ours}, {"rms_norm": theirs}).first)


def test_sides_that_are_equal():
    arrays = {"rms_norm": np.ones((1, 3, 4), np.float32)}
    assert "differ by no more than rounding" in compare(arrays, arrays).explanation
