"""Compiling a kernel on first use, and launching it on the current device and stream.

A kernel is a template in `<name>.cu`; an instance is compiled by NVRTC when it is first needed, and CuPy keeps the
binary on disk. Nothing here imports CuPy: its functions come from the arrays.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from aimv2_np.backends.arrays import namespace
from aimv2_np.shapes import Array

FOLDER = Path(__file__).parent
OPTIONS = ("--std=c++17",)
ELEMENTS = {"float32": "float", "float16": "__half", "bfloat16": "__nv_bfloat16"}
VECTOR_BYTES = 16  # the widest read or write of one thread


@cache
def source(name: str) -> str:
    """The text of `<name>.cu` with our own headers pasted in: CuPy's cache of binaries goes by this text alone."""
    return _paste(f"{name}.cu", set())


def _paste(file: str, seen: set[str]) -> str:
    lines = []
    for line in (FOLDER / file).read_text(encoding="utf-8").splitlines():
        if line == "#pragma once":
            continue
        if line.startswith('#include "'):
            header = line.split('"')[1]
            if header not in seen:
                seen.add(header)
                lines.append(_paste(header, seen))
        else:
            lines.append(line)
    return "\n".join(lines)


def element(array: Array) -> str:
    """The CUDA name of the array's element type."""
    return ELEMENTS[array.dtype.name]


def computes(*arrays: Array | None) -> bool:
    """Whether the kernels have instances for these arrays: all of one of the types that they are written for."""
    kinds = [array.dtype for array in arrays if array is not None]
    return kinds[0].name in ("float32", "float16", "bfloat16") and all(kind == kinds[0] for kind in kinds)


def width(size: int, *arrays: Array) -> int:
    """How many neighbours a thread may read at once from rows of `size` elements: 16 bytes' worth, or one.

    All of them must begin, and all their rows, at multiples of 16 bytes.
    """
    step = VECTOR_BYTES // min(array.itemsize for array in arrays)
    whole = size % step == 0
    for array in arrays:
        starts = (array.data.ptr, *(stride for stride in array.strides[:-1] if stride))
        whole = whole and array.strides[-1] == array.itemsize and not any(start % VECTOR_BYTES for start in starts)
    return step if whole else 1


def block_threads(pieces: int) -> int:
    """Threads of a block that takes `pieces` in turns: whole warps, at most 256 threads, turns of about equal size."""
    turns = -(-pieces // 256)
    return -(-pieces // (32 * turns)) * 32


@cache
def _kernel(xp: ModuleType, device: int, file: str, expression: str, shared: int) -> Any:
    module = xp.RawModule(code=source(file), options=OPTIONS, name_expressions=(expression,))
    kernel = module.get_function(expression)
    if shared > 48 << 10:  # more than that is to be asked for, on each device
        kernel.max_dynamic_shared_size_bytes = shared
    return kernel


def launch(
    file: str,
    template: Sequence[Any],
    grid: Sequence[int],
    block: int,
    args: Sequence[Any],
    shared: int = 0,
) -> None:
    """Run an instance of the kernel of `<file>.cu`, which bears the file's name, on the current device and stream.

    Args:
        file: the source, without `.cu`.
        template: its template's arguments: CUDA types, numbers, truth values.
        grid, block: numbers of blocks along x, y, z; threads in a block.
        args: the result's array first; arrays, None for a null pointer, NumPy scalars of exactly the kernel's types.
        shared: bytes of dynamic shared memory.
    """
    if 0 in grid:
        return
    first = args[0]
    xp = namespace(first)
    names = ", ".join(str(item).lower() if isinstance(item, bool) else str(item) for item in template)
    run = _kernel(xp, first.device.id, file, f"{file}<{names}>", shared)
    run(tuple(grid), (block,), tuple(args), shared_mem=shared)
