"""Compiling CUDA sources with g++ against `include/`, and launching their kernels on memory of the host.

A kernel is named as NVRTC names it: `rms_norm<float, true>`. Each is a shared library of its own, kept under the
repository's .pytest_cache from one run to the next.
"""

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock

import numpy as np

INCLUDE = Path(__file__).parent / "include"
BUILT = Path(__file__).parents[3] / ".pytest_cache" / "cuda_emulator"
# What a device does wrong in silence becomes an error of the launch (include/checks.h): an access not aligned to its
# size, an int that overflows, an index outside of an array that the kernel declares.
# No fused multiply-add: the host's compiler would fuse elsewhere than the device's.
# Hidden: each library has variables of its own; else the loader would share them between kernels.
FLAGS = [
    "-std=c++17", "-O1", "-g0", "-shared", "-fPIC", "-w", "-U_FORTIFY_SOURCE", "-fno-strict-aliasing",
    "-fcf-protection=none", "-ffp-contract=off", "-fno-extern-tls-init", "-fvisibility=hidden",
    "-fsanitize=alignment,null,bounds,shift,signed-integer-overflow,integer-divide-by-zero", "-fno-sanitize-recover",
]  # fmt: skip
if os.uname().machine not in ("x86_64", "amd64"):
    FLAGS.remove("-fcf-protection=none")

# Not the sanitizers' own library, which would print and end the process: include/checks.h is in its place.
LIBRARIES = ["-nodefaultlibs", "-lstdc++", "-lm", "-lc", "-lgcc"]

LIBRARY = """
#include "emulator.h"
#define EXPORTED extern "C" __attribute__((visibility("default")))
#line 1 "kernel.cu"
{source}
EXPORTED const char* launch(const unsigned* grid, const unsigned* size, unsigned long shared, void** args,
                            unsigned seed, unsigned long ends) {{
    return emulator::launch({kernel}, grid, size, shared, args, seed, ends);
}}
EXPORTED const char* signature() {{ return emulator::signature({kernel}); }}
"""
_one_at_a_time = Lock()  # libraries keep the block that runs in variables of their own
_ends = 0


class EmulatorError(RuntimeError):
    """What the device would not have done either, or what it would have done wrong."""


@cache
def missing() -> str | None:
    """Why kernels cannot be run here, or None."""
    if sys.platform != "linux":
        return "the CUDA emulator needs Linux (fibers by ucontext)"
    if not shutil.which("g++"):
        return "the CUDA emulator needs g++ to compile the kernels for the CPU"
    command = ["g++", *FLAGS, "-fsyntax-only", "-xc++", "-"]
    result = subprocess.run(command, input="_Float16 half;", capture_output=True, text=True, check=False)
    return "the CUDA emulator needs a g++ that knows _Float16 (12 or newer)" if result.returncode else None


@cache
def build(source: str, kernel: str) -> ctypes.CDLL:
    """The library of one kernel, compiled unless it has been before."""
    text = LIBRARY.format(source=source, kernel=kernel)
    headers = "".join(path.read_text() for path in sorted(INCLUDE.iterdir()))
    name = re.sub(r"\W+", "_", kernel) + hashlib.sha256((headers + " ".join(FLAGS) + text).encode()).hexdigest()[:16]
    library = BUILT / f"{name}.so"
    if not library.exists():
        BUILT.mkdir(parents=True, exist_ok=True)
        code, draft = BUILT / f"{name}.{os.getpid()}.cpp", BUILT / f"{name}.{os.getpid()}.so"
        code.write_text(text)
        command = ["g++", *FLAGS, f"-I{INCLUDE}", str(code), *LIBRARIES, "-o", str(draft)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        code.unlink()
        if result.returncode:
            raise EmulatorError(f"g++ does not take {kernel}:\n{result.stderr[:4000]}")
        draft.replace(library)
    loaded = ctypes.CDLL(str(library))
    loaded.source = source
    loaded.launch.restype = loaded.signature.restype = ctypes.c_char_p
    return loaded


def launch(
    library: ctypes.CDLL, grid: Sequence[int], block: Sequence[int], args: Sequence[int | np.generic], shared: int
) -> None:
    """Run a kernel. A pointer is an `int`, a number a NumPy scalar of the very size that the kernel declares."""
    declared = library.signature().decode().split()
    given = ["p8" if isinstance(arg, int) else f"{arg.dtype.kind.replace('u', 'i')}{arg.itemsize}" for arg in args]
    given = ["i1" if it == "b1" else it for it in given]
    if declared != given:
        raise EmulatorError(f"the kernel declares {' '.join(declared)}, but was given {' '.join(given)}")
    if 0 in grid or max(grid[1:], default=0) > 65535:
        raise EmulatorError(f"a grid of {tuple(grid)} blocks is not one a device can run")
    cells = [np.array(arg, np.uint64 if isinstance(arg, int) else arg.dtype) for arg in args]
    pointers = (ctypes.c_void_p * len(cells))(*(cell.ctypes.data for cell in cells))
    sizes = [(ctypes.c_uint * 3)(*(*size, 1, 1)[:3]) for size in (grid, block)]
    with _one_at_a_time:
        problem = library.launch(*sizes, ctypes.c_ulong(shared), pointers, _seed(grid, args), ctypes.c_ulong(_ends))
    if problem:
        raise EmulatorError(_quoted(problem.decode(), library.source))


def _seed(grid: Sequence[int], args: Sequence[int | np.generic]) -> int:
    """Of the order in which warps run: the same in every run of a test, another for other numbers."""
    numbers = [arg for arg in args if isinstance(arg, np.generic)]
    return zlib.crc32(repr((tuple(grid), numbers)).encode())


def _quoted(problem: str, source: str) -> str:
    """With the line of the kernel's text that the problem names."""
    found = re.search(r"kernel\.cu:(\d+)", problem)
    return f"{problem}: {source.splitlines()[int(found[1]) - 1].strip()}" if found else problem


@contextmanager
def first_and_last_blocks(count: int) -> Iterator[None]:
    """Launches run so many blocks from each end of their grid: what grows with the grid is cheap to look at."""
    global _ends
    _ends, before = count, _ends
    try:
        yield
    finally:
        _ends = before
