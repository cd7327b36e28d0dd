import importlib.util

import numpy as np
import pytest
from PIL import Image

from aimv2_np import to_numpy
from aimv2_np.backends import arrays


def test_namespace_and_backend():
    for array in (np.zeros(3), np.float32(1), np.zeros((), "float16")):
        assert arrays.namespace(array) is np
        assert arrays.backend_of(array) == "numpy"


@pytest.mark.parametrize("value", [1, 1.5, "a", None, [1, 2], (1, 2), {"a": 1}, b"abc"])
def test_what_is_no_array(value):
    assert not arrays.is_array(value)


def test_a_picture_is_no_array():
    """Pillow's images have NumPy's array interface, but no shape."""
    assert not arrays.is_array(Image.new("L", (2, 2)))


def test_what_is_an_array():
    assert arrays.is_array(np.zeros(3))
    assert arrays.is_array(np.zeros(()))


def test_widen():
    half = np.array([1, 65504], np.float16)
    assert arrays.widen(half).dtype == np.float32
    np.testing.assert_array_equal(arrays.widen(half), [1, 65504])
    for dtype in ("float32", "float64"):
        array = np.zeros(3, dtype)
        assert arrays.widen(array) is array


def test_moving_to_where_it_is_copies_nothing():
    array = np.zeros(3)
    assert to_numpy(array) is array
    assert arrays.move(array, "numpy") is array


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_dtypes(dtype):
    arrays.check_backend("numpy", dtype)


def test_unknown_backend():
    with pytest.raises(ValueError, match=r"backend is 'torch'.*numpy, cupy"):
        arrays.check_backend("torch")


@pytest.mark.parametrize("dtype", ["int8", "float128", "Float32", ""])
def test_unknown_dtype(dtype):
    with pytest.raises(ValueError, match=rf"dtype is '{dtype}'.*float32, float64, float16"):
        arrays.check_backend("numpy", dtype)


def gpu():
    """Whether CuPy and a GPU are there, without importing CuPy when it is not."""
    if importlib.util.find_spec("cupy") is None:
        return False
    import cupy

    try:
        return cupy.cuda.runtime.getDeviceCount() > 0
    except cupy.cuda.runtime.CUDARuntimeError:
        return False


@pytest.mark.skipif(importlib.util.find_spec("cupy") is not None, reason="CuPy is installed")
def test_cupy_that_is_not_installed():
    with pytest.raises(ImportError, match=r"cupy backend needs CuPy.*pip install 'aimv2-np\[cuda12\]'"):
        arrays.check_backend("cupy")


@pytest.mark.skipif(importlib.util.find_spec("cupy") is None, reason="CuPy is not installed")
@pytest.mark.skipif(gpu(), reason="there is a GPU")
def test_cupy_without_a_gpu():
    with pytest.raises(RuntimeError, match=r"NVIDIA driver.*backend='numpy'|no GPU"):
        arrays.check_backend("cupy")
