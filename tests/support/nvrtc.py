"""Compiling the CUDA sources without a GPU: by NVRTC of the registry's wheels, and registers and spills by ptxas."""

import ctypes
import importlib.util
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import NamedTuple

from aimv2_np.kernels.cuda.launch import OPTIONS

OF_CUPY = ("-ftz=true", "--device-as-default-execution-space")  # what CuPy adds to the options of every kernel


def missing() -> str | None:
    """Why nothing can be compiled here, or None."""
    if importlib.util.find_spec("cupy") is None:
        return "NVRTC is reached through CuPy: pip install cupy-cuda12x"
    if not include_folders():
        return "the CUDA headers are missing: pip install nvidia-cuda-runtime-cu12"
    try:
        _load_library()
        from cupy.cuda import nvrtc

        nvrtc.getVersion()
    except Exception as error:
        return f"NVRTC cannot be loaded ({error}): pip install nvidia-cuda-nvrtc-cu12"
    return None


def _load_library() -> None:
    """Load NVRTC from its wheel, wherever that is; CuPy itself looks in the interpreter's own folder only."""
    spec = importlib.util.find_spec("nvidia")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for library in sorted(Path(folder).glob("cuda_nvrtc/lib/libnvrtc.so.*")):
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)


@cache
def include_folders() -> tuple[str, ...]:
    """Where `cuda_fp16.h` lies: in NVIDIA's wheels, or in an installed toolkit."""
    spec = importlib.util.find_spec("nvidia")
    wheels = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    toolkit = os.environ.get("CUDA_PATH", "/usr/local/cuda")
    folders = [folder for wheel in wheels for folder in wheel.glob("*/include")] + [Path(toolkit) / "include"]
    return tuple(str(folder) for folder in folders if (folder / "cuda_fp16.h").exists())[:1]


def _options() -> list[str]:
    return [*OPTIONS, *OF_CUPY, *(f"-I{folder}" for folder in include_folders())]


def compile_kernels(source: str, kernels: list[str], architecture: int) -> bytes:
    """The binary of these instances for `sm_<architecture>`; RuntimeError with NVRTC's messages, even warnings."""
    from cupy.cuda import nvrtc

    program = nvrtc.createProgram(source, "kernels.cu", [], [])
    for kernel in kernels:
        nvrtc.addNameExpression(program, kernel)
    options = [*_options(), f"--gpu-architecture=sm_{architecture}"]
    try:
        nvrtc.compileProgram(program, options)
        log = nvrtc.getProgramLog(program)
        if log.strip("\0 \n"):
            raise RuntimeError(log)
        return nvrtc.getCUBIN(program)
    except nvrtc.NVRTCError as error:
        raise RuntimeError(nvrtc.getProgramLog(program)) from error
    finally:
        nvrtc.destroyProgram(program)


def compile_ptx(source: str, kernels: list[str], architecture: int) -> tuple[str, dict[str, str]]:
    """The same as PTX, for ptxas, and which instance is meant by each name in it."""
    from cupy.cuda import nvrtc

    program = nvrtc.createProgram(source, "kernels.cu", [], [])
    for kernel in kernels:
        nvrtc.addNameExpression(program, kernel)
    nvrtc.compileProgram(program, [*_options(), f"--gpu-architecture=compute_{architecture}"])
    ptx = nvrtc.getPTX(program)
    names = {nvrtc.getLoweredName(program, kernel): kernel for kernel in kernels}
    nvrtc.destroyProgram(program)
    return ptx.decode() if isinstance(ptx, bytes) else ptx, names


class Use(NamedTuple):
    """What ptxas says of one instance."""

    kernel: str
    registers: int
    spilled: int  # bytes stored
    shared: int  # static, bytes


def resources(source: str, kernels: list[str], architecture: int, folder: Path) -> list[Use]:
    """Registers, spills and static shared memory of each; an empty list where there is no ptxas."""
    ptxas = shutil.which("ptxas")
    if ptxas is None:
        return []
    ptx, names = compile_ptx(source, kernels, architecture)
    file = folder / "kernels.ptx"
    file.write_text(ptx)
    command = [ptxas, "-v", f"--gpu-name=sm_{architecture}", str(file), "-o", str(folder / "kernels.cubin")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    uses = []
    for part in result.stderr.split("Compiling entry function '")[1:]:
        spilled = re.search(r"(\d+) bytes spill stores", part)
        registers = re.search(r"Used (\d+) registers", part)
        shared = re.search(r"(\d+) bytes smem", part)
        numbers = (int(found[1]) if found else 0 for found in (registers, spilled, shared))
        uses.append(Use(names[part.split("'")[0]], *numbers))
    return sorted(uses)
