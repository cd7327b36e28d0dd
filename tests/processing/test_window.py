import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from aimv2_np.processing import Aimv2ImageProcessor
from aimv2_np.processing.window import FILTERS, resize_window

LAST = {"input_data_format": "channels_last"}
SHORT, LONG, MORE = st.integers(1, 12), st.integers(1, 400), st.integers(0, 300)


def some_of(size: int) -> st.SearchStrategy[range]:
    return st.tuples(st.integers(0, size - 1), st.integers(1, 50)).map(
        lambda span: range(span[0], min(size, sum(span)))
    )


@given(st.data(), st.sampled_from(list(FILTERS)), SHORT, LONG, MORE, MORE, st.booleans(), st.integers(0, 2**32))
def test_a_window_is_what_pillow_has_there(data, resample, short, long, down, right, turned, seed):
    height, width = (long, short) if turned else (short, long)
    shape = height + down, width + right
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    rows, columns = data.draw(some_of(shape[0])), data.draw(some_of(shape[1]))
    whole = np.asarray(Image.fromarray(pixels).resize(shape[::-1], Image.Resampling(resample)))
    window = resize_window(pixels, shape, rows, columns, resample)
    np.testing.assert_array_equal(window, whole[rows.start : rows.stop, columns.start : columns.stop])


@pytest.mark.parametrize("shape", [(1, 300), (300, 1), (2, 2500), (3, 40_000)])
def test_a_long_picture_is_its_middle(shape):
    """What lies far beyond the crop changes nothing: neither the result nor what it takes."""
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    processor = Aimv2ImageProcessor(size=336, crop_size=336)
    tracemalloc.start()
    result = processor(pixels, **LAST)["pixel_values"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result.shape == (1, 3, 336, 336)
    middle = tuple(slice(max(0, size // 2 - 8), size // 2 + 8) for size in shape)
    # Centres move by a rounding, so a pixel may by one: 1/255 over the smallest standard deviation, 0.26.
    np.testing.assert_allclose(processor(pixels[middle], **LAST)["pixel_values"], result, rtol=0, atol=0.016)
    assert peak < 20 * result.nbytes + 20 * pixels.nbytes


def test_pillow_resizes_what_shrinks_and_windows_what_grows_alike(monkeypatch):
    from aimv2_np.processing import transforms

    pixels = np.random.default_rng(1).integers(0, 256, (9, 200, 3), np.uint8)
    processor = Aimv2ImageProcessor(size=30, crop_size={"height": 40, "width": 20})
    windowed = processor(pixels)["pixel_values"]
    monkeypatch.setattr(transforms, "MOST_DISCARDED", 10**9)
    np.testing.assert_array_equal(processor(pixels)["pixel_values"], windowed)
