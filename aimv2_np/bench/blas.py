"""Which matrix library NumPy calls, and which of its kernels."""

import os
from typing import Any

import numpy as np

from aimv2_np.backends.parallel import blas_libraries

VARIABLE = "OPENBLAS_CORETYPE"
# OpenBLAS's names, of kernels that differ on processors that NumPy still runs on. A processor that lacks the
# instructions of one of them ends the process that tries it, which is found out in a process of its own.
CORE_TYPES = {
    "x86_64": ("SANDYBRIDGE", "HASWELL", "ZEN", "SKYLAKEX", "COOPERLAKE", "SAPPHIRERAPIDS"),
    "aarch64": ("ARMV8", "NEOVERSEN1", "NEOVERSEV1", "NEOVERSEN2", "ARMV8SVE", "A64FX", "VORTEX"),
}
SAME = {"amd64": "x86_64", "arm64": "aarch64"}  # what other systems call these machines
NAMES = {"openblas": "OpenBLAS", "mkl": "MKL", "blis": "BLIS", "flexiblas": "FlexiBLAS", "accelerate": "Accelerate"}


def describe_blas() -> dict[str, Any]:
    """The matrix library of NumPy in this process.

    Returns:
        "library" (a key of `NAMES`, or None where it cannot be told), "version", "kernel" (OpenBLAS's and BLIS's name
        of the processor that they work for, else None), "threads", "threading", "built_as" (what NumPy says that it
        was built with), "forced" (OPENBLAS_CORETYPE, if it is set), and "note": what cannot be controlled from here, or
        None.
    """
    config: Any = np.show_config(mode="dicts") or {}
    built_with = config.get("Build Dependencies", {}).get("blas", {})
    built = str(built_with.get("name", "")) or None
    ours: dict[str, Any] = next((library.info() for library in blas_libraries()), {})
    name = ours.get("internal_api") or next((name for name in NAMES if name in (built or "").lower()), None)
    return {
        "library": name,
        "version": ours.get("version") or built_with.get("version"),
        "kernel": ours.get("architecture"),
        "threads": ours.get("num_threads"),
        "threading": ours.get("threading_layer"),
        "built_as": built,
        "forced": os.environ.get(VARIABLE),
        "note": _note(name, bool(ours)),
    }


def title(blas: dict[str, Any]) -> str:
    """Name and version of the library that `describe_blas` has described, for people."""
    name = NAMES.get(blas["library"] or "", "unknown matrix library")
    return f"{name} {blas['version'] or ''}".rstrip()


def core_types(machine: str) -> tuple[str, ...]:
    """OpenBLAS's kernels that are worth trying on a machine of that architecture ("x86_64", "aarch64")."""
    return CORE_TYPES.get(SAME.get(machine.lower(), machine.lower()), ())


def _note(library: str | None, controlled: bool) -> str | None:
    if library == "openblas" and controlled:
        return None
    name = NAMES.get(library or "", "a matrix library that could not be identified")
    threads = "its number of threads is set from here" if controlled else "nor can its number of threads be set here"
    return f"NumPy uses {name}: it chooses its kernels by itself, and {VARIABLE} means nothing to it; {threads}"
