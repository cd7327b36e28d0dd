"""The gated activation on the device against its textbook in float64."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimv2_np.kernels.cuda import gated as module
from aimv2_np.kernels.cuda.launch import source
from aimv2_np.network.activations import ACTIVATIONS
from aimv2_np.network.swiglu import gated
from tests.kernels.cuda.arrays import (
    DTYPES,
    EPS32,
    LAYOUTS,
    assert_within,
    dtypes,
    eps,
    exact,
    normal,
    sparse_rows,
)
from tests.support.cuda_emulator import emulator


def check(cupy, gate, up, device_gate, device_up, name, dtype):
    y = gated(device_gate, device_up, name)
    assert y.dtype == gate.dtype
    g, u = exact(gate), exact(up)
    expected = gated.textbook(g, u, name)
    # Rounded once, to half an ε; before that some float32 operations on numbers of the size of 1, g or the result.
    smallest = float(ml_dtypes.finfo(DTYPES[dtype]).smallest_subnormal)
    size = (1 + np.abs(g)) * np.abs(u) + np.abs(expected)
    assert_within(y, expected, 0.51 * eps(dtype) * np.abs(expected) + 8 * EPS32 * size + smallest)


@settings(max_examples=60)
@given(shape=st.lists(st.integers(0, 4), max_size=2), size=st.integers(1, 70), dtype=dtypes,
       layouts=st.tuples(LAYOUTS, LAYOUTS), scale=st.sampled_from([0.1, 3, 20]), seed=st.integers(0, 9))  # fmt: skip
def test_any_shape_and_layout(cupy, shape, size, dtype, layouts, scale, seed):
    gate, up = normal(seed, dtype, (*shape, size), (*shape, size), scale=scale)
    check(cupy, gate, up, layouts[0](cupy, gate), layouts[1](cupy, up), "silu", dtype)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_every_activation(cupy, name):
    gate, up = normal(0, "float32", (3, 50), (3, 50), scale=5.0)
    check(cupy, gate, up, cupy.asarray(gate), cupy.asarray(up), name, "float32")


def test_the_table_is_complete():
    assert sorted(module.ACTIVATIONS) == sorted(ACTIVATIONS)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [2816, 37])
def test_halves_of_one_product(cupy, dtype, size):
    both, _ = normal(0, dtype, (3, 2 * size), 1)
    device = cupy.asarray(both)
    check(cupy, both[:, :size], both[:, size:], device[:, :size], device[:, size:], "silu", dtype)


def test_far_out_is_finite(cupy):
    gate = np.array([[-1e4, -800, -100, 0, 100, 800, 1e4]], np.float32)
    y = gated(cupy.asarray(gate), cupy.asarray(np.ones_like(gate)), "silu").get()
    np.testing.assert_allclose(y, [[0, 0, -100 * np.exp(-100.0), 0, 100, 800, 1e4]], rtol=1e-6, atol=1e-36)


def test_rows_far_apart(tmp_path):
    """More than 2³¹ elements from one row to the next, in files without what lies between."""
    if reason := emulator.missing():
        pytest.skip(reason)
    size, stride = 40, 2**31 + 8
    gate, up = (sparse_rows(tmp_path / name, seed, (2, size), stride) for seed, name in enumerate("gu"))
    y = np.empty((2, size), np.float16)
    arguments = [*(it.ctypes.data for it in (y, gate, up)), np.int32(size), np.int64(stride), np.int64(stride)]
    emulator.launch(emulator.build(source("gated"), "gated<__half, 8, Silu>"), [2], [32], arguments, 0)
    expected = gated.textbook(exact(gate[:, :size]), exact(up[:, :size]), "silu")
    assert_within(y, expected, eps("float16") * (1 + np.abs(expected)))
