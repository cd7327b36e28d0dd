"""aimv2_np/backends/dtypes.py: the table against NumPy, ml_dtypes and the safetensors library."""

import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from aimv2_np.backends.arrays import dtype_of
from aimv2_np.backends.dtypes import BITS, CODES, COMPUTED, EPS, FLOATS, HELD, LARGEST, NAMES, TINY


@pytest.mark.parametrize("name", FLOATS)
def test_precisions_are_those_of_the_libraries(name):
    known = ml_dtypes.finfo(dtype_of(name))
    assert (EPS[name], TINY[name], LARGEST[name]) == (known.eps, known.smallest_normal, known.max)


@pytest.mark.parametrize("name", CODES)
def test_the_safetensors_library_has_the_same_codes_and_widths(name, tmp_path):
    array = np.ones((2, 3), dtype_of(name))
    save_file({"x": array}, tmp_path / "x")
    with safe_open(tmp_path / "x", "np") as file:
        assert file.get_slice("x").get_dtype() == CODES[name]
    assert BITS[CODES[name]] == 8 * array.itemsize == 8 * HELD[CODES[name]].itemsize
    assert NAMES[CODES[name]] == name


def test_models_compute_in_floats():
    assert set(COMPUTED) == FLOATS.keys()
