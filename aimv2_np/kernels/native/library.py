"""The compiled kernels: found beside this file, loaded once, called without Python's lock.

AIMV2_NP_NATIVE, read when the first model computes, says what to use: 0 for NumPy alone; the name of an instruction set
("avx512_amx", "avx512_bf16", "avx512", "avx2", "neon", "plain") for that one; `require` to refuse to go on without. By
default the fastest that this processor has.
"""

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final
from zlib import crc32

SUFFIX: Final = {"darwin": ".dylib"}
VARIABLE: Final = "AIMV2_NP_NATIVE"

_pointer, _long, _int = ctypes.c_void_p, ctypes.c_long, ctypes.c_int


class Kernels(ctypes.Structure):
    """`struct kernels` of kernels.h: one function an operation, which returns 0, or -1 where there is no memory.

    `gated_back`, `rms_norm_back` and `attention_back` are derivatives, and `transposed` is what that by weights needs.
    `dots` and `peak` are none of the network's: the first compares vectors in files; the second does so many tasks of
    multiplying and adding, and returns how many operations these were.
    """

    linear: Callable[..., int]
    gated: Callable[..., int]
    rms_norm: Callable[..., int]
    attention: Callable[..., int]
    layers: Callable[..., int]
    patches: Callable[..., int]
    transposed: Callable[..., int]
    gated_back: Callable[..., int]
    rms_norm_back: Callable[..., int]
    attention_back: Callable[..., int]
    dots: Callable[..., int]
    peak: Callable[[int, int], float]
    _fields_ = (
        ("_name", ctypes.c_char_p),
        ("linear", ctypes.CFUNCTYPE(_int, _pointer, _long, _long, _pointer, _pointer, _long, _int)),
        ("gated", ctypes.CFUNCTYPE(_int, _pointer, _pointer, _long, _long, _pointer, _int)),
        ("rms_norm", ctypes.CFUNCTYPE(_int, _pointer, _long, _long, _long, _pointer, _pointer, _long, _int)),
        ("attention", ctypes.CFUNCTYPE(
            _int, _pointer, _pointer, _pointer, _long, _long, ctypes.c_double, _pointer, _long, _pointer, _int)),
        ("layers", ctypes.CFUNCTYPE(
            _int, _pointer, _long, _long, _pointer, _long, _long, _long, _pointer, _long, _int)),
        ("patches", ctypes.CFUNCTYPE(_int, _pointer, _pointer, _pointer, _int)),
        ("transposed", ctypes.CFUNCTYPE(
            _int, _pointer, _long, _pointer, _long, _long, _long, _long, _pointer, _int)),
        ("gated_back", ctypes.CFUNCTYPE(
            _int, _pointer, _pointer, _pointer, _long, _long, _pointer, _pointer, _int)),
        ("rms_norm_back", ctypes.CFUNCTYPE(
            _int, _pointer, _pointer, _long, _long, _pointer, _pointer, _pointer, _int)),
        ("attention_back", ctypes.CFUNCTYPE(
            _int, _pointer, _long, _long, ctypes.c_double, _pointer, _long, _pointer, _int)),
        ("dots", ctypes.CFUNCTYPE(
            _int, _pointer, _long, _long, _long, _long, _pointer, _long, _pointer, _pointer, _int)),
        ("peak", ctypes.CFUNCTYPE(ctypes.c_double, _long, _int)),
    )  # fmt: skip

    @property
    def name(self) -> str:
        """Of the instruction set."""
        return str(self._name.decode())


def path() -> Path:
    """Where the compiled library is, if it has been compiled."""
    return Path(__file__).with_name("libaimv2" + SUFFIX.get(sys.platform, ".so"))


@cache
def _open() -> tuple[dict[str, Kernels], str]:
    """The kernels that this processor has, by name; why there are none, or not one that it should have."""
    again = "python -m aimv2_np.kernels.native.build compiles it"
    if sys.platform == "win32":
        return {}, "the kernels in C are not built on Windows"
    if not path().is_file():
        return {}, f"{path().name} was not compiled; install where a C compiler is, or a wheel with it"
    try:
        library = ctypes.CDLL(str(path()))
        library.aimv2_interface.restype = ctypes.c_uint32
        if library.aimv2_interface() != crc32(path().with_name("kernels.h").read_bytes()):
            return {}, f"{path().name} was compiled from other sources; {again}"
        library.aimv2_wrong.restype = ctypes.c_char_p
        wrong = library.aimv2_wrong()
    except (OSError, AttributeError) as error:
        return {}, f"{path().name} cannot be loaded ({error}); {again}"
    library.aimv2_kernels.restype = ctypes.POINTER(Kernels)
    found: dict[str, Kernels] = {}
    while pointer := library.aimv2_kernels(len(found)):
        found[pointer.contents.name] = pointer.contents
    return found, f"not {wrong.decode()}, which computed wrongly when it was tried" if wrong else ""


def available() -> dict[str, Kernels]:
    """Instruction set → its kernels, for those that this processor has, the fastest first; none without the library."""
    return _open()[0]


@cache
def _asked_for() -> Kernels | None:
    asked = os.environ.get(VARIABLE, "")
    if asked == "0":
        return None
    if asked in ("", "1"):
        return next(iter(available().values()), None)
    if asked in available():
        return available()[asked]
    names = ", ".join(available())
    if asked == "require":
        if names:
            return next(iter(available().values()))
        raise ImportError(f"{VARIABLE} is require, and {_open()[1]}")
    here = "; ".join(filter(None, (names or "none", _open()[1])))
    raise ValueError(f"{VARIABLE} is {asked!r}; expected 0, 1, require or one of what is here: {here}")


_chosen: list[Kernels | None] = []  # by `using`, the last one counts


def kernels() -> Kernels | None:
    """The kernels to compute with; None for NumPy."""
    return _chosen[-1] if _chosen else _asked_for()


def describe_native() -> dict[str, Any]:
    """What computes float32 on the CPU, as it goes into JSON.

    Returns:
        "used", the instruction set of the kernels that compute, or None; "available", those that this processor has;
        "reason" in words.
    """
    used, names = kernels(), list(available())
    if used is not None:
        others = ", ".join(name for name in names if name != used.name)
        reason = "; ".join(filter(None, (f"in C for {used.name}", others and f"{others} would run too", _open()[1])))
    elif names:
        reason = f"by NumPy, as {VARIABLE} is {os.environ.get(VARIABLE)}; there are kernels in C for {', '.join(names)}"
    else:
        reason = f"by NumPy: {_open()[1]}"
    return {"used": None if used is None else used.name, "available": names, "reason": reason}


@contextmanager
def using(name: str | None) -> Iterator[None]:
    """Compute with the kernels of that name, or with None by NumPy, in the `with` block, in all threads."""
    _chosen.append(None if name is None else available()[name])
    try:
        yield
    finally:
        _chosen.pop()
