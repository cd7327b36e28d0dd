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
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

INCLUDE = Path(__file__).parent / "include"
BUILT = Path(__file__).parents[3] / ".pytest_cache" / "cuda_emulator"
# Alignment: a 128-bit access of the device must be aligned to 16 bytes; here it ends the process if it is not.
# No fused multiply-add: the host's compiler would fuse elsewhere than the device's.
FLAGS = [
    "-std=c++17", "-O1", "-g0", "-shared", "-fPIC", "-w", "-U_FORTIFY_SOURCE", "-fno-strict-aliasing",
    "-fcf-protection=none", "-ffp-contract=off", "-fno-extern-tls-init", "-fsanitize=alignment",
    "-fsanitize-undefined-trap-on-error",
]  # fmt: skip
if os.uname().machine not in ("x86_64", "amd64"):
    FLAGS.remove("-fcf-protection=none")

LIBRARY = """
#include "emulator.h"
{source}
extern "C" const char* launch(const unsigned* grid, const unsigned* size, unsigned long shared, void** args) {{
    return emulator::launch({kernel}, grid, size, shared, args);
}}
extern "C" const char* signature() {{ return emulator::signature({kernel}); }}
"""


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
        command = ["g++", *FLAGS, f"-I{INCLUDE}", str(code), "-o", str(draft)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        code.unlink()
        if result.returncode:
            raise EmulatorError(f"g++ does not take {kernel}:\n{result.stderr[:4000]}")
        draft.replace(library)
    loaded = ctypes.CDLL(str(library))
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
    problem = library.launch(*sizes, ctypes.c_ulong(shared), pointers)
    if problem:
        raise EmulatorError(problem.decode())
