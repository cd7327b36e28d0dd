"""The machine and the versions that a measurement was made with: results of two machines do not compare."""

import os
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from aimv2_np.backends.parallel import usable_cores

PACKAGES = ("aimv2-np", "numpy", "pillow", "safetensors", "tokenizers", "threadpoolctl")
GPU_PACKAGES = ("cupy-cuda12x", "cupy-cuda13x", "ml_dtypes")


def describe_machine() -> dict[str, Any]:
    """Processor, cores that this process may use, bytes of memory (None where unknown), system, load average."""
    return {
        "processor": _processor(),
        "architecture": platform.machine(),
        "cores": usable_cores(),
        "memory": _memory(),
        "system": platform.system(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def describe_versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Versions of Python and of those of `packages` that are installed."""
    return {"python": platform.python_version()} | versions(packages)


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """The version of each of `packages` that is installed."""
    found = {}
    for name in packages:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    values = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    family = [line.partition(":")[2].strip() for line in lines if line.startswith(("cpu family", "model\t"))][:2]
    name = next(values, platform.machine())
    return f"{name} (family {', model '.join(family)})" if len(family) == 2 else name


def _memory() -> int | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
