"""Sources of kernels, and how many threads, and how wide reads, a launch has."""

import numpy as np
import pytest

from aimv2_np.kernels.cuda import launch as module
from aimv2_np.kernels.cuda.launch import block_threads, computes, element, launch, source, width
from tests.kernels.cuda.arrays import DTYPES, normal


def test_headers_are_pasted_in_once(tmp_path, monkeypatch):
    """CuPy's cache of binaries goes by the text: a header that has changed must make another text."""
    for name, text in {
        "kernel.cu": '#include <cuda_fp16.h>\n#include "one.cuh"\n#include "two.cuh"\nbody',
        "one.cuh": '#pragma once\n#include "both.cuh"\none',
        "two.cuh": '#pragma once\n#include "both.cuh"\ntwo',
        "both.cuh": "#pragma once\nboth",
    }.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    source.cache_clear()
    try:
        assert source("kernel").split() == ["#include", "<cuda_fp16.h>", "both", "one", "two", "body"]
    finally:
        source.cache_clear()


@pytest.mark.parametrize("dtype", DTYPES)
def test_types_of_the_kernels(cupy, dtype):
    (x,) = normal(0, dtype, (2, 3))
    x = cupy.asarray(x)
    assert computes(x, None, x)
    assert not computes(x, x.astype(np.float64))
    assert element(x) in ("float", "__half", "__nv_bfloat16")


def test_rows_are_read_16_bytes_at_a_time_where_all_begin_there(cupy):
    x = cupy.zeros((4, 16), np.float32)
    assert width(16, x) == 4
    assert width(15, x[:, :15]) == 1  # the last read would go beyond the row
    assert width(8, x[:, 1:9]) == 1  # rows begin in between
    assert width(8, x, x[:, ::2]) == 1  # gaps within


def test_no_blocks_are_no_launch(cupy):
    launch("there is no such file", [], [0], 32, [cupy.zeros(0, np.float32)])


@pytest.mark.parametrize("pieces", [1, 32, 33, 256, 257, 352, 512, 588, 10000])
def test_threads_of_a_block(pieces):
    """Whole warps, at most 256 threads, as few turns as that allows, and no warp without work."""
    count = block_threads(pieces)
    turns = -(-pieces // count)
    assert count % 32 == 0
    assert count <= 256
    assert turns == -(-pieces // 256)
    assert (count - 32) * turns < pieces
