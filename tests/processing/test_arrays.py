"""Arrays as pictures: grey, channels first or last, and what is no picture at all."""

import numpy as np
import pytest

from aimv2_np.processing.arrays import pixels_of_array


@pytest.mark.parametrize("shape", [(2, 10), (2, 10, 1), (1, 2, 10)])
def test_grey_arrays_are_repeated(shape):
    grey = np.arange(20, dtype=np.uint8).reshape(2, 10)
    expected = np.stack([grey] * 3, axis=-1)
    np.testing.assert_array_equal(pixels_of_array(grey.reshape(shape)), expected)


def test_an_open_shape_is_channels_first_unless_said():
    array = np.arange(3 * 4 * 3, dtype=np.uint8).reshape(3, 4, 3)
    with pytest.warns(UserWarning, match="may have its channels first or last"):
        first = pixels_of_array(array)
    np.testing.assert_array_equal(first, array.transpose(1, 2, 0))
    np.testing.assert_array_equal(pixels_of_array(array, input_data_format="channels_last"), array)
    with pytest.raises(ValueError, match=r"channels_first was asked for"):
        pixels_of_array(np.zeros((7, 7, 3)), input_data_format="channels_first")
    with pytest.raises(ValueError, match="input_data_format is 'CHW'"):
        pixels_of_array(array, input_data_format="CHW")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3, 3), dtype=bool), "dtype is bool"),
        (np.zeros((2, 3, 3), dtype=complex), "dtype is complex128"),
        (np.array([["a"]]), "dtype is <U1"),
        (np.array([[None]]), "dtype is object"),
        (np.zeros(3), r"shape is \(3,\)"),
        (np.array(3), r"shape is \(\)"),
        (np.zeros((1, 2, 3, 3)), r"shape is \(1, 2, 3, 3\)"),
        (np.zeros((2, 2, 2)), "expected 1, 3 or 4 channels"),
        (np.zeros((0, 5, 3)), "5 x 0 pixels"),
        (np.full((2, 2, 3), np.nan), "a pixel is NaN"),
        (np.full((2, 2, 3), np.inf, dtype=np.float16), "a pixel is NaN"),
        (np.full((2, 2, 3), -1e300), "infinite or beyond 1e\\+09"),
        (np.full((2, 2, 4), 7.0), "four channels of float64 from 7\\.0 to 7"),
    ],
)
def test_arrays_that_are_no_pictures(array, message):
    with pytest.raises(ValueError, match=message):
        pixels_of_array(array)
