"""Dot products with stored vectors in C are those that are written, whatever the shapes and the threads."""

from contextlib import nullcontext
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimv2_np.backends.dots import STORED, dots
from aimv2_np.kernels.native import bodies
from aimv2_np.kernels.native.dots import MANY
from tests.kernels.native.test_backward import threads
from tests.support.instruction_sets import kernels  # noqa: F401

LEFT = {dots: lambda queries, vectors: "left"}


def stored_numbers(rng, stored, shape):
    """Of every size that the format has, denormal ones too."""
    if stored == "int8":
        return rng.integers(-127, 127, shape, np.int8, endpoint=True)
    return (rng.standard_normal(shape) * 10.0 ** rng.integers(-8, 4, shape)).astype(stored)


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 200), width=st.integers(1, 300), count=st.integers(1, 11), gap=st.integers(0, 3),
       stored=st.sampled_from(STORED))  # fmt: skip
def test_products_and_squares(rows, width, count, gap, stored):
    """The same bits on any number of threads; of float64 they differ by the roundings of a sum."""
    rng = np.random.default_rng([rows, width])
    vectors = stored_numbers(rng, stored, (rows, width + gap))[:, gap:]
    queries = rng.standard_normal((count, width)).astype(np.float32)
    found = []
    with patch.dict(bodies.otherwise, LEFT):
        for members in (None, 1, 3):
            with nullcontext() if members is None else threads(members):
                found.append(dots(queries, vectors))
    wide, exact = vectors.astype(np.float64), queries.astype(np.float64)
    rounding = (width + 8) * np.finfo(np.float32).eps
    for products, squares in found:
        np.testing.assert_array_equal(products, found[0][0])
        np.testing.assert_array_equal(squares, found[0][1])
        assert (np.abs(products - exact @ wide.T) <= rounding * (np.abs(exact) @ np.abs(wide).T) + 1e-30).all()
        np.testing.assert_allclose(squares, (wide * wide).sum(axis=1), rtol=rounding, atol=1e-30)


def test_every_number_of_float16():
    """All 65536 of them as they are, infinity and NaN too."""
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    with patch.dict(bodies.otherwise, LEFT):
        (products,), _ = dots(np.ones((1, 1), np.float32), every.reshape(-1, 1))
    np.testing.assert_array_equal(products, every.astype(np.float32))


def test_what_is_left_to_numpy():
    """Other dtypes, bytes in the other order, numbers that are apart or not aligned, many queries."""
    one, many = np.ones((1, 6), np.float32), np.ones((MANY, 6), np.float32)
    vectors = np.ones((4, 6), np.float32)
    unaligned = np.frombuffer(b"\0" * 97, np.uint8)[1:].view(np.float32).reshape(4, 6)
    others = [vectors.astype(np.float64), vectors.astype(">f4"), np.asfortranarray(vectors), unaligned]
    with patch.dict(bodies.otherwise, LEFT):
        assert dots(many, vectors) == "left"
        assert [dots(one, other) for other in others] == ["left"] * 4
        assert dots(one.astype(np.float64), vectors) == "left"
    with pytest.raises(ValueError, match="6"):
        dots(one, vectors.astype(np.float64)[:, :5])
