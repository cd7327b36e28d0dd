"""What can compute here: Python, NumPy with its matrix library, and CuPy with its GPUs or what keeps it from them."""

import platform
import warnings
from importlib.util import find_spec
from typing import Any

import numpy as np

from aimv2_np.backends import devices
from aimv2_np.backends.dtypes import COMPUTED
from aimv2_np.bench.blas import describe_blas, title
from aimv2_np.bench.machine import versions
from aimv2_np.errors import NoGraphWarning
from aimv2_np.kernels.native.library import describe_native
from aimv2_np.network.linear import Linear
from aimv2_np.shapes import Array


def describe_backends() -> dict[str, Any]:
    """As it goes into JSON.

    Returns:
        "python"; "numpy": "version", "blas", "threads", "dtypes"; "native": what `library.describe_native` returns;
        "cupy": "usable", "problem" (a sentence with the command that mends it, or None), "version", "driver" and
        "runtime" (the CUDA that the driver knows, and that CuPy is built for), "dtypes", "devices": of each "name",
        "compute_capability", "memory" and "free" in bytes.
    """
    blas = describe_blas()
    return {
        "python": platform.python_version(),
        "numpy": {
            "version": np.__version__, "blas": title(blas), "threads": blas["threads"],
            "dtypes": list(COMPUTED),
        },
        "native": describe_native(), "cupy": _describe_cupy(),
    }  # fmt: skip


def try_graphs() -> dict[str, Any]:
    """Record a small product as a CUDA graph on the current GPU and replay it twice; what `Graphs.counts` says then."""
    from aimv2_np.kernels.cuda.graphs import Graphs

    cupy, graphs = devices.find_cupy(), Graphs()
    layer, x = Linear(cupy.ones((8, 8), np.float32), None), cupy.ones((1, 8), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoGraphWarning)  # whose reason is among the counts
        for _ in range(3):  # as it is, recorded and replayed, replayed
            graphs.run(_multiply, layer, (x,))
    return graphs.counts()


def _multiply(linear: Linear, x: Array) -> tuple[Array]:
    return (linear(x),)


def _describe_cupy() -> dict[str, Any]:
    dtypes = [dtype for dtype in COMPUTED if dtype != "bfloat16" or find_spec("ml_dtypes") is not None]
    driver, installed = devices.driver_version(), versions(("cupy-cuda12x", "cupy-cuda13x", "cupy"))
    found: dict[str, Any] = {
        "usable": False, "problem": None, "version": next(iter(installed.values()), None),
        "driver": driver and devices.cuda(driver), "runtime": None, "dtypes": dtypes, "devices": [],
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


def _device(cupy: Any, number: int) -> dict[str, Any]:
    name = cupy.cuda.runtime.getDeviceProperties(number)["name"]
    capability = str(cupy.cuda.Device(number).compute_capability)
    free, total = devices.free_memory(number)
    return {
        "name": name.decode() if isinstance(name, bytes) else str(name),
        "compute_capability": f"{capability[:-1]}.{capability[-1]}", "memory": total, "free": free,
    }  # fmt: skip
