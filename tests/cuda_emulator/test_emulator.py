"""The emulator computes what a device would, and notices what a device would get wrong."""

import numpy as np
import pytest

from tests.support import fake_cupy
from tests.support.cuda_emulator import emulator
from tests.support.cuda_emulator.emulator import EmulatorError

pytestmark = pytest.mark.skipif(emulator.missing() is not None, reason=str(emulator.missing()))


@pytest.fixture
def cupy():
    with fake_cupy.installed() as module:
        yield module


def kernel(cupy, code, name="kernel<float>"):
    return cupy.RawModule(code=code, name_expressions=(name,)).get_function(name)


REVERSE = """
template <class T> __global__ void kernel(T* y, const T* x, int n) {
    __shared__ T tile[256];
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) tile[threadIdx.x] = x[i];
    BARRIER
    int from = blockDim.x - 1 - threadIdx.x;
    if (i < n) y[i] = tile[from];
}
"""


def test_threads_share_memory_and_meet(cupy):
    x = cupy.asarray(np.arange(256, dtype=np.float32))
    y = cupy.empty(256, np.float32)
    kernel(cupy, REVERSE.replace("BARRIER", "__syncthreads();"))((4,), (64,), (y, x, np.int32(256)))
    np.testing.assert_array_equal(y.get(), x.get().reshape(4, 64)[:, ::-1].ravel())


def test_a_missing_barrier_shows(cupy):
    x = cupy.asarray(np.arange(256, dtype=np.float32))
    y = cupy.empty(256, np.float32)
    kernel(cupy, REVERSE.replace("BARRIER", ""))((4,), (64,), (y, x, np.int32(256)))
    assert not np.array_equal(y.get(), x.get().reshape(4, 64)[:, ::-1].ravel())


def test_lanes_exchange(cupy):
    code = """
    template <class T> __global__ void kernel(T* y, const T* x) {
        T v = x[threadIdx.x];
        for (int step = 16; step; step /= 2) v += __shfl_xor_sync(0xffffffffu, v, step);
        y[threadIdx.x] = v + __shfl_sync(0xffffffffu, x[threadIdx.x], 3) + __shfl_down_sync(0xffffffffu, v, 1);
    }
    """
    x = np.arange(64, dtype=np.float32)
    y = cupy.empty(64, np.float32)
    kernel(cupy, code)((1,), (64,), (y, cupy.asarray(x)))
    sums = np.repeat(x.reshape(2, 32).sum(axis=1), 32)
    np.testing.assert_array_equal(y.get(), 2 * sums + np.repeat([3, 35], 32))


def test_a_barrier_that_not_all_reach(cupy):
    code = "template <class T> __global__ void kernel(T* y) { if (threadIdx.x % 2) __syncthreads(); *y = 1; }"
    with pytest.raises(EmulatorError, match="wait for each other for ever"):
        kernel(cupy, code)((1,), (8,), (cupy.empty(1, np.float32),))


WARPS = """
template <class T> __global__ void kernel(T* y) {
    __shared__ int turn;  // -1, as all shared memory begins
    if (threadIdx.x % 32 == 0) y[blockIdx.x * 4 + threadIdx.x / 32] = ++turn;
    __syncwarp();
    if (threadIdx.x % 32 == 0) y[blockIdx.x * 4 + threadIdx.x / 32] += 10 * ++turn;
}
"""


def test_every_order_of_warps_is_tried(cupy):
    """Each runs to its end before the next begins: in order, in reverse, shuffled; and in some blocks side by side."""
    y = cupy.empty((64, 4), np.float32)
    kernel(cupy, WARPS)((64,), (128,), (y,))
    orders = {tuple(int(it) for it in block) for block in y.get()}
    alone = {order for order in orders if sorted(order) == [10, 32, 54, 76]}
    assert {(10, 32, 54, 76), (76, 54, 32, 10)} < alone
    assert len(alone) > 4
    assert orders - alone == {(40, 51, 62, 73)}  # one step of each in turn


def cases(cupy, bodies):
    """A function that runs one of these bodies of a kernel on a warp and eight numbers, all zero, and n = 16384."""
    choices = "\n".join(f"if (which == {i}) {{ {body} }}" for i, body in enumerate(bodies))
    code = f"template <class T> __global__ void kernel(T* y, int which, int n) {{\nT x = threadIdx.x;\n{choices}\n}}"
    run, y = kernel(cupy, code), cupy.zeros(8, np.float32)
    return lambda i: run((1,), (32,), (y, np.int32(i), np.int32(16384)))


EXCHANGES = {
    "x = __shfl_xor_sync(0x0000ffffu, x, 1);": r"lane \d+ takes part .* whose mask 0x0000ffff leaves it out",
    "if (threadIdx.x < 16) x = __shfl_xor_sync(0xffffffffu, x, 1);": "not all reach a barrier",
    "if (threadIdx.x < 16) x = __shfl_sync(0x0000ffffu, x, 20);": "takes the value of lane 20, which gives none",
    "if (threadIdx.x < 16) x = __shfl_sync(0xffffffffu, x, 0); else __syncwarp();": "different instructions",
    "__syncwarp(threadIdx.x < 8 ? 0xffu : 0xffffff01u);": "with masks 0x|not all reach",
}  # fmt: skip


def test_lanes_that_should_not_be_there_or_should(cupy):
    run = cases(cupy, EXCHANGES)
    for i, error in enumerate(EXCHANGES.values()):
        with pytest.raises(EmulatorError, match=error):
            run(i)


UNDEFINED = {
    "*y = n * 65536 * 4;": r"a product overflows at kernel.cu:3: .* \*y = n \* 65536 \* 4;",
    "*y = n + 2147483647;": "a sum overflows",
    "*y = -2147483647 - n;": "a difference overflows",
    "*y = 1 << n;": "a shift is too far",
    "*y = 1 / (n - 16384);": "a division overflows",
    "int a[4] = {n, n, n, n}; *y = a[n];": "an index is outside of its array",
    "*reinterpret_cast<float4*>(y + 1) = float4{};": "not aligned",
    "T* none = n ? nullptr : y; *none = 1;": "a null pointer",
    "y[n * 1000000000ll] = 1;": "where there is none",
}


def test_what_a_device_would_not_mention(cupy):
    """Undefined behaviour and wild addresses end the launch, with the line of the kernel where that can be known."""
    run = cases(cupy, UNDEFINED)
    for i, error in enumerate(UNDEFINED.values()):
        with pytest.raises(EmulatorError, match=error):
            run(i)


def test_some_lanes_exchange_among_themselves(cupy):
    code = """
    template <class T> __global__ void kernel(T* y) {
        T x = threadIdx.x;
        y[threadIdx.x] = threadIdx.x < 8 ? __shfl_sync(0xffu, x, 7) : __shfl_xor_sync(0xffffff00u, x, 1);
    }
    """
    y = cupy.empty(32, np.float32)
    kernel(cupy, code)((1,), (32,), (y,))
    np.testing.assert_array_equal(y.get(), [7] * 8 + [i ^ 1 for i in range(8, 32)])


def test_shared_memory_begins_as_nan_in_every_block(cupy):
    code = """
    template <class T> __global__ void kernel(T* y) {
        __shared__ T own[3];
        extern __shared__ unsigned char shared_memory[];
        T* asked_for = reinterpret_cast<T*>(shared_memory);
        y[2 * blockIdx.x] = own[2];
        y[2 * blockIdx.x + 1] = asked_for[3];
        own[2] = asked_for[3] = 1;
    }
    """
    y = cupy.empty(8, np.float32)
    kernel(cupy, code)((4,), (1,), (y,), shared_mem=16)
    assert np.isnan(y.get()).all()


def test_writing_behind_shared_memory(cupy):
    code = """
    template <class T> __global__ void kernel(T* y) {
        extern __shared__ unsigned char shared_memory[];
        shared_memory[threadIdx.x] = 1;
    }
    """
    with pytest.raises(EmulatorError, match="wrote behind its dynamic shared memory"):
        kernel(cupy, code)((1,), (17,), (cupy.empty(1, np.float32),), shared_mem=16)


def test_too_much_static_shared_memory(cupy):
    code = "template <class T> __global__ void kernel(T* y) { __shared__ T own[12289]; own[0] = 1; *y = own[0]; }"
    with pytest.raises(EmulatorError, match="more shared memory"):
        kernel(cupy, code)((1,), (1,), (cupy.empty(1, np.float32),))


def test_denormal_numbers_are_zero(cupy):
    """CuPy compiles with -ftz=true. What is only moved keeps its bits, and the host's arithmetic stays as it is."""
    code = """
    template <class T> __global__ void kernel(T* y, const T* x) {
        y[0] = x[0] * 0.5f;
        y[1] = x[1] + 0.0f;
        y[2] = x[1] * 1e30f;
        y[3] = x[1];
        y[4] = expf(-100.0f);
    }
    """
    x = np.array([1.5e-38, 1e-40], np.float32)
    y = cupy.empty(5, np.float32)
    kernel(cupy, code)((1,), (1,), (y, cupy.asarray(x)))
    np.testing.assert_array_equal(y.get(), np.array([0, 0, 0, x[1], 0], np.float32))
    assert x[0] * np.float32(0.5) > 0


def test_only_the_ends_of_a_grid(cupy):
    code = "template <class T> __global__ void kernel(T* y) { y[blockIdx.x + gridDim.x * blockIdx.y] = 1; }"
    y = cupy.zeros((3, 4), np.float32)
    with emulator.first_and_last_blocks(2):
        kernel(cupy, code)((4, 3), (1,), (y,))
    np.testing.assert_array_equal(y.get().ravel(), [1, 1, *[0] * 8, 1, 1])


def test_writing_outside(cupy):
    code = "template <class T> __global__ void kernel(T* y) { y[threadIdx.x] = 1; }"
    with pytest.raises(EmulatorError, match="wrote outside"):
        kernel(cupy, code)((1,), (130,), (cupy.empty(128, np.float32),))


def test_moving_what_is_outside_to_outside(cupy):
    code = "template <class T> __global__ void kernel(T* y, const T* x) { y[threadIdx.x] = x[threadIdx.x]; }"
    x = cupy.asarray(np.ones(128, np.float32))
    with pytest.raises(EmulatorError, match="wrote outside"):
        kernel(cupy, code)((1,), (130,), (cupy.empty(128, np.float32), x))


def test_reading_what_was_never_written_is_nan(cupy):
    code = """
    template <class T> __global__ void kernel(T* y, const T* x) {
        extern __shared__ unsigned char shared_memory[];
        y[0] = x[4];
        y[1] = *reinterpret_cast<T*>(shared_memory);
    }
    """
    y = cupy.empty(2, np.float32)
    kernel(cupy, code)((1,), (1,), (y, cupy.asarray(np.ones(4, np.float32))), shared_mem=16)
    assert np.isnan(y.get()).all()


def test_a_copy_arrives_at_once_or_when_it_is_waited_for(cupy):
    """Nobody knows when, on a device: the emulator does the one in half of the blocks and the other in the rest."""
    code = """
    template <class T> __global__ void kernel(T* y, const T* x) {
        __shared__ __align__(16) T tile[8];
        y += 16 * blockIdx.x;
        copy_async(tile, x, 16);
        commit_copies();
        copy_async(tile + 4, x + 4, 8);
        commit_copies();
        wait_for_copies<1>();
        for (int i = 0; i < 8; ++i) y[i] = tile[i];
        wait_for_copies<0>();
        for (int i = 0; i < 8; ++i) y[8 + i] = tile[i];
    }
    """
    y = cupy.empty((8, 16), np.float32)
    kernel(cupy, code)((8,), (1,), (y, cupy.asarray(np.arange(1, 9, dtype=np.float32))))
    np.testing.assert_array_equal(y.get()[:, :4], [[1, 2, 3, 4]] * 8)
    np.testing.assert_array_equal(y.get()[:, 8:], [[1, 2, 3, 4, 5, 6, 0, 0]] * 8)
    at_once = (y.get()[:, 4:8] == [5, 6, 0, 0]).all(axis=1)
    assert at_once.sum() == 4
    assert np.isnan(y.get()[~at_once, 4:8]).all()


def test_a_copy_that_nobody_waits_for(cupy):
    code = """
    template <class T> __global__ void kernel(T* y, const T* x) {
        __shared__ __align__(16) T tile[8];
        copy_async(tile, x, 16);
        commit_copies();
    }
    """
    with pytest.raises(EmulatorError, match="before its asynchronous copies had arrived"):
        kernel(cupy, code)((1,), (1,), (cupy.empty(1, np.float32), cupy.asarray(np.ones(4, np.float32))))


@pytest.mark.parametrize(("args", "found"), [
    ((np.float64(1), np.int32(1)), "p8 f8 i4"), ((np.float32(1), np.int64(1)), "p8 f4 i8"), ((np.float32(1),), "p8 f4"),
    ((np.int32(1), np.float32(1)), "p8 i4 f4"),
])  # fmt: skip
def test_arguments_of_another_type(cupy, args, found):
    code = "template <class T> __global__ void kernel(T* y, float a, int b) { *y = a + b; }"
    with pytest.raises(EmulatorError, match=f"declares p8 f4 i4, but was given {found}"):
        kernel(cupy, code)((1,), (1,), (cupy.empty(1, np.float32), *args))


def test_memory_of_the_host_is_no_argument(cupy):
    code = "template <class T> __global__ void kernel(T* y) { *y = 1; }"
    with pytest.raises(TypeError, match="Unsupported type"):
        kernel(cupy, code)((1,), (1,), (np.empty(1, np.float32),))


def test_too_much_shared_memory_must_be_asked_for(cupy):
    code = "template <class T> __global__ void kernel(T* y) { *y = 1; }"
    run, y = kernel(cupy, code), cupy.empty(1, np.float32)
    with pytest.raises(fake_cupy.devices.CUDARuntimeError, match="shared memory"):
        run((1,), (1,), (y,), shared_mem=50 << 10)
    run.max_dynamic_shared_size_bytes = 50 << 10
    run((1,), (1,), (y,), shared_mem=50 << 10)
    assert y.get() == 1


def test_what_does_not_compile(cupy):
    code = "template <class T> __global__ void kernel(T* y) { y = nonsense; }"
    with pytest.raises(EmulatorError, match=r"g\+\+ does not take kernel<float>"):
        kernel(cupy, code)((1,), (1,), (cupy.empty(1, np.float32),))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_rounds_as_numpy_does(cupy, dtype):
    from tests.kernels.cuda.arrays import DTYPES

    code = """
    #include <cuda_fp16.h>
    template <class T> __global__ void kernel(T* y, const float* x, float* back) {
        y[threadIdx.x] = T(x[threadIdx.x]);
        back[threadIdx.x] = float(y[threadIdx.x]);
    }
    """
    x = np.concatenate([np.random.default_rng(0).standard_normal(900) * 10.0 ** np.arange(-9, 9).repeat(50),
                        [0.0, -0.0, 65504, 65520, 1e38, np.inf, -np.inf, 2.0**-24, 2.0**-25, 1 + 2.0**-9]])  # fmt: skip
    x = x.astype(np.float32)
    y, back = cupy.empty(len(x), DTYPES[dtype]), cupy.empty(len(x), np.float32)
    name = {"float16": "kernel<__half>", "bfloat16": "kernel<__nv_bfloat16>"}[dtype]
    kernel(cupy, code, name)((1,), (len(x),), (y, cupy.asarray(x), back))
    with np.errstate(over="ignore"):
        expected = x.astype(DTYPES[dtype])
    np.testing.assert_array_equal(y.get().view(np.uint16), expected.view(np.uint16))
    np.testing.assert_array_equal(back.get(), expected.astype(np.float32))


def test_tensor_cores_multiply(cupy):
    """The layout of the PTX manual: a product of two matrices that were loaded as its fragments say."""
    code = """
    #include <cuda_fp16.h>
    template <class T> __global__ void kernel(float* d, const T* a, const T* b) {
        __shared__ __align__(16) T left[16 * 16], right[16 * 16];
        for (int i = threadIdx.x; i < 256; i += 32) left[i] = a[i], right[i] = b[i];
        __syncwarp();
        int m = threadIdx.x / 8, r = threadIdx.x % 8, g = threadIdx.x / 4, t = threadIdx.x % 4;
        unsigned x[4], y[4];
        load_matrices(x, left + (m % 2 * 8 + r) * 16 + m / 2 * 8);
        load_matrices_transposed(y, right + (m % 2 * 8 + r) * 16 + m / 2 * 8);
        float low[4] = {}, high[4] = {};
        multiply_add_16x8x16<T>(low, x, {y[0], y[1]});
        multiply_add_16x8x16<T>(high, x, {y[2], y[3]});
        for (int i = 0; i < 4; ++i) {
            d[(g + i / 2 * 8) * 16 + 2 * t + i % 2] = low[i];
            d[(g + i / 2 * 8) * 16 + 8 + 2 * t + i % 2] = high[i];
        }
    }
    """
    a, b = np.random.default_rng(0).standard_normal((2, 16, 16)).astype(np.float16)
    d = cupy.empty((16, 16), np.float32)
    kernel(cupy, code, "kernel<__half>")((1,), (32,), (d, cupy.asarray(a), cupy.asarray(b)))
    np.testing.assert_allclose(d.get(), a.astype(float) @ b.astype(float), atol=1e-5)
