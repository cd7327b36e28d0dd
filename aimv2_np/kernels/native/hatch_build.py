"""What `pip install` and `python -m build` do beside copying files: they compile the kernels where they can.

AIMV2_NP_NATIVE=0 leaves it, `require` makes a failure an error. Otherwise a failure is a warning, and NumPy computes.
"""

import os
import runpy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = "aimv2_np/kernels/native"


class KernelsHook(BuildHookInterface):
    """Called for wheels, and for editable installs, which are wheels that point to this folder."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        build = runpy.run_path(str(Path(self.root, FOLDER, "build.py")))
        self.work = TemporaryDirectory()
        editable = version == "editable"
        folder = Path(self.root, FOLDER) if editable else Path(self.work.name)
        (folder / build["LIBRARY"]).unlink(missing_ok=True)  # if compiled before, from other sources perhaps
        wanted = os.environ.get("AIMV2_NP_NATIVE", "1")
        if wanted == "0":
            return
        try:
            compiler = build["find_compiler"]()
            library = build["compile_kernels"](folder, compiler)
        except build["BuildError"] as error:
            if wanted == "require":
                self.app.abort(f"AIMV2_NP_NATIVE is require, and {error}")
            self.app.display_warning(f"NumPy will compute, more slowly than compiled kernels: {error}")
            return
        if not editable:
            build_data["force_include"][str(library)] = f"{FOLDER}/{library.name}"
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{build['platform_tag'](compiler)}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        self.work.cleanup()
