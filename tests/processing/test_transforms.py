import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aimv2_np.processing.transforms import (
    MAX_ENLARGED,
    are_fractions,
    center_crop,
    resize,
    resized_shape,
    shape_within,
    to_input,
)
from tests.support.pictures import photo_array

EDGE = st.integers(1, 3000)


@given(EDGE, EDGE, st.integers(1, 400))
def test_the_shorter_edge_becomes_what_was_asked_for(height, width, edge):
    assume(edge**2 * max(height, width) / min(height, width) <= MAX_ENLARGED)
    shape = resized_shape(height, width, {"shortest_edge": edge})
    assert min(shape) == edge
    assert (shape[0] <= shape[1]) == (height <= width) or shape[0] == shape[1]


@given(EDGE, EDGE, st.integers(1, 400), st.integers(1, 400))
def test_no_edge_is_longer_than_allowed_or_empty(height, width, a, b):
    shape = resized_shape(height, width, {"shortest_edge": min(a, b), "longest_edge": max(a, b)})
    assert min(shape) >= 1
    # As in Transformers, a picture is left as it is where its shorter edge is right once rounded: 1 x 3 within 2.
    assert max(shape) <= max(a, b) or shape == (height, width)
    shape = resized_shape(height, width, {"max_height": a, "max_width": b})
    assert min(shape) >= 1
    assert shape[0] <= a
    assert shape[1] <= b


def test_the_resized_picture_is_bounded():
    line = np.zeros((1, 10_000, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="once resized, is 20000000000 x 2000000"):
        resize(line, {"shortest_edge": 2_000_000}, 3)


def test_fractions_come_back_as_fractions():
    pixels = photo_array(20, 30)
    fractions = resize((pixels / 255 * 0.999).astype(np.float32), {"height": 10, "width": 10}, 3)
    whole = resize(pixels, {"height": 10, "width": 10}, 3)
    assert fractions.dtype == np.float32
    # Cut down to 8 bits before, rounded after: two grey levels at most.
    np.testing.assert_allclose(fractions * 255, whole, atol=2)


@pytest.mark.parametrize("pixels", [[-1.0, 3], [0, 256], [0.5, 1.5], [-0.1, 0.1]])
def test_numbers_that_are_no_colours(pixels):
    with pytest.raises(ValueError, match="expected whole numbers of 0 to 255 or fractions"):
        are_fractions(np.array(pixels))


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.integers(1, 12))
def test_the_crop_keeps_the_middle(height, width, crop_height, crop_width):
    """Position by position: what the crop shows lies at equal distance from both ends, to half a pixel."""
    pixels = np.arange(1, height * width * 3 + 1, dtype=np.int32).reshape(height, width, 3)
    crop = center_crop(pixels, crop_height, crop_width)
    assert crop.shape == (crop_height, crop_width, 3)
    top, left = (height - crop_height) // 2, (width - crop_width) // 2
    for y in range(crop_height):
        for x in range(crop_width):
            inside = 0 <= y + top < height and 0 <= x + left < width
            expected = pixels[y + top, x + left] if inside else np.zeros(3)
            np.testing.assert_array_equal(crop[y, x], expected)


def test_the_crop_is_bounded():
    with pytest.raises(ValueError, match="the crop is 1000000 x 1000000"):
        center_crop(np.zeros((2, 2, 3), dtype=np.uint8), 10**6, 10**6)


def test_to_input_is_its_equation():
    pixels = photo_array(5, 4)
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    expected = ((pixels / 255 - mean) / std).transpose(2, 0, 1)
    result = to_input(pixels, 1 / 255, mean, std)
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    # Three float32 roundings at magnitude 2: 3 × 2⁻²³ × 2.
    np.testing.assert_allclose(result, expected, rtol=0, atol=8e-7)
    np.testing.assert_array_equal(to_input(pixels, None, None, None), pixels.transpose(2, 0, 1))


def test_to_input_does_not_touch_its_argument():
    pixels = photo_array(5, 4).astype(np.float32)
    before = pixels.copy()
    to_input(pixels, None, (1, 1, 1), (2, 2, 2))
    np.testing.assert_array_equal(pixels, before)


def test_a_long_thin_picture_does_not_grow_without_bounds():
    with pytest.raises(ValueError, match="305834 pixels; expected at most"):
        resized_shape(16384, 12, {"shortest_edge": 224})
    assert resized_shape(5000, 5000, {"shortest_edge": 4999}) == (4999, 4999)  # not enlarged
    assert resized_shape(100, 100, {"shortest_edge": 4096}) == (4096, 4096)


@given(EDGE, EDGE, st.integers(1, 30), st.integers(1, 30), st.integers(1, 500))
def test_no_more_patches_than_allowed_and_the_same_proportions(height, width, ph, pw, most):
    h, w = shape_within(height, width, (ph, pw), most)
    assert h <= height
    assert w <= width
    assert (h // ph) * (w // pw) <= most
    if (height // ph) * (width // pw) <= most:
        assert (h, w) == (height, width)
    else:
        assert min(h // ph, w // pw) >= 1
        if min(h - ph, w - pw) > 0:  # no edge that was held at a patch
            assert abs(h * width - w * height) <= height + width  # each edge is rounded down by less than a pixel
