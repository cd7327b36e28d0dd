"""aimv2_np/comparison/diagnosis/half.py: what float16 makes of a number."""

import numpy as np
import pytest

from aimv2_np.comparison.diagnosis.half import overflowed


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_what_float16_does_not_have_is_infinite(dtype):
    largest = [0.0, 1e-7, -65504.0, 65504.0]
    np.testing.assert_array_equal(overflowed(np.array(largest, dtype)), np.array(largest, dtype))
    if dtype != "float16":
        beyond = np.array([65519.0, -65519.0, 65520.0, -65520.0, 1e30], dtype)
        np.testing.assert_array_equal(overflowed(beyond), [65519.0, -65519.0, np.inf, -np.inf, np.inf])


def test_infinity_and_nan_stay():
    for dtype in ("float16", "float32"):
        odd = np.array([np.inf, -np.inf, 1.0], dtype)
        np.testing.assert_array_equal(overflowed(odd), odd)
