"""`cupy.ndarray`: an array that refuses, as CuPy's does, to meet NumPy's unasked."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from tests.support.fake_cupy import devices
from tests.support.fake_cupy.memory import allocate, block_of

METHODS = {
    "all", "any", "argmax", "argmin", "argsort", "clip", "conj", "cumsum", "diagonal", "dot", "flatten", "max",
    "mean", "min", "nonzero", "prod", "ravel", "repeat", "reshape", "round", "squeeze", "std", "sum", "swapaxes",
    "take", "trace", "transpose", "var",
}  # fmt: skip
PRODUCTS = {"dot", "einsum", "inner", "matmul", "tensordot", "vdot"}  # which CuPy leaves to cuBLAS
COUNTING = {"argwhere", "flatnonzero", "nonzero", "unique"}  # whose results are as long as the values say
JOINING, MANY = {"concatenate", "stack"}, 8  # more arrays go through one kernel, to which their addresses are copied
PROPERTIES = {"dtype", "flags", "itemsize", "nbytes", "ndim", "shape", "size", "strides"}


class ndarray(NDArrayOperatorsMixin):  # noqa: N801
    """Wraps the array of the host that plays the device's memory."""

    __array_priority__ = 100
    __slots__ = ("__weakref__", "_array", "device")

    def __init__(
        self, shape: Any, dtype: Any = float, memptr: Any = None, strides: Any = None, order: str = "C"
    ) -> None:
        if memptr is None:
            self._array = allocate(shape, dtype)
        else:
            offset = memptr.ptr - memptr.mem.ctypes.data
            self._array = np.ndarray(shape, dtype, buffer=memptr.mem, offset=offset, strides=strides)
        self.device = devices.Device()

    @classmethod
    def of(cls, array: np.ndarray, device: int) -> "ndarray":
        """A wrapped array that lies in a block."""
        new = cls.__new__(cls)
        new._array, new.device = array, devices.Device(device)
        return new

    def __getattr__(self, name: str) -> Any:
        if name in PROPERTIES:
            return getattr(self._array, name)
        if name in METHODS:
            return lambda *args, **kwargs: run(getattr(np.ndarray, name), self, *args, **kwargs)
        raise AttributeError(f"fake cupy.ndarray has no {name!r}; add it to METHODS if CuPy's has it")

    # What only the host can know takes a copy to the host, which waits for the device.
    def _on_the_host(self, reason: str) -> np.ndarray:
        devices.wait_for_device(reason, reads=[block_of(self._array)])
        return self._array

    def get(self, *args: Any, **kwargs: Any) -> np.ndarray:
        return self._on_the_host("get").copy()

    def set(self, values: np.ndarray, stream: Any = None) -> None:
        if not isinstance(values, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if values.dtype != self.dtype or values.shape != self.shape:
            raise (TypeError if values.dtype != self.dtype else ValueError)(
                f"{values.dtype} {values.shape} into {self!r}"
            )
        if not (self.flags.c_contiguous or self.flags.f_contiguous):
            raise RuntimeError("Cannot set to non-contiguous array")
        devices.upload(block_of(self._array))
        self._array[...] = values

    def item(self, *args: Any) -> Any:
        return self._on_the_host("item").item(*args)

    def tolist(self) -> Any:
        return self._on_the_host("tolist").tolist()

    def __bool__(self) -> bool:
        return bool(self._on_the_host("bool"))

    def __float__(self) -> float:
        return float(self._on_the_host("float"))

    def __int__(self) -> int:
        return int(self._on_the_host("int"))

    def __index__(self) -> int:
        return self._on_the_host("index").__index__()

    def __format__(self, spec: str) -> str:
        array = self._on_the_host("format")
        return format(array if self.ndim else array[()], spec)

    def __repr__(self) -> str:
        return repr(self._array).replace("array", "cupy.array", 1)

    def __len__(self) -> int:
        return len(self._array)

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"shape": self.shape, "typestr": self.dtype.str, "data": (self.data.ptr, False), "version": 3}

    @property
    def data(self) -> Any:
        mem = block_of(self._array)
        return SimpleNamespace(ptr=self._array.ctypes.data, mem=mem, device_id=self.device.id)

    @property
    def T(self) -> "ndarray":  # noqa: N802
        return run(np.transpose, self)

    def astype(
        self, dtype: Any, order: str = "K", casting: Any = "unsafe", subok: Any = None, copy: bool = True
    ) -> Any:
        if not copy and self.dtype == dtype:
            return self
        return run(lambda a: a.astype(dtype, order=order), self)

    def copy(self, order: str = "C") -> "ndarray":
        """On the current device, wherever this array is."""
        return run(lambda: np.array(self._array, order=order))

    def view(self, dtype: Any = None) -> "ndarray":
        return run(lambda a: a.view() if dtype is None else a.view(dtype), self)

    def fill(self, value: Any) -> None:
        self[...] = value

    def __getitem__(self, index: Any) -> "ndarray":
        if any(isinstance(it, ndarray) and it.dtype == bool for it in (index if isinstance(index, tuple) else [index])):
            devices.wait_for_device("how many a mask selects")
        return run(_take, self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        array, reads = self._array, blocks_of([index, value])
        index, value = unwrap(index), unwrap(value)
        devices.execute(lambda: array.__setitem__(index, value), reads, [block_of(array)])

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **kwargs: Any) -> Any:
        if out is not None:
            (target,) = out if isinstance(out, tuple) else (out,)
            reads, inputs, destination = blocks_of(inputs), unwrap(inputs), unwrap(target)
            devices.execute(
                lambda: getattr(ufunc, method)(*inputs, out=destination, **kwargs), reads, [block_of(destination)]
            )
            return target
        if ufunc is np.matmul:
            return matmul(*inputs)
        return run(getattr(ufunc, method), *inputs, **kwargs)

    def __array_function__(self, function: Callable[..., Any], types: Any, args: Any, kwargs: Any) -> Any:
        return run(function, *args, **kwargs)


ndarray.__module__ = "cupy"


def matmul(a: Any, b: Any) -> ndarray:
    """As CuPy 14.2: bfloat16 only of two dimensions, half precision summed in float32."""
    dtype = np.promote_types(a.dtype, b.dtype)
    if dtype.name == "bfloat16" and max(a.ndim, b.ndim) > 2:
        raise TypeError("CuPy 14 has no product of stacks of bfloat16 matrices")
    if dtype.itemsize == 2:
        devices.call_cublas()
        return run(lambda a, b: np.matmul(a.astype(np.float32), b.astype(np.float32)).astype(dtype), a, b)
    return run(np.matmul, a, b)


def unwrap(value: Any) -> Any:
    """Arrays of the device as the host's; an array of the host is refused."""
    if isinstance(value, ndarray):
        return value._array
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, tuple | list):
        return type(value)(unwrap(it) for it in value)
    if isinstance(value, dict):
        return {key: unwrap(it) for key, it in value.items()}
    return value


def wrap(value: Any) -> Any:
    """Arrays and numbers of NumPy as arrays of the device; what is not a view of the device's memory goes there."""
    if isinstance(value, np.ndarray | np.generic):
        if not isinstance(value, np.ndarray) or block_of(value) is None:
            found = np.asarray(value)
            value = allocate(found.shape, found.dtype)
            if found.ndim and not found.flags.c_contiguous and found.flags.f_contiguous:
                value = allocate(found.shape[::-1], found.dtype).T
            value[...] = found
        return ndarray.of(value, devices.current())
    if isinstance(value, tuple | list):
        return type(value)(wrap(it) for it in value)
    return value


def run(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """`function` of NumPy on arrays of the device; while a stream is captured, again whenever the graph is launched."""
    devices.check_same_device(args)
    name = getattr(function, "__name__", "")
    if name in PRODUCTS:
        devices.call_cublas()
    if name in COUNTING:
        devices.wait_for_device(name)
    if name in JOINING and len(args[0]) > MANY:
        devices.check_upload()
    reads, args, kwargs = blocks_of([args, kwargs]), unwrap(args), unwrap(kwargs)
    with np.errstate(all="ignore"):  # a device warns of nothing
        result = wrap(function(*args, **kwargs))
    made = [it._array for it in (result if isinstance(result, tuple | list) else [result]) if isinstance(it, ndarray)]
    made = [it for it in made if all(block_of(it) is not block for block in reads)]  # others are views
    if devices.capturing():
        for it in made:
            devices.record(lambda it=it: np.copyto(it, function(*args, **kwargs)), reads, [block_of(it)])
    elif made:
        devices.execute(lambda: None, reads, [block_of(it) for it in made])
    return result


def _take(array: np.ndarray, index: Any) -> np.ndarray:
    """As CuPy: an index beyond the end of an axis is counted on from its beginning."""
    try:
        return array[index]
    except IndexError:
        parts = index if isinstance(index, tuple) else (index,)
        if not all(isinstance(it, np.ndarray | slice) for it in parts):
            raise
        sizes = zip(parts, array.shape, strict=False)
        return array[tuple(it if isinstance(it, slice) or it.dtype == bool else it % size for it, size in sizes)]


def blocks_of(value: Any) -> list[Any]:
    """The memory of all arrays of the device in there."""
    if isinstance(value, ndarray):
        return [block_of(value._array)]
    if isinstance(value, dict):
        value = list(value.values())
    return [block for it in value for block in blocks_of(it)] if isinstance(value, tuple | list) else []
