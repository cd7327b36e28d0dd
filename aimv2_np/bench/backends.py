"""What can compute here: Python, NumPy with its matrix library, and CuPy with its GPUs or what keeps it from them."""

import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import numpy as np

from aimv2_np.backends import devices
from aimv2_np.backends.dtypes import BACKENDS
from aimv2_np.bench.blas import NAMES, describe_blas


def describe_backends() -> dict[str, Any]:
    """As it goes into JSON.

    Returns:
        "python"; "numpy": "version", "blas", "threads", "dtypes"; "cupy": "usable", "problem" (a sentence with the
        command that mends it, or None), "version", "driver" and "runtime" (the CUDA that the driver knows, and that
        CuPy is built for), "dtypes", "devices": of each "name", "compute_capability", "memory" and "free" in bytes.
    """
    blas = describe_blas()
    library = NAMES.get(blas["library"] or "", "unknown matrix library")
    return {
        "python": platform.python_version(),
        "numpy": {
            "version": np.__version__, "blas": f"{library} {blas['version'] or ''}".strip(), "threads": blas["threads"],
            "dtypes": list(BACKENDS["numpy"]),
        },
        "cupy": _describe_cupy(),
    }  # fmt: skip


def _describe_cupy() -> dict[str, Any]:
    driver = devices.driver_version()
    found: dict[str, Any] = {
        "usable": False, "problem": None, "version": _installed(), "driver": driver and devices.cuda(driver),
        "runtime": None, "dtypes": _dtypes(), "devices": [],
    }  # fmt: skip
    try:
        cupy = devices.find_cupy()
    except (ImportError, RuntimeError) as error:
        return found | {"problem": str(error)}
    runtime = cupy.cuda.runtime
    return found | {
        "usable": True, "version": cupy.__version__, "runtime": devices.cuda(runtime.runtimeGetVersion()),
        "devices": [_device(cupy, number) for number in range(runtime.getDeviceCount())],
    }  # fmt: skip


def _installed() -> str | None:
    for name in ("cupy-cuda12x", "cupy-cuda13x", "cupy"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def _dtypes() -> list[str]:
    return [it for it in BACKENDS["cupy"] if it != "bfloat16" or find_spec("ml_dtypes") is not None]


def _device(cupy: Any, number: int) -> dict[str, Any]:
    name = cupy.cuda.runtime.getDeviceProperties(number)["name"]
    capability = str(cupy.cuda.Device(number).compute_capability)
    free, total = devices.free_memory(number)
    return {
        "name": name.decode() if isinstance(name, bytes) else str(name),
        "compute_capability": f"{capability[:-1]}.{capability[-1]}", "memory": total, "free": free,
    }  # fmt: skip
