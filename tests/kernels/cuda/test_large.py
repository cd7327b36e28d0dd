"""Arrays of more elements than 32 bits can count: the first and the last blocks of grids over them, on the emulator.

The arrays are sparse: they take memory only where something is written. A GPU has no such memory: there, nothing runs.
"""

from functools import wraps

import numpy as np
import pytest

from aimv2_np.kernels.cuda import attention as module
from aimv2_np.kernels.cuda.patches import patch_rows
from aimv2_np.network.attention import attention
from aimv2_np.network.rms_norm import rms_norm
from aimv2_np.network.swiglu import gated
from aimv2_np.network.view import Packed
from tests.kernels.cuda import test_attention, test_rms_norm
from tests.kernels.cuda.arrays import assert_within, eps, exact, normal
from tests.support.cuda_emulator.emulator import first_and_last_blocks
from tests.support.fake_cupy import memory, sparse

ROWS = 256 * 4096  # tokens of 256 pictures
PICTURES, TOKENS, HEADS, HEAD = 2048, 257, 24, 128
WAYS = {"tensor cores": ("bfloat16", {}), "tiles": ("float32", {"SHORT": 0})}


def on_sparse_arrays(test):
    """Arrays that `test` makes are sparse, and its launches run two blocks from each end of their grid."""

    @wraps(test)
    def run(cupy, **case):
        if cupy.ndarray.__init__.__module__.split(".")[0] != "tests":
            pytest.skip("only memory of the host can be sparse")
        try:
            sparse.malloc(1 << 36)
        except OSError as error:
            pytest.skip(f"this system promises no memory that it does not have: {error}")
        with memory.using_allocator(sparse.malloc), first_and_last_blocks(2):
            test(cupy, **case)

    return run


@on_sparse_arrays
def test_rms_norm_of_many_rows(cupy):
    rows, weight = normal(0, "bfloat16", (2, 3072), 3072)
    x = cupy.empty((ROWS, 3072), rows.dtype)
    x[0], x[-1] = (cupy.asarray(row) for row in rows)
    y = rms_norm(x, cupy.asarray(weight), 1e-5)
    expected = rms_norm.textbook(exact(rows), exact(weight), 1e-5)
    for found, one in zip((y[0], y[-1]), expected, strict=True):
        assert_within(found, one, test_rms_norm.limit("bfloat16", one))


@on_sparse_arrays
def test_gated_of_many_rows(cupy):
    (rows,) = normal(0, "bfloat16", (2, 2 * 8192))
    both = cupy.empty((ROWS, 2 * 8192), rows.dtype)
    both[0], both[-1] = (cupy.asarray(row) for row in rows)
    y = gated(both[:, :8192], both[:, 8192:], "relu")
    expected = gated.textbook(exact(rows[:, :8192]), exact(rows[:, 8192:]), "relu")
    ends = 2 * 256 * 8  # elements of two blocks
    assert_within(y[0, :ends], expected[0, :ends], 0.51 * eps("bfloat16") * np.abs(expected[0, :ends]))
    assert_within(y[-1, -ends:], expected[1, -ends:], 0.51 * eps("bfloat16") * np.abs(expected[1, -ends:]))


@on_sparse_arrays
def test_patches_of_many_pictures(cupy):
    pixels = cupy.empty((8192, 3, 448, 448), np.float16)
    (picture,) = normal(0, "float16", (3, 448, 448))
    pixels[-1] = cupy.asarray(picture)
    found = patch_rows(pixels, (14, 14))
    np.testing.assert_array_equal(found[-1, -1, -512:].get(), picture[:, -14:, -14:].ravel()[-512:])


@on_sparse_arrays
def test_softmax_of_many_scores(cupy):
    scores = cupy.empty((512, 24, 512, 1024), np.float32)
    (row,) = normal(0, "float32", 1024)
    scores[-1, -1, -1] = cupy.asarray(row)
    found = module._softmax(scores, 0.5, None, np.dtype(np.float16))[-1, -1, -1]
    expected = np.exp(0.5 * exact(row)) / np.exp(0.5 * exact(row)).sum()
    assert_within(found, expected, eps("float16") * expected + 2.0**-24)


def many_pictures(cupy, dtype):
    """q, k and v of many pictures in one array, as their product leaves them, and those of the last picture."""
    (last,) = normal(0, dtype, (TOKENS, 3, HEADS, HEAD))
    together = cupy.empty((PICTURES, *last.shape), last.dtype)
    together[-1] = cupy.asarray(last)
    return together, [last[:, i].swapaxes(0, 1)[None, -1:] for i in range(3)]


def check_last(y, q, k, v):
    """The last head's last queries, which the last block computes."""
    expected = attention.textbook(*map(exact, (q, k, v)), HEAD**-0.5)
    assert_within(y, expected, test_attention.limit(q.dtype.name, q, k, v, HEAD**-0.5))


@pytest.mark.parametrize("way", WAYS)
@on_sparse_arrays
def test_attention_of_many_pictures(cupy, way):
    dtype, limits = WAYS[way]
    together, (q, k, v) = many_pictures(cupy, dtype)
    with test_attention.settings_of(**limits):
        y = attention(*(together[:, :, i].swapaxes(1, 2) for i in range(3)), HEAD**-0.5)
    check_last(y[-1:, -1:, 256:], q[:, :, 256:], k, v)


@pytest.mark.parametrize("way", WAYS)
@on_sparse_arrays
def test_packed_attention_of_many_pictures(cupy, way):
    dtype, _ = WAYS[way]
    together, (q, k, v) = many_pictures(cupy, dtype)
    rows = [together.reshape(1, -1, 3, HEADS, HEAD)[:, :, i].swapaxes(1, 2) for i in range(3)]
    y = attention(*rows, HEAD**-0.5, Packed((TOKENS,) * PICTURES))
    check_last(y[:, -1:, -1:], q[:, :, 256:], k, v)


@pytest.mark.parametrize("packed", [False, True])
@on_sparse_arrays
def test_pooling_of_many_pictures(cupy, packed):
    together, (_, k, v) = many_pictures(cupy, "bfloat16")
    (q,) = normal(1, "bfloat16", (1, HEADS, 1, HEAD))
    rows = together.reshape(1, -1, 3, HEADS, HEAD) if packed else together
    keys, values = (rows[:, :, i].swapaxes(1, 2) for i in (1, 2))
    query = cupy.asarray(q)
    if packed:
        view = Packed((TOKENS,) * PICTURES).pooled()
        y = attention(cupy.broadcast_to(query, (1, HEADS, PICTURES, HEAD)), keys, values, HEAD**-0.5, view)
    else:
        y = attention(cupy.broadcast_to(query, (PICTURES, *q.shape[1:])), keys, values, HEAD**-0.5)
    check_last(y[-1:, -1:, -1:], q[:, -1:], k, v)
