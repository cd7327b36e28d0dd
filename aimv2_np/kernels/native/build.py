"""Compile the kernels in C: `python -m aimv2_np.kernels.native.build` puts the library beside its sources.

The standard library only: hatch_build.py runs this file where neither the package nor what it needs is installed.
"""

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zlib import crc32

SOURCES: Final = Path(__file__).parent
LIBRARY: Final = "libaimv2.dylib" if sys.platform == "darwin" else "libaimv2.so"

# Sums may be fused, but never taken in another order: -ffast-math would change what NaN and infinity do.
FLAGS: Final = ("-std=gnu17", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fPIC", "-fvisibility=hidden")

AVX512: Final = ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mprefer-vector-width=512")
AVX512_BF16: Final = (*AVX512, "-mavx512bf16")
# Processor → its instruction sets, each with what tells the compiler to use it; choose.c asks for the same names.
SETS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "x86_64": {
        "avx512_amx": (*AVX512_BF16, "-mamx-tile", "-mamx-bf16", "-DTILES"),
        "avx512_bf16": AVX512_BF16,
        "avx512": AVX512,
        "avx2": ("-mavx2", "-mfma"),
        "plain": (),
    },
    "aarch64": {"neon": ()},
}
ANY: Final[dict[str, tuple[str, ...]]] = {"plain": ()}  # on other processors
WITHOUT: Final = "or set AIMV2_NP_NATIVE=0 and let NumPy compute"


class BuildError(Exception):
    """The kernels cannot be compiled here; the message says why, and what to do."""


def interface() -> int:
    """The checksum of kernels.h: a library that was compiled with another one may have other structures."""
    return crc32(Path(__file__).with_name("kernels.h").read_bytes())


@dataclass(frozen=True)
class Compiler:
    """A C compiler that runs here.

    Attributes:
        command: How it is called, with arguments that $CC may have.
        version: As it tells it.
        processor: For which it compiles.
    """

    command: tuple[str, ...]
    version: str
    processor: str

    @property
    def sets(self) -> dict[str, tuple[str, ...]]:
        """The instruction sets of that processor, with their options."""
        return SETS.get(self.processor, ANY)


def find_compiler() -> Compiler:
    """$CC where it is set, else the first of cc, gcc and clang that runs; BuildError where there is none."""
    if sys.platform == "win32":
        raise BuildError("the kernels in C are not built on Windows; NumPy computes there")
    asked = shlex.split(os.environ.get("CC", ""))
    for command in [asked] if asked else [["cc"], ["gcc"], ["clang"]]:
        # What the compiler defines by itself tells which one it is; $CC may be one for another processor.
        defined = _run(*command, "-dM", "-E", "-x", "c", "-") if shutil.which(command[0]) else None
        macros = dict(re.findall(r"^#define (\w+) (.*)$", defined.stdout, re.MULTILINE)) if defined else {}
        if "__STDC__" in macros:
            processor = next((name for name in SETS if f"__{name}__" in macros), platform.machine())
            return Compiler(tuple(command), macros.get("__VERSION__", "").strip('"'), processor)
    found = f"CC is {shlex.join(asked)!r}, which is none that runs" if asked else "there is none"
    raise BuildError(
        f"the kernels need a C compiler, and {found}; expected CC, cc, gcc or clang; install one, {WITHOUT}"
    )


def compile_objects(compiler: Compiler, folder: Path, flags: Sequence[str] = FLAGS) -> list[Path]:
    """Every C source as an object file in a folder: set.c once for each instruction set.

    Raises:
        BuildError: The compiler refuses one.
    """
    jobs = [("set.c", name, (*options, f"-DSET={name}")) for name, options in compiler.sets.items()]
    jobs += [("choose.c", "choose", (f"-DINTERFACE={interface()}u",)), ("team.c", "team", ())]

    def compile_one(job: tuple[str, str, tuple[str, ...]]) -> Path:
        source, name, options = job
        target = folder / f"{name}.o"
        _check(compiler, f"{source} ({name})", *flags, *options, "-c", str(SOURCES / source), "-o", str(target))
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(compile_one, jobs))


def compile_kernels(folder: Path, compiler: Compiler | None = None) -> Path:
    """Compile the library into a folder. What was there is replaced once the new one is whole.

    Args:
        folder: Exists.
        compiler: By default the one that is found.
    Returns:
        The library's path: libaimv2.so, on macOS libaimv2.dylib.
    Raises:
        BuildError: There is no compiler, or it is too old.
    """
    compiler = compiler or find_compiler()
    target = folder / LIBRARY
    linked = folder / f".{LIBRARY}.{os.getpid()}"
    with tempfile.TemporaryDirectory() as work:
        objects = [str(path) for path in compile_objects(compiler, Path(work))]
        try:
            _check(compiler, LIBRARY, "-shared", "-o", str(linked), *objects, "-lpthread")
            linked.replace(target)
        finally:
            linked.unlink(missing_ok=True)
    return target


def platform_tag(compiler: Compiler) -> str:
    """For the name of a wheel with the library: linux_x86_64, macosx_11_0_arm64, …"""
    if sys.platform == "darwin":
        major, _, minor = _macos().partition(".")
        version = f"{major}_{minor or 0}" if int(major) < 11 else f"{major}_0"
        return f"macosx_{version}_{compiler.processor.replace('aarch64', 'arm64')}"
    return re.sub(r"[-.]", "_", sysconfig.get_platform())


def _macos() -> str:
    """The oldest macOS on which the library is to run; aligned_alloc needs 10.15, Apple's processors 11.0."""
    return os.environ.get("MACOSX_DEPLOYMENT_TARGET", "11.0")


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = (
        os.environ | {"LC_ALL": "C"} | ({"MACOSX_DEPLOYMENT_TARGET": _macos()} if sys.platform == "darwin" else {})
    )
    return subprocess.run(command, input="", capture_output=True, text=True, env=environment, check=False)


def _check(compiler: Compiler, what: str, *arguments: str) -> None:
    result = _run(*compiler.command, *arguments)
    if result.returncode:
        lines = [line.strip() for line in result.stderr.splitlines()]
        first = next((line for line in lines if "error" in line), lines[-1] if lines else "")
        raise BuildError(
            f"{shlex.join(compiler.command)} {compiler.version} does not compile {what}: {first}; expected GCC 11, "
            f"Clang 14 or a newer one; install it or name it as CC, {WITHOUT}"
        )


def main() -> None:
    try:
        compiler = find_compiler()
        target = compile_kernels(SOURCES, compiler)
    except BuildError as error:
        sys.exit(f"error: {error}")
    print(f"{target}: {', '.join(compiler.sets)}, by {shlex.join(compiler.command)} {compiler.version}")


if __name__ == "__main__":
    main()
