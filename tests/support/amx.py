"""The kernels in C compiled for a processor with AMX whose place software takes: tests/kernels/native/amx_model.h.

The other instruction sets, too, are compiled for every x86-64 there, as the model has all of them.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest

from aimv2_np.kernels.native import library
from aimv2_np.kernels.native.build import (
    FLAGS,
    LIBRARY,
    SETS,
    SOURCES,
    BuildError,
    Compiler,
    compile_objects,
    find_compiler,
)
from tests.support.paths import ROOT

NAME = "avx512_amx"
MODEL = ROOT / "tests" / "kernels" / "native" / "amx_model.h"


def compiler_or_skip() -> Compiler:
    """The C compiler, if there is one that compiles for what the model is of; else the test is skipped."""
    try:
        compiler = find_compiler()
    except BuildError as error:
        pytest.skip(str(error))
    if (reason := why_not(compiler)) is not None:
        pytest.skip(reason)
    return compiler


def why_not(compiler: Compiler) -> str | None:
    """Why there is no model for what this compiler compiles for."""
    if compiler.processor == "x86_64" and sys.platform == "linux":
        return None
    return "the model is one of x86-64 and of Linux"


def compile_modelled(compiler: Compiler, folder: Path, options: tuple[str, ...] = ()) -> list[Path]:
    """Every C source as an object file in a folder, with the model in the place of the compiler's intrinsics."""
    sets: dict[str, tuple[str, ...]] = dict.fromkeys(SETS["x86_64"], ())
    with patch.dict(SETS, x86_64=sets | {NAME: ("-DTILES",)}):
        return compile_objects(compiler, folder, (*FLAGS, "-O1", "-include", str(MODEL), *options))


def link_modelled(compiler: Compiler, folder: Path) -> Path:
    """The library in a folder, where the header that it was compiled with lies beside it."""
    objects = compile_modelled(compiler, folder)
    subprocess.run([*compiler.command, "-shared", "-o", folder / LIBRARY, *objects, "-lm", "-lpthread"], check=True)
    shutil.copy(SOURCES / "kernels.h", folder)
    return folder / LIBRARY


@contextmanager
def processor_with(path: Path, lacks: str = "", asked: str = "") -> Iterator[None]:
    """The modelled library loaded in the place of the one that is installed, in the `with` block.

    Args:
        path: Where it is; one that was loaded before, from the same place, keeps what it lacked then.
        lacks: What the model lacks; the header says what there is.
        asked: AIMV2_NP_NATIVE.
    """
    cached = (library._open, library._asked_for)
    for function in cached:
        function.cache_clear()
    with (
        patch.object(library, "path", lambda: path),
        patch.object(library, "_chosen", []),
        patch.dict(os.environ, {"AMX_MODEL_LACKS": lacks, library.VARIABLE: asked}),
    ):
        yield
    for function in cached:
        function.cache_clear()
