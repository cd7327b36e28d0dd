"""The stand-in's cuBLAS refuses under capture what CuPy's wrappers, and what the library itself, refuse."""

import ctypes

import numpy as np
import pytest

from aimv2_np.kernels.cuda import cublas as ours
from tests.support import fake_cupy
from tests.support.cuda_emulator import emulator
from tests.support.fake_cupy import libcublas


@pytest.fixture
def cupy():
    if reason := emulator.missing():
        pytest.skip(reason)
    with fake_cupy.installed() as module:
        yield module


@pytest.mark.parametrize("product", [
    lambda a: a @ a, lambda a: np.matmul(a, a), lambda a: a.dot(a), lambda a: np.einsum("ij,jk->ik", a, a),
    lambda a: np.tensordot(a, a, 1),
])  # fmt: skip
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_no_product_of_cupys_is_captured(cupy, product, dtype):
    a = cupy.ones((3, 3), dtype)
    with cupy.cuda.Stream() as stream:
        stream.begin_capture()
        with pytest.raises(NotImplementedError, match="cuBLAS API during stream capture"):
            product(a)
        stream.end_capture()


@pytest.fixture
def library(cupy):
    from cupy_backends.cuda.libs import cublas

    return ours.library(cublas)


def call(library, a, out, name="cublasGemmEx"):
    """out = a aᵀᵀ, in float32, on the handle as it is."""
    one = np.array(1, np.float32)
    zero = np.array(0, np.float32)
    handle = sys_handle()
    shape = (handle, 0, 0, *a.shape, a.shape[0], one.ctypes.data)
    if name == "cublasGemmEx":
        return library.cublasGemmEx(
            *shape, a.data.ptr, 0, 3, a.data.ptr, 0, 3, zero.ctypes.data, out.data.ptr, 0, 3, 68, -1
        )
    return library.cublasGemmStridedBatchedEx(
        *shape, a.data.ptr, 0, 3, 9, a.data.ptr, 0, 3, 9, zero.ctypes.data, out.data.ptr, 0, 3, 9, 1, 68, -1
    )


def sys_handle():
    import cupy

    return cupy.cuda.device.get_cublas_handle()


@pytest.mark.parametrize("name", ["cublasGemmEx", "cublasGemmStridedBatchedEx"])
def test_the_library_computes(cupy, library, name):
    a, out = cupy.asarray(np.arange(9, dtype=np.float32).reshape(3, 3)), cupy.zeros((3, 3), np.float32)
    library.cublasSetStream_v2(sys_handle(), 0)
    assert call(library, a, out, name) == 0
    np.testing.assert_array_equal(out.get(), a.get() @ a.get())


def test_a_captured_product_needs_stream_and_workspace(cupy, library):
    """In this order, and with memory that is the recording's."""
    a, out, handle = cupy.ones((3, 3), np.float32), cupy.zeros((3, 3), np.float32), sys_handle()
    shared = cupy.empty(4096, np.uint8)
    with cupy.cuda.using_allocator(cupy.cuda.MemoryPool().malloc):
        own = cupy.empty(4096, np.uint8)
    library.cublasSetStream_v2(handle, 0)
    with cupy.cuda.Stream() as stream:
        stream.begin_capture()
        assert call(library, a, out) == libcublas.EXECUTION_FAILED  # goes to another stream
        library.cublasSetWorkspace_v2(handle, own.data.ptr, own.nbytes)
        library.cublasSetStream_v2(handle, stream.ptr)
        assert call(library, a, out) == libcublas.INVALID_VALUE  # the workspace is gone
        library.cublasSetWorkspace_v2(handle, shared.data.ptr, shared.nbytes)
        assert call(library, a, out) == libcublas.INVALID_VALUE  # others get that memory too
        assert library.cublasSetWorkspace_v2(handle, own.data.ptr + 16, 64) == libcublas.INVALID_VALUE
        assert library.cublasSetWorkspace_v2(handle, own.data.ptr, 8192) == libcublas.INVALID_VALUE
        assert library.cublasSetWorkspace_v2(handle, own.data.ptr, own.nbytes) == 0
        assert call(library, a, out) == 0
        graph = stream.end_capture()
    library.cublasSetStream_v2(handle, None)
    np.testing.assert_array_equal(out.get(), 0)
    graph.launch()
    np.testing.assert_array_equal(out.get(), 3)


def test_it_is_found_through_the_module_that_is_linked_to_it(cupy, library):
    from cupy_backends.cuda.libs import cublas

    assert cublas.__file__ != str(libcublas.library_path())
    address = ctypes.cast(library.cublasGemmEx, ctypes.c_void_p).value
    loaded = ctypes.CDLL(str(libcublas.library_path()))
    assert address == ctypes.cast(loaded.cublasGemmEx, ctypes.c_void_p).value


def test_a_pool_that_is_not_emptied_loses_its_memory(cupy):
    pool = cupy.cuda.MemoryPool()
    with cupy.cuda.using_allocator(pool.malloc):
        cupy.empty(1000, np.uint8)
    fake_cupy.memory.lost.clear()
    pool.free_all_blocks()
    del pool
    assert fake_cupy.memory.lost == [0]
