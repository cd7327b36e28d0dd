"""cuBLAS by ctypes: what it refuses is an error that names the function, and a workspace is as large as NVIDIA says."""

import pytest

from aimv2_np.kernels.cuda import cublas


def test_a_status_is_an_error_of_the_function():
    cublas._check("cublasGemmEx", 0)
    with pytest.raises(RuntimeError, match="cublasGemmEx failed with cuBLAS status 13"):
        cublas._check("cublasGemmEx", 13)


def test_a_library_without_the_functions(monkeypatch):
    class Wrappers:
        __file__ = None  # ctypes opens the process itself, which has no cuBLAS

    cublas.library.cache_clear()
    monkeypatch.setitem(cublas.FUNCTIONS, "cublasThatThereIsNot", ())
    with pytest.raises(RuntimeError, match=r"cannot be called through CuPy's Wrappers \("):
        cublas.library(Wrappers)


@pytest.mark.parametrize(("capability", "size"), [("80", 4 << 20), ("89", 4 << 20), ("90", 32 << 20)])
def test_workspace(cupy, monkeypatch, capability, size):
    class Device:
        compute_capability = capability

    monkeypatch.setattr(cupy.cuda, "Device", Device)
    assert cublas._workspace_bytes(cupy) == size
