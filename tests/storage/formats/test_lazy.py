"""aimv2_np/storage/formats/lazy.py, and rounding to bfloat16 in convert.py."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.errors import CheckpointError
from aimv2_np.storage import open_checkpoint, save_safetensors
from aimv2_np.storage.formats.casting import PIECE, recast
from aimv2_np.storage.formats.lazy import Lazy

LARGEST = float(np.array([0x7F7F0000], np.uint32).view(np.float32)[0])  # of bfloat16


def neighbours(value):
    """The bfloat16 numbers around a float32, as bits: towards zero and away from it."""
    low = int(np.float32(value).view(np.uint32)) >> 16
    return low, low + 1


@given(st.floats(-LARGEST, LARGEST, width=32))
def test_bfloat16_is_the_nearer_neighbour_and_even_in_a_tie(value):
    bits = int(recast(np.array([value], "f4"), "F32", "BF16", "x")[0])
    low, high = neighbours(value)
    exact = [float(np.array([b << 16], np.uint32).view(np.float32)[0]) for b in (low, high)]
    if not np.isfinite(exact[1]):
        assert bits == low
        return
    distances = [abs(value - each) for each in exact]
    if distances[0] == distances[1]:
        assert bits == (low if low % 2 == 0 else high)
    else:
        assert bits == (low if distances[0] < distances[1] else high)


def test_pieces_are_put_together():
    values = np.arange(2 * PIECE + 3, dtype="f4") % 256  # eight bits: exact
    bits = recast(values.reshape(-1, 1), "F32", "BF16", "x")
    assert bits.shape == (values.size, 1)
    np.testing.assert_array_equal((bits.astype(np.uint32) << 16).view("f4")[:, 0], values)


@pytest.mark.parametrize("value", [np.inf, np.nan, np.finfo("f4").max])
def test_what_bfloat16_cannot_hold(value):
    with pytest.raises(CheckpointError, match=r"here holds .*(finite|bfloat16)"):
        recast(np.array([value], "f4"), "F32", "BF16", "here")


def test_the_same_dtype_is_left_alone():
    for dtype, kind in (("F32", "f4"), ("BF16", "u2"), ("F16", "f2")):
        stored = np.full(3, 7, kind)
        assert recast(stored, dtype, dtype, "x") is stored
    nan = np.array([np.nan], "f4")
    assert recast(nan, "F32", "F32", "x") is nan


@given(st.lists(st.floats(-60000, 60000, width=32), max_size=5))
def test_other_dtypes(values):
    values = np.array(values, "f4")
    np.testing.assert_array_equal(recast(values, "F32", "F16", "x"), values.astype("f2"))
    short = (values.view(np.uint32) & 0xFFFF0000).view("f4")  # that bfloat16 holds exactly
    np.testing.assert_array_equal(recast(recast(short, "F32", "BF16", "x"), "BF16", "F32", "x"), short)


def test_lazy_tensors_are_written_like_arrays(tmp_path):
    array = np.arange(6, dtype="f4").reshape(2, 3)
    made = []

    def make():
        made.append(1)
        return array.T

    state = {"a": Lazy("F32", (3, 2), make), "b": Lazy("BF16", (2,), lambda: np.array([0x3F80, 0x4000], "u2")),
             "c": np.float32(3)[None], "d": Lazy("F64", (), lambda: np.array(0.5))}  # fmt: skip
    save_safetensors(tmp_path / "model.safetensors", state)
    checkpoint = open_checkpoint(tmp_path)
    np.testing.assert_array_equal(checkpoint.read("a"), array.T)
    np.testing.assert_array_equal(checkpoint.read("b"), [1, 2])
    assert checkpoint.read("d", "float64") == 0.5
    assert made == [1]
