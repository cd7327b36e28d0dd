"""aimv2_np/processing/settings.py, and the image processor's fields that it checks."""

import math

import pytest

from aimv2_np.processing import Aimv2ImageProcessor
from aimv2_np.processing.settings import as_channels, as_crop, as_size


def test_a_number_is_the_shorter_edge_or_both():
    assert as_size(224, square=False) == {"shortest_edge": 224}
    assert as_size(224, square=True) == {"height": 224, "width": 224}


def test_a_pair_is_height_and_width():
    assert as_size([30, 40], square=False) == {"height": 30, "width": 40}
    assert as_crop((30, 40)) == {"height": 30, "width": 40}


@pytest.mark.parametrize(
    "value",
    [0, -1, 1.5, "224", None, True, [1], [1, 2, 3], {}, {"edge": 3}, {"height": 3}, {"height": 0, "width": 3},
     {"shortest_edge": 10**12}, {"shortest_edge": True}, {"height": "3", "width": 3}, {"shortest_edge": math.nan}],
)  # fmt: skip
def test_nonsense_sizes_are_named(value):
    with pytest.raises(ValueError, match=r"^(is|has the \w+) .*; expected"):
        as_size(value, square=False)


def test_a_crop_needs_both_edges():
    with pytest.raises(ValueError, match=r"^is .*; expected height and width"):
        as_crop({"shortest_edge": 3})


@pytest.mark.parametrize("value", [-1, 6, 3.0, "bicubic", True, None])
def test_nonsense_filters(value):
    with pytest.raises(ValueError, match=r"resample is .*; expected"):
        Aimv2ImageProcessor(resample=value)


@pytest.mark.parametrize("value", [0, 1, "true", None])
def test_flags_are_booleans(value):
    with pytest.raises(ValueError, match=r"do_resize is .*; expected"):
        Aimv2ImageProcessor(do_resize=value)


@pytest.mark.parametrize("value", [math.nan, math.inf, 10**400, 1e300, "1", True, None])
def test_factors_are_finite_numbers(value):
    with pytest.raises(ValueError, match=r"rescale_factor is .*; expected"):
        Aimv2ImageProcessor(rescale_factor=value)


def test_one_number_stands_for_three_channels():
    assert as_channels(0.5) == (0.5, 0.5, 0.5)
    assert as_channels([1, 2, 3]) == (1.0, 2.0, 3.0)


@pytest.mark.parametrize("value", [[1, 2], [1, 2, 3, 4], "abc", [1, 0, 1], [1, math.nan, 1], [1, None, 1], 1e-50])
def test_nonsense_deviations(value):
    with pytest.raises(ValueError, match=r"image_std .*; expected"):
        Aimv2ImageProcessor(image_std=value)
