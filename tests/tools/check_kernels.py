"""Run tests/kernels/native/check.c under sanitizers and emulators: `python -m tests.tools.check_kernels`.

Each run compiles the kernels in C anew. Skipped with a sentence is what cannot run here: without a compiler everything,
without Debian's packages gcc-aarch64-linux-gnu and qemu-user the emulated processors.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from aimv2_np.kernels.native.build import FLAGS, SOURCES, BuildError, Compiler, compile_objects, find_compiler
from tests.support import amx
from tests.support.paths import ROOT

CHECK = ROOT / "tests" / "kernels" / "native" / "check.c"
# check.c refuses threads, as a system does that has no more to give.
LINK = ("-Wl,--wrap=pthread_create", "-lm", "-lpthread")
# check.c asks for more memory than there is, once.
ENVIRONMENT = {f"{name}_OPTIONS": "allocator_may_return_null=1" for name in ("ASAN", "TSAN")}


@dataclass(frozen=True)
class Variant:
    """One way to compile and to run.

    Attributes:
        name: For people.
        options: For the compiler and the linker.
        compiler: Another one than the one that is found.
        emulator: What runs the program.
        sets: The instruction sets that must be found, where the emulator decides on them.
        model: Whether the processor has AMX, by software, of which only that is checked.
    """

    name: str
    options: tuple[str, ...]
    compiler: Compiler | None = None
    emulator: tuple[str, ...] = ()
    sets: str | None = None
    model: bool = False


SANITIZERS = [
    Variant(
        "address and undefined behaviour", ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    ),
    Variant("threads", ("-O1", "-g", "-fsanitize=thread")),
]
MODELLED = [
    replace(variant, name=f"{variant.name}, and a model of AMX", sets=amx.NAME, model=True) for variant in SANITIZERS
]
CROSS = Compiler(("aarch64-linux-gnu-gcc",), "", "aarch64")
EMULATED = [
    Variant("an AArch64 processor", ("-static",), CROSS, ("qemu-aarch64",), "neon"),
    Variant("a processor without AVX", ("-static",), None, ("qemu-x86_64", "-cpu", "core2duo"), "plain"),
    Variant("a processor without AVX-512", ("-static",), None, ("qemu-x86_64", "-cpu", "max"), "avx2 plain"),
]


def missing(variant: Variant, compiler: Compiler) -> str | None:
    """Why a variant cannot run here; None if it can."""
    if variant.emulator[:1] == ("qemu-x86_64",) and compiler.processor != "x86_64":
        return "this compiler is for another processor"
    if variant.model and (reason := amx.why_not(compiler)):
        return reason
    compiler = variant.compiler or compiler
    for name in (compiler.command[0], *variant.emulator[:1]):
        if shutil.which(name) is None:
            return f"there is no {name}"
    with tempfile.TemporaryDirectory() as folder:
        program, source = Path(folder, "empty"), Path(folder, "empty.c")
        source.write_text("int main(void) { return 0; }\n")
        for command in (
            [*compiler.command, *variant.options, source, *LINK, "-o", program],
            [*variant.emulator, program],
        ):
            if subprocess.run(command, capture_output=True, check=False).returncode:
                return "not even an empty program runs so"
    return None


def build(variant: Variant, compiler: Compiler, folder: Path) -> Path:
    """check.c and the kernels as a program in a folder; BuildError where the compiler refuses."""
    compiler, program = variant.compiler or compiler, folder / "check"
    if variant.model:
        objects = amx.compile_modelled(compiler, folder, variant.options)
    else:
        objects = compile_objects(compiler, folder, (*FLAGS, *variant.options))
    arguments = ["-std=gnu17", "-Wall", "-Wextra", "-O1", *variant.options, f"-I{SOURCES}", CHECK, *objects, *LINK]
    result = subprocess.run([*compiler.command, *arguments, "-o", program], capture_output=True, text=True, check=False)
    if result.returncode:
        raise BuildError(f"{CHECK.name} is not compiled: {result.stderr}")
    return program


def check(variant: Variant, compiler: Compiler) -> str:
    """The instruction sets that passed; AssertionError with the report where one did not."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *variant.emulator,
            str(build(variant, compiler, Path(folder))),
            *([amx.NAME] if variant.model else []),
        ]
        result = subprocess.run(command, capture_output=True, text=True, env=os.environ | ENVIRONMENT, check=False)
    passed = result.stdout.strip()
    assert result.returncode == 0, f"{variant.name}: passed: {passed or 'none'}\n{result.stderr}"
    assert variant.sets in (None, passed), f"{variant.name}: {passed} ran; expected {variant.sets}"
    return passed


def main() -> None:
    try:
        compiler = find_compiler()
    except BuildError as error:
        print(f"skipped: {error}")
        return
    failed = False
    for variant in SANITIZERS + MODELLED + EMULATED:
        if reason := missing(variant, compiler):
            print(f"{variant.name}: skipped: {reason}", flush=True)
            continue
        try:
            print(f"{variant.name}: {check(variant, compiler)} passed", flush=True)
        except (AssertionError, BuildError) as error:
            print(error, flush=True)
            failed = True
    sys.exit(failed)


if __name__ == "__main__":
    main()
