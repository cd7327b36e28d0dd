"""aimv2_np/kernels/native/hatch_build.py: which wheels carry the compiled library, and what they are called.

hatchling is not needed: a stand-in has the attributes that the hook uses. The step `native` of .ci/run makes
real wheels.
"""

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from aimv2_np.kernels.native.build import LIBRARY, SOURCES
from tests.support.compiler import fake_compiler

FOLDER = "aimv2_np/kernels/native"


class Application:
    """What hatchling says and how it ends, kept."""

    def __init__(self):
        self.warnings = []

    def display_warning(self, message):
        self.warnings.append(message)

    def abort(self, message):
        raise SystemExit(message)


@pytest.fixture
def hook(tmp_path, monkeypatch):
    """The hook of a source tree that has been compiled before, by a compiler that always succeeds."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("sysconfig.get_platform", lambda: "linux-x86_64")
    monkeypatch.delenv("AIMV2_NP_NATIVE", raising=False)
    fake_compiler(tmp_path, monkeypatch)
    name = "hatchling.builders.hooks.plugin.interface"
    parts = name.split(".")
    for i in range(len(parts)):
        monkeypatch.setitem(sys.modules, ".".join(parts[: i + 1]), ModuleType(parts[i]))
    monkeypatch.setattr(sys.modules[name], "BuildHookInterface", SimpleNamespace, raising=False)
    spec = importlib.util.spec_from_file_location("hatch_build", SOURCES / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    root = tmp_path / "source"
    (root / FOLDER).mkdir(parents=True)
    for name in ("build.py", "kernels.h"):
        shutil.copy(SOURCES / name, root / FOLDER)
    (root / FOLDER / LIBRARY).write_text("of before")
    hook = module.KernelsHook(root=str(root), app=Application())
    yield hook
    hook.finalize("standard", {}, "the.whl")


def run(hook, version="standard"):
    """What the hook tells hatchling."""
    data = {"force_include": {}, "pure_python": True}
    hook.initialize(version, data)
    return data


def in_place(hook):
    path = Path(hook.root, FOLDER, LIBRARY)
    return path.read_text() if path.exists() else None


@pytest.mark.parametrize("wanted", [None, "1", "require", "avx2"])
def test_a_wheel_carries_the_library_and_the_platform(hook, monkeypatch, wanted):
    if wanted:
        monkeypatch.setenv("AIMV2_NP_NATIVE", wanted)
    data = run(hook)
    ((source, target),) = data["force_include"].items()
    assert Path(source).exists()
    assert target == f"{FOLDER}/{LIBRARY}"
    assert (data["tag"], data["pure_python"]) == ("py3-none-linux_x86_64", False)
    assert in_place(hook) == "of before"  # a wheel leaves the sources as they are
    hook.finalize("standard", data, "the.whl")
    assert not Path(source).exists()


def test_an_editable_install_compiles_in_place(hook):
    data = run(hook, "editable")
    assert in_place(hook) == ""
    assert data == {"force_include": {}, "pure_python": True}  # the wheel itself only points to the sources


@pytest.mark.parametrize("version", ["standard", "editable"])
def test_switched_off(hook, monkeypatch, version):
    monkeypatch.setenv("AIMV2_NP_NATIVE", "0")
    assert run(hook, version) == {"force_include": {}, "pure_python": True}
    assert in_place(hook) == ("of before" if version == "standard" else None)
    assert hook.app.warnings == []


def test_without_a_compiler(hook, monkeypatch):
    """A warning, a wheel for every platform, and no library of before that may not fit the sources."""
    monkeypatch.setenv("CC", "false")
    assert run(hook, "editable") == {"force_include": {}, "pure_python": True}
    assert in_place(hook) is None
    (warning,) = hook.app.warnings
    assert warning.startswith(
        "NumPy will compute, more slowly than compiled kernels: the kernels need a C compiler, and "
    )


def test_required_without_a_compiler(hook, monkeypatch):
    monkeypatch.setenv("CC", "false")
    monkeypatch.setenv("AIMV2_NP_NATIVE", "require")
    with pytest.raises(
        SystemExit, match="AIMV2_NP_NATIVE is require, and the kernels need a C compiler, and CC is 'false'"
    ):
        run(hook)
