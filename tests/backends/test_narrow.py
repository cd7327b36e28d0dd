"""aimv2_np/backends/narrow.py: to NumPy a float32 array, which is never kept."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.backends.arrays import backend_of, factor_of, is_array, move, to_numpy, widen
from aimv2_np.backends.narrow import Narrow, for_bfloat16, round_bits, to_int8, widen_bits
from aimv2_np.network.linear import linear


def matrix(seed=0, shape=(5, 7)):
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def bfloat16(array):
    return Narrow((array.view(np.uint32) >> 16).astype(np.uint16))


KINDS = {"bfloat16": bfloat16, "int8": to_int8}


@pytest.fixture(params=KINDS)
def narrow(request):
    return KINDS[request.param](matrix())


def test_it_is_a_float32_array_to_numpy(narrow):
    wide = narrow.widened()
    assert wide.dtype == narrow.dtype == np.float32
    assert (narrow.shape, narrow.ndim, narrow.size, len(narrow)) == (wide.shape, 2, 35, 5)
    x = matrix(1, (3, 7))
    for computed, expected in (
        (x @ narrow.T, x @ wide.T), (narrow + 1, wide + 1), (2 * narrow, 2 * wide), (narrow @ x.T, wide @ x.T),
        (abs(narrow).max(), abs(wide).max()), (narrow[1:3, 2], wide[1:3, 2]), (narrow[[4, 0]], wide[[4, 0]]),
        (np.linalg.norm(narrow), np.linalg.norm(wide)), (np.asarray(narrow, np.float64), wide.astype(np.float64)),
        (narrow.astype("float16"), wide.astype("float16")), (narrow.reshape(7, 5), wide.reshape(7, 5)),
        (narrow.copy(), wide), (to_numpy(narrow), wide), (widen(narrow), wide), (linear(x, narrow), linear(x, wide)),
    ):  # fmt: skip
        np.testing.assert_array_equal(computed, expected)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_patch_embedding(kind):
    """(O, C, P, P): a row has a factor, and is a row of the matrix that it is multiplied as."""
    flat = kind(matrix(shape=(5, 12)))
    narrow = Narrow(flat.numbers.reshape(5, 3, 2, 2), flat.scale)
    wide = flat.widened().reshape(5, 3, 2, 2)
    for computed, expected in ((narrow.widened(), wide), (narrow[3], wide[3]), (narrow[[4, 0]], wide[[4, 0]])):
        np.testing.assert_array_equal(computed, expected)
    again = narrow.reshape(5, 12)
    assert isinstance(again, Narrow)
    np.testing.assert_array_equal(again, flat.widened())
    np.testing.assert_array_equal(narrow.reshape(-1), wide.reshape(-1))


def test_it_takes_less_and_stays_where_it_is(narrow):
    assert narrow.nbytes < narrow.widened().nbytes
    assert is_array(narrow)
    assert backend_of(narrow) == "numpy"
    assert move(narrow, "numpy") is narrow
    with pytest.raises(ValueError, match="ask for a copy"):
        np.asarray(narrow, copy=False)


def test_it_says_what_it_is(narrow):
    assert repr(narrow) == f"Narrow((5, 7), {narrow.stored}, float32 products)"


@given(bits=st.lists(st.integers(0, 2**16 - 1), min_size=1))
def test_the_bits_of_bfloat16_are_the_upper_half_of_a_float32(bits):
    wide = widen_bits(np.array(bits, np.uint16))
    np.testing.assert_array_equal(wide.view(np.uint32), np.array(bits, np.uint32) << 16)


@given(x=st.floats(width=32))
def test_rounding_to_bfloat16_is_to_nearest(x):
    """As ml_dtypes rounds, whose NaN may have another sign."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = np.array([x], np.float32)
    with np.errstate(all="ignore"):
        expected = x.astype(ml_dtypes.bfloat16)
    if np.isnan(x[0]):
        assert np.isnan(widen_bits(round_bits(x))[0])
    else:
        np.testing.assert_array_equal(round_bits(x), expected.view(np.uint16))


def test_what_is_rounded_before_a_product():
    x, weight = matrix(1, (3, 7)), matrix()
    assert factor_of(x, weight) is x
    assert factor_of(x, bfloat16(weight)) is x
    rounding = for_bfloat16(weight)
    assert rounding.computes == "bfloat16"
    np.testing.assert_array_equal(factor_of(x, rounding), widen_bits(round_bits(x)))
    np.testing.assert_array_equal(linear(x, rounding), widen_bits(round_bits(x)) @ rounding.T)
    assert for_bfloat16(weight[0]).base is weight  # a vector stays


@given(seed=st.integers(0, 99), size=st.sampled_from([1e-30, 1.0, 1e30]))
def test_int8_is_the_nearest(seed, size):
    wide = matrix(seed) * np.float32(size)
    wide[2] = 1e-40  # less than any factor
    narrow = to_int8(wide)
    assert (np.abs(narrow.widened() - wide) <= narrow.scale[:, None] * 0.5001).all()
    assert (np.abs(narrow.numbers).max(axis=1) == [127, 127, 0, 127, 127]).all()
    assert (narrow[2] == 0).all()
