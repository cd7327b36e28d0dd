"""The library itself beneath CuPy's wrappers: `libcublas.so`, for those who call it by ctypes.

As with CuPy, the wrappers' extension module is linked to the library, whose functions are found through it. Compiled
once, its functions come back to Python. It is as strict as cuBLAS: a product goes to the stream that was set last, a
stream that is set takes the workspace away, and while that stream is captured a product is refused whose workspace is
not of the memory that the recording has to itself.
"""

import ctypes
import hashlib
import os
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.cuda_emulator.emulator import BUILT
from tests.support.fake_cupy import devices, memory

SUCCESS, INVALID_VALUE, EXECUTION_FAILED = 0, 7, 13  # cublasStatus_t
PRODUCT = "void* h, int ta, int tb, int m, int n, int k, const void* alpha, const void* a, int at, int lda"
PARAMETERS = {
    "cublasSetStream_v2": "void* handle, void* stream",
    "cublasSetWorkspace_v2": "void* handle, void* workspace, size_t bytes",
    "cublasGemmEx": f"{PRODUCT}, const void* b, int bt, int ldb, const void* beta, void* c, int ct, int ldc, "
    "int compute, int algorithm",
    "cublasGemmStridedBatchedEx": f"{PRODUCT}, long long sa, const void* b, int bt, int ldb, long long sb, "
    "const void* beta, void* c, int ct, int ldc, long long sc, int batch, int compute, int algorithm",
}
TYPES = {"void*": ctypes.c_void_p, "int": ctypes.c_int, "size_t": ctypes.c_size_t, "long long": ctypes.c_longlong}

_streams: dict[int, int] = {}  # handle -> the stream that was set
_workspaces: dict[int, int] = {}  # handle -> where its workspace is
captured: list[str] = []  # the functions that have put a product into a recording


def _source() -> str:
    lines = ["#include <stddef.h>"]
    for name, parameters in PARAMETERS.items():
        names = ", ".join(it.split()[-1] for it in parameters.split(", "))
        lines.append(f"static int (*go_{name})({parameters});")
        lines.append(f"void install_{name}(void* to) {{ go_{name} = (int (*)({parameters}))to; }}")
        lines.append(f"int {name}({parameters}) {{ return go_{name}({names}); }}")
    return "\n".join(lines)


def _types(parameters: str) -> list[Any]:
    return [TYPES[it.rsplit(" ", 1)[0].removeprefix("const ")] for it in parameters.split(", ")]


@cache
def path() -> str:
    """Of the extension module that is linked to the library, whose functions answer from now on."""
    extension = _built()
    loaded = ctypes.CDLL(str(extension))
    for name, parameters in PARAMETERS.items():
        kind = ctypes.CFUNCTYPE(ctypes.c_int, *_types(parameters))
        answer = kind(_answering(FUNCTIONS[name]))
        _kept.append(answer)
        getattr(loaded, f"install_{name}")(answer)
    return str(extension)


def library_path() -> Path:
    """Of the library itself."""
    return BUILT / f"libcublas-{hashlib.sha256(_source().encode()).hexdigest()[:16]}.so"


def _built() -> Path:
    """The extension module, compiled with its library unless they have been before; others may be at it, too."""
    library = library_path()
    extension = library.with_name(library.name.replace("libcublas", "cublas.cpython"))
    if not extension.exists():
        BUILT.mkdir(parents=True, exist_ok=True)
        code = BUILT / f"libcublas.{os.getpid()}.c"
        code.write_text(_source())
        _compile(library, f"-Wl,-soname,{library.name}", str(code))
        code.write_text("")
        _compile(extension, str(code), str(library), f"-Wl,-rpath,{BUILT}")
        code.unlink()
    return extension


_kept: list[Any] = []  # C holds the addresses of these


def _compile(to: Path, *arguments: str) -> None:
    draft = to.with_suffix(f".{os.getpid()}")
    command = ["g++", "-xc", *(it for it in arguments if it.endswith(".c")), "-xnone", "-Wl,--no-as-needed"]
    command += [*(it for it in arguments if not it.endswith(".c")), "-shared", "-fPIC", "-o", str(draft)]
    subprocess.run(command, check=True, capture_output=True)
    draft.replace(to)


def _answering(function: Callable[..., None]) -> Callable[..., int]:
    """An exception cannot pass through C: it becomes a status."""

    def answer(*args: Any) -> int:
        try:
            function(*(it or 0 for it in args))
        except ValueError:
            return INVALID_VALUE
        except Exception:
            return EXECUTION_FAILED
        return SUCCESS

    return answer


def _set_stream(handle: int, stream: int) -> None:
    _streams[handle] = stream
    _workspaces.pop(handle, None)


def _set_workspace(handle: int, workspace: int, size: int) -> None:
    block = memory.block_at(workspace)
    if workspace % 256 or workspace + size > block.ctypes.data + block.start + block.size_in_use:
        raise ValueError("a workspace must be aligned, and no larger than its memory")
    _workspaces[handle] = workspace


def _product(name: str, handle: int, *args: Any) -> None:
    from tests.support.fake_cupy import cublas

    if _streams.get(handle) != devices.stream().ptr:
        raise RuntimeError("the product would go to another stream")
    if devices.capturing():
        if memory.block_at(_workspaces.get(handle, 0)).pool is memory.default_pool:
            raise ValueError("others would get this workspace while the graph still uses it")
        captured.append(name)
    cublas.multiply(*args)


def _gemm(handle: int, *args: Any) -> None:
    from tests.support.fake_cupy import cublas

    _product("cublasGemmEx", handle, *cublas.as_batch(*args))


def _gemm_batched(handle: int, *args: Any) -> None:
    _product("cublasGemmStridedBatchedEx", handle, *args)


FUNCTIONS: dict[str, Callable[..., None]] = {
    "cublasSetStream_v2": _set_stream,
    "cublasSetWorkspace_v2": _set_workspace,
    "cublasGemmEx": _gemm,
    "cublasGemmStridedBatchedEx": _gemm_batched,
}
