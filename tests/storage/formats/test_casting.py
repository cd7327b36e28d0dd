"""aimv2_np/storage/formats/casting.py"""

import math
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.errors import CheckpointError
from aimv2_np.storage.formats.casting import PIECE, convert_dtype

ALL_BITS = np.arange(2**16, dtype=np.uint16)


def bfloat16_value(bits):
    """The number that a bfloat16 stands for, from its definition: sign, 8 bits of exponent, 7 of fraction."""
    sign, exponent, fraction = -1 if bits >> 15 else 1, bits >> 7 & 255, bits & 127
    if exponent == 0:
        return sign * fraction * 2.0 ** (-126 - 7)
    return sign * (128 + fraction) * 2.0 ** (exponent - 127 - 7)


def test_every_finite_bfloat16_is_exact():
    finite = ALL_BITS[(ALL_BITS >> 7 & 255) != 255]
    assert finite.size == 2**16 - 2 * 128
    expected = np.array([bfloat16_value(int(bits)) for bits in finite])
    for target in ("float32", "float64"):
        result = convert_dtype(finite, "BF16", target, "it")
        assert result.dtype == target
        np.testing.assert_array_equal(result, expected)
        np.testing.assert_array_equal(np.signbit(result), finite >> 15 == 1)


def test_every_finite_float16_is_exact():
    halves = ALL_BITS.view(np.float16)
    finite = halves[np.isfinite(halves)]
    for target in ("float32", "float64"):
        result = convert_dtype(finite, "F16", target, "it")
        assert [struct.pack("<e", value) for value in result[::97].tolist()] == [h.tobytes() for h in finite[::97]]
        np.testing.assert_array_equal(result.astype(np.float16), finite)


@given(value=st.floats(-60000, 60000))
def test_narrowing_rounds_to_nearest(value):
    half = convert_dtype(np.array([value]), "F64", "float16", "it")
    assert half[0] == struct.unpack("<e", struct.pack("<e", value))[0]
    single = convert_dtype(np.array([value]), "F64", "float32", "it")
    assert single[0] == struct.unpack("<f", struct.pack("<f", value))[0]


@pytest.mark.parametrize(
    ("dtype", "stored", "target"),
    [
        ("F32", np.array([1, -70000], "f4"), "float16"),
        ("F32", np.array([65520], "f4"), "float16"),  # the least that rounds to infinity
        ("BF16", np.array([0x7F7F], "u2"), "float16"),
        ("F64", np.array([1e39]), "float32"),
    ],
)
def test_what_the_target_cannot_hold_is_refused(dtype, stored, target):
    with pytest.raises(
        CheckpointError, match=rf"^tensor x holds .*more than {target} can .* load it as float"
    ) as raised:
        convert_dtype(stored, dtype, target, "tensor x")
    assert "not finite" not in str(raised.value)


def test_the_largest_float16_is_kept():
    assert convert_dtype(np.array([65504, 65519], "f4"), "F32", "float16", "it").tolist() == [65504, 65504]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("dtype", "target"), [("F16", "float32"), ("F32", "float16"), ("F64", "float32")])
def test_numbers_that_are_not_finite_are_reported(value, dtype, target):
    stored = np.zeros(PIECE + 10, {"F16": "f2", "F32": "f4", "F64": "f8"}[dtype])
    stored[-1] = value
    with pytest.raises(CheckpointError, match=r"^tensor x holds numbers that are not finite"):
        convert_dtype(stored, dtype, target, "tensor x")


@pytest.mark.parametrize("bits", [0x7F80, 0xFF80, 0x7FC0, 0x7F81])
def test_bfloat16_that_is_not_finite_is_reported(bits):
    stored = np.array([0x3F80, bits], "u2")
    with pytest.raises(CheckpointError, match="not finite"):
        convert_dtype(stored, "BF16", "float32", "it")


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 7])
def test_pieces_fit_together(size):
    stored = (np.arange(size) % 30011).astype(np.uint16)
    expected = (stored.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(convert_dtype(stored, "BF16", "float32", "it"), expected)


def test_working_memory_does_not_grow_with_the_tensor():
    stored = np.ones(40 * PIECE, np.float16)
    tracemalloc.start()
    try:
        convert_dtype(stored, "F16", "float32", "it")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # the result, and at most four pieces of 4 bytes each beside it
    assert peak < 40 * PIECE * 4 + 4 * PIECE * 4
