"""tests/kernels/native/amx_model.h: the tile instructions do what Intel's manual says, and refuse what it forbids."""

import ctypes
import signal
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.backends.narrow import round_bits, widen_bits
from tests.support.amx import MODEL, compiler_or_skip

# c += a b, of which c is tile 0, a tile 1 and b tile 2; rows are 64 bytes apart.
PROBE = """
#include "amx_model.h"
void product(const void *configuration, float *c, const void *a, const void *b) {
    _tile_loadconfig(configuration);
    _tile_loadd(0, c, 64), _tile_loadd(1, a, 64), _tile_loadd(2, b, 64);
    _tile_dpbf16ps(0, 1, 2);
    _tile_stored(0, c, 64);
    _tile_release();
}
"""
SMALLEST = np.finfo(np.float32).tiny


@pytest.fixture(scope="module")
def probe(tmp_path_factory):
    compiler = compiler_or_skip()
    path = tmp_path_factory.mktemp("probe") / "probe.so"
    command = [*compiler.command, "-shared", "-fPIC", "-O1", f"-I{MODEL.parent}", "-x", "c", "-", "-lm", "-o", path]
    subprocess.run(command, input=PROBE, text=True, check=True)
    return path


def configuration(rows, colsb, palette=1):
    """The 64 bytes: rows and bytes of a row, of tiles 0, 1, …"""
    c = np.zeros((), [("palette", "u1"), ("", "V15"), ("colsb", "<u2", 16), ("rows", "u1", 16)])
    c["palette"] = palette
    c["rows"][: len(rows)], c["colsb"][: len(colsb)] = rows, colsb
    return c.tobytes()


def multiply(probe, c, a, b, m, k, n):
    """c (m, n) + a (m, k pairs) b (k, n pairs), of arrays with 64 bytes in a row."""
    c = c.copy()
    addresses = (x.ctypes.data_as(ctypes.c_void_p) for x in (c, a, b))
    ctypes.CDLL(str(probe)).product(configuration([m, m, k], [4 * n, 4 * k, 4 * n]), *addresses)
    return c


def halves(rng, rows):
    """bfloat16 numbers of like size, so that float64 keeps all bits of a sum, and rounding that is what an FMA does."""
    size = rng.integers(-6, 6, (rows, 32))
    return round_bits(np.ldexp(rng.uniform(-1, 1, (rows, 32)), size).astype(np.float32))


@given(m=st.integers(1, 16), k=st.integers(1, 16), n=st.integers(1, 16), seed=st.integers(0, 99))
def test_products(probe, m, k, n, seed):
    """The first numbers of all pairs, the second ones, both sums together, and that to what was there."""
    rng = np.random.default_rng(seed)
    a, b, c = halves(rng, 16), halves(rng, 16), rng.standard_normal((16, 16)).astype(np.float32)
    first, second = np.zeros((2, m, n), np.float32)
    for i in range(k):
        for sum_, j in ((first, 0), (second, 1)):
            exact = np.outer(widen_bits(a[:m, 2 * i + j]).astype(float), widen_bits(b[i, j : 2 * n : 2]).astype(float))
            sum_[...] = (sum_ + exact).astype(np.float32)
    expected = c.copy()
    expected[:m, :n] += first + second
    np.testing.assert_array_equal(multiply(probe, c, a, b, m, k, n), expected)  # nothing is written beyond m, n


def one(c, a, b):
    """c, a and b in the first place of their tiles, zeros elsewhere."""
    tile, left, right = np.zeros((16, 16), np.float32), np.zeros((16, 32), np.uint16), np.zeros((16, 32), np.uint16)
    tile[0, 0], left[0, 0], right[0, 0] = c, round_bits(np.float32([a]))[0], round_bits(np.float32([b]))[0]
    return tile, left, right


@pytest.mark.parametrize(
    ("c", "a", "b", "expected"),
    [
        (SMALLEST / 2, 1, 0, 0),
        (0, SMALLEST / 4, 2.0**100, 0),
        (0, 2.0**-70, 2.0**-70, 0),
        (SMALLEST, -SMALLEST * 1.5, 1, 0),
        (SMALLEST, SMALLEST, 1, 2 * SMALLEST),
        (1, 2.0**-12, 2.0**-12, 1),  # half of the last place: to even
        (1 + 2.0**-23, 2.0**-12, 2.0**-12, 1 + 2.0**-22),
    ],
)
def test_denormal_numbers_and_ties(probe, c, a, b, expected):
    """Denormal ones are zero as operands and as results, whatever the thread's own setting."""
    assert multiply(probe, *one(c, a, b), 1, 1, 1)[0, 0] == np.float32(expected)


WRONG = {
    "palette": (configuration([1, 1, 1], [4, 4, 4], palette=2), "#GP: there are palettes 0 and 1"),
    "reserved": (b"\1\0\0\1" + configuration([1, 1, 1], [4, 4, 4])[4:], "#GP: reserved bytes are zero"),
    "seventeen rows": (configuration([17, 1, 1], [4, 4, 4]), "#GP: a tile has up to 16 rows"),
    "long rows": (configuration([1, 1, 1], [68, 4, 4]), "#GP: a row has up to 64 bytes"),
    "no rows": (configuration([0, 1, 1], [4, 4, 4]), "#GP: a tile has rows and bytes, or neither"),
    "no bytes": (configuration([1, 1, 1], [4, 0, 4]), "#GP: a tile has rows and bytes, or neither"),
    "nine tiles": (configuration([1] * 9, [4] * 9), "#GP: there are eight tiles"),
    "none": (configuration([], [], palette=0), "#UD: there is no configuration"),
    "two tiles": (configuration([1, 1], [4, 4]), "#UD: the tile is not configured"),
    "rows": (configuration([2, 3, 4], [8, 16, 8]), "#UD: the sums have as many rows as the first factor"),
    "columns": (configuration([2, 2, 4], [8, 16, 12]), "#UD: the sums have as many columns as the second factor"),
    "depth": (configuration([2, 2, 4], [8, 12, 8]), "#UD: the first factor has as many pairs in a row as the second"),
    "half pairs": (configuration([2, 2, 4], [6, 16, 6]), "#UD: rows are of whole pairs"),
}
RUN = """
import ctypes, sys
memory = ctypes.create_string_buffer(1024)
ctypes.CDLL(sys.argv[1]).product(bytes.fromhex(sys.argv[2]), memory, memory, memory)
"""


@pytest.mark.parametrize(("given", "said"), WRONG.values(), ids=WRONG)
def test_what_the_processor_refuses(probe, given, said):
    command = [sys.executable, "-c", RUN, probe, given.hex()]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == -signal.SIGABRT
    assert result.stderr.startswith(said)
