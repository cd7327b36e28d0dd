import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.network.cross_entropy import cross_entropy


@given(rows=st.integers(0, 4), classes=st.integers(1, 6), spread=st.floats(0, 500), seed=st.integers(0, 99))
def test_it_is_the_negative_logarithm_of_the_probability(rows, classes, spread, seed):
    rng = np.random.default_rng(seed)
    logits, true = spread * rng.standard_normal((2, rows, classes)), rng.integers(0, classes, (2, rows))
    found = cross_entropy(logits, true)
    assert found.shape == true.shape
    for place in np.ndindex(true.shape):
        row = logits[place]
        top = max(row)
        expected = top + math.log(math.fsum(math.exp(value - top) for value in row)) - row[true[place]]
        np.testing.assert_allclose(found[place], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_half_precision_gives_float32(dtype):
    logits = np.array([[30000.0, 0.0, 30000.0]], dtype)
    found = cross_entropy(logits, np.array([2]))
    assert found.dtype == max(np.dtype(dtype), np.dtype("float32"))
    np.testing.assert_allclose(found, [math.log(2)], rtol=1e-6)
