"""What is kept on the device for later calls is there for later calls on other streams."""

import numpy as np

from aimv2_np.kernels.cuda.attention import attend
from aimv2_np.kernels.cuda.positions import interpolate_on_device
from aimv2_np.network.positions import interpolate_positions
from aimv2_np.network.view import Packed
from tests.kernels.cuda.arrays import exact, normal


def on_two_streams(cupy, compute):
    """The results of two calls, of which the second does not wait for the first."""
    cupy.cuda.get_current_stream().synchronize()  # for the inputs
    first = compute()
    with cupy.cuda.Stream(non_blocking=True) as stream:
        second = compute()
        stream.synchronize()
    np.testing.assert_array_equal(first.get(), second.get())
    return first


def test_lengths_of_a_pack(cupy):
    lengths = (3, 1, 5)
    q, k, v = (cupy.asarray(x) for x in normal(0, "float32", *[(1, 2, sum(lengths), 8)] * 3))
    on_two_streams(cupy, lambda: attend(q, k, v, 0.5, Packed(lengths)))
    on_two_streams(cupy, lambda: attend(q[:, :, :2], k, v, 0.5, Packed((4, 5)).pooled()))


def test_matrices_of_a_grid(cupy):
    (table,) = normal(0, "float32", (6, 8))
    there = cupy.asarray(table)
    found = on_two_streams(cupy, lambda: interpolate_on_device(there, (2, 3), (5, 7)))
    np.testing.assert_allclose(found.get(), interpolate_positions.textbook(exact(table), (2, 3), (5, 7)), atol=1e-6)
