"""What a dot product with stored vectors is; tests/kernels/native/test_dots.py has the faster body."""

import numpy as np
import pytest

from aimv2_np import textbook
from aimv2_np.backends.dots import STORED, dots


@pytest.mark.parametrize("stored", STORED)
def test_whole_numbers_are_multiplied_exactly(stored):
    rng = np.random.default_rng(0)
    queries = rng.integers(-9, 9, (3, 50)).astype(np.float32)
    vectors = rng.integers(-100, 100, (7, 50)).astype(stored)
    for how in (textbook, lambda: np.errstate()):
        with how():
            products, squares = dots(queries, vectors)
        wide = vectors.astype(np.float64)
        np.testing.assert_array_equal(products, queries @ wide.T)
        np.testing.assert_array_equal(squares, (wide * wide).sum(axis=1))
        assert products.dtype == squares.dtype == np.float32
