"""A stand-in for CuPy on a machine without a GPU: `sys.modules["cupy"]` for a while.

Arrays are NumPy's in disguise, kernels run in the emulator of `tests/support/cuda_emulator`, products in NumPy. It is
as strict as CuPy where code goes wrong unseen: arrays of NumPy and of the device do not mix, a captured stream allows
no waiting, kernels must get exactly the types they declare, memory is NaN until it is written, and writing outside of
an array is noticed.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from types import ModuleType
from typing import Any

import ml_dtypes  # noqa: F401
import numpy as np

from tests.support.cuda_emulator import emulator
from tests.support.fake_cupy import cublas, devices, libcublas, memory
from tests.support.fake_cupy.array import ndarray, run, wrap
from tests.support.fake_cupy.memory import block_of

LIBRARIES = ("cupy", "cupy_backends", "cupyx")
launches: list[str] = []  # the kernels launched, or captured, since the list was cleared
launched: set[str] = set()  # all that ever were


class RawKernel:
    """An instance of a kernel, and its launches."""

    def __init__(self, source: str, name: str) -> None:
        self.source, self.name = source, name
        self.max_dynamic_shared_size_bytes = 48 << 10

    def __call__(self, grid: Sequence[int], block: Sequence[int], args: Sequence[Any], *, shared_mem: int = 0) -> None:
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise devices.CUDARuntimeError("cudaErrorInvalidValue: more dynamic shared memory than was asked for")
        arrays = [arg for arg in args if isinstance(arg, ndarray)]
        devices.check_same_device(arrays)
        for arg in args:
            if arg is not None and not isinstance(arg, ndarray | np.generic):
                raise TypeError(f"Unsupported type {type(arg)}: arrays of the device and NumPy scalars are taken")
        blocks = [block_of(arg._array) if isinstance(arg, ndarray) else None for arg in args]
        declared = zip(blocks, self.parameters, strict=False)  # numbers, which come last, may hide in a macro
        writes = [block for block, it in declared if block is not None and "const" not in it]
        values = [arg.data.ptr if isinstance(arg, ndarray) else 0 if arg is None else arg for arg in args]
        launches.append(self.name)
        launched.add(self.name)
        library = emulator.build(self.source, self.name)

        def work() -> None:
            emulator.launch(library, grid, block, values, shared_mem)
            for array in arrays:
                home = block_of(array._array)
                if home is None or not home.intact():
                    raise emulator.EmulatorError(f"{self.name} wrote outside of one of its arrays")

        devices.execute(work, [block for block in blocks if block is not None], writes)

    @cached_property
    def parameters(self) -> list[str]:
        """As they are declared; a pointer to what the kernel only reads is one to `const`."""
        name = re.escape(self.name.partition("<")[0])
        (found,) = re.findall(rf"__global__[^;{{}}]*?\b{name}\s*\(([^{{}}]*)\)\s*{{", self.source)
        return str(found).split(",")


class RawModule:
    """A source of kernels."""

    def __init__(self, *, code: str, options: Sequence[str] = (), name_expressions: Sequence[str] = ()) -> None:
        self.code, self.names = code, tuple(name_expressions)

    def get_function(self, name: str) -> RawKernel:
        if name not in self.names:
            raise KeyError(name)
        return RawKernel(self.code, name)


def _asarray(value: Any, dtype: Any = None, order: Any = None, *, copy: bool = False, **_: Any) -> ndarray:
    if isinstance(value, ndarray):
        return value.astype(value.dtype if dtype is None else dtype, copy=copy)
    array = wrap(np.array(value, dtype))
    if isinstance(value, np.generic | int | float | bool):  # goes along with a kernel that fills the array
        devices.execute(lambda: None, writes=[block_of(array._array)])
    else:
        devices.upload(block_of(array._array))
    return array


def _empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    shape = (shape,) if isinstance(shape, int | np.integer) else tuple(int(n) for n in shape)
    return ndarray(shape, dtype)


def _empty_like(x: ndarray, dtype: Any = None) -> ndarray:
    return _empty(x.shape, x.dtype if dtype is None else dtype)


def _filled(value: Any, shape: Any, dtype: Any = float) -> ndarray:
    array = _empty(shape, dtype)
    array[...] = value
    return array


def _asnumpy(value: Any, *args: Any, **kwargs: Any) -> np.ndarray:
    return value.get() if isinstance(value, ndarray) else np.asarray(value)


class _Function(partial[Any]):
    """A function of NumPy, on arrays of the device."""

    def at(self, array: ndarray, index: Any, values: Any) -> None:
        """Of a ufunc: in place, once for each time that an element is named."""
        run(self.args[0].at, array, index, values)


class _Cupy(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = getattr(np, name)
        return _Function(run, value) if callable(value) and not isinstance(value, type) else value


class _Extension(ModuleType):
    """A module of C that is linked to cuBLAS."""

    @property
    def __file__(self) -> str:  # type: ignore[override]
        return libcublas.path()


def _module(name: str, **contents: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(contents)
    return module


def _cuda() -> dict[str, ModuleType]:
    runtime = _module(
        "cupy.cuda.runtime",
        CUDARuntimeError=devices.CUDARuntimeError,
        getDeviceCount=devices.get_device_count,
        getDevice=devices.current,
        setDevice=lambda i: devices.Device(i).use(),
        deviceSynchronize=lambda: devices.wait_for_all("deviceSynchronize"),
        getDeviceProperties=lambda i: {"name": b"Emulated on the CPU", "totalGlobalMem": 80 << 30, **devices.limits},
        memGetInfo=lambda: devices.Device().mem_info,
        runtimeGetVersion=lambda: 12090,
        driverGetVersion=lambda: 12090,
        is_hip=False,
    )  # fmt: skip
    pools = _module("cupy.cuda.memory", OutOfMemoryError=memory.OutOfMemoryError, MemoryPool=memory.MemoryPool)
    handles = _module("cupy.cuda.device", get_cublas_handle=cublas.handle, Device=devices.Device,
                      get_compute_capability=lambda: devices.settings["compute_capability"])  # fmt: skip
    cuda = _module(
        "cupy.cuda", runtime=runtime, memory=pools, device=handles, Device=devices.Device, Stream=devices.Stream,
        Event=devices.Event, Graph=devices.Graph, get_current_stream=devices.stream,
        get_elapsed_time=devices.get_elapsed_time, MemoryPool=memory.MemoryPool, Memory=memory.Memory,
        MemoryPointer=memory.MemoryPointer,
        using_allocator=memory.using_allocator, is_available=lambda: devices.settings["devices"] > 0,
        get_cublas_handle=cublas.handle, get_local_runtime_version=lambda: 12090,
        nvrtc=_module("cupy.cuda.nvrtc", getVersion=lambda: (12, 9)),
    )  # fmt: skip
    return {"cupy.cuda": cuda, "cupy.cuda.runtime": runtime, "cupy.cuda.memory": pools, "cupy.cuda.device": handles}


def make() -> dict[str, ModuleType]:
    """The modules, by name."""
    cupy, parts = _Cupy("cupy"), _cuda()
    vars(cupy).update(
        __version__="14.2.0", __path__=[], ndarray=ndarray, asarray=_asarray, asnumpy=_asnumpy, empty=_empty,
        array=partial(_asarray, copy=True), empty_like=_empty_like,
        full=lambda shape, v, dtype=float: _filled(v, shape, dtype),
        zeros=partial(_filled, 0), ones=partial(_filled, 1), RawModule=RawModule, RawKernel=RawKernel,
        cuda=parts["cupy.cuda"], get_default_memory_pool=lambda: memory.default_pool,
        get_array_module=lambda *args: cupy if any(isinstance(a, ndarray) for a in args) else np,
        matmul=lambda a, b: a @ b, get_default_pinned_memory_pool=lambda: memory.MemoryPool(),
    )  # fmt: skip
    wrappers = _Extension("cupy_backends.cuda.libs.cublas")
    vars(wrappers).update({name: value for name, value in vars(cublas).items() if not name.startswith("__")})
    libs = _module("cupy_backends.cuda.libs", cublas=wrappers, __path__=[])
    backends_cuda = _module("cupy_backends.cuda", libs=libs, __path__=[])
    backends = _module("cupy_backends", cuda=backends_cuda, __path__=[])
    return {
        "cupy": cupy, **parts, "cupy_backends": backends, "cupy_backends.cuda": backends_cuda,
        "cupy_backends.cuda.libs": libs, "cupy_backends.cuda.libs.cublas": wrappers,
    }  # fmt: skip


_modules = make()


@contextmanager
def installed(devices_present: int = 1, compute_capability: str = "90") -> Iterator[ModuleType]:
    """`import cupy` gives the stand-in, with so many devices of that kind."""
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in LIBRARIES}
    settings = dict(devices.settings)
    for name in before:
        del sys.modules[name]
    sys.modules.update(_modules)
    devices.settings.update(devices=devices_present, compute_capability=compute_capability)
    memory.default_pool.set_limit(0)
    try:
        yield _modules["cupy"]
    finally:
        for name in _modules:
            sys.modules.pop(name, None)
        sys.modules.update(before)
        devices.settings.update(settings)
        memory.default_pool.set_limit(0)
