"""What keeps CuPy from computing is one sentence, with the command that mends it."""

import builtins
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from aimv2_np.backends import arrays, devices
from tests.support.gpu import emulated_cupy, real_cupy, why_no_gpu


class CUDARuntimeError(RuntimeError):
    pass


def made_cupy(error: str | None = None, *, built: int = 12090, version: str = "14.2.0") -> ModuleType:
    """As much of CuPy as is looked at before an array is made."""

    def count() -> int:
        if error:
            raise CUDARuntimeError(error)
        return 1

    runtime = SimpleNamespace(
        getDeviceCount=count, CUDARuntimeError=CUDARuntimeError, runtimeGetVersion=lambda: built, is_hip=False
    )
    cupy = ModuleType("cupy")
    cupy.__version__ = version
    cupy.cuda = SimpleNamespace(runtime=runtime, nvrtc=SimpleNamespace(getVersion=lambda: 12))
    return cupy


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that puts a made-up CuPy and driver in place."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def put(cupy: ModuleType | None, driver: int | None = 12090) -> None:
        libraries = ModuleType("cupy_backends.cuda.libs")
        libraries.cublas = ModuleType("cublas")
        monkeypatch.setitem(sys.modules, "cupy", cupy)
        monkeypatch.setitem(sys.modules, "cupy_backends.cuda.libs", libraries)
        monkeypatch.setattr(devices, "driver_version", lambda: driver)

    return put


def message() -> str:
    with pytest.raises((ImportError, RuntimeError)) as info:
        arrays.check_backend("cupy")
    text = str(info.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(("driver", "extra"), [(None, "cuda12"), (12040, "cuda12"), (13000, "cuda13")])
def test_cupy_is_missing(monkeypatch: pytest.MonkeyPatch, driver: int | None, extra: str) -> None:
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(devices, "find_spec", lambda name: None)
    monkeypatch.setattr(devices, "driver_version", lambda: driver)
    assert f"not installed: pip install 'aimv2-np[{extra}]', or compute on the CPU with backend='numpy'" in message()


def test_cupy_cannot_be_imported(tmp_path: Path) -> None:
    """A folder of that name that fails, as an installation cut short does."""
    (tmp_path / "cupy").mkdir()
    (tmp_path / "cupy" / "__init__.py").write_text("raise ImportError('\\n====\\nFailed to import CuPy.\\n libcudart')")
    code = "from aimv2_np.backends import devices; devices.find_cupy()"
    path = os.pathsep.join([str(tmp_path), str(Path(devices.__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stderr.strip().splitlines()[-1]
    assert "CuPy is installed but cannot be imported (Failed to import CuPy.)" in last
    assert "then pip install 'aimv2-np[cuda1" in last


def test_cupy_is_too_old(install: Any) -> None:
    install(made_cupy(version="13.6.0"))
    assert "CuPy 13.6.0 is installed" in message()
    assert "pip install --upgrade 'aimv2-np[cuda12]'" in message()


def test_no_driver(install: Any) -> None:
    install(made_cupy("cudaErrorInsufficientDriver: too old"), driver=None)
    assert message().startswith("no NVIDIA driver was found: install one")


def test_a_driver_that_is_too_old(install: Any) -> None:
    install(made_cupy("cudaErrorInsufficientDriver: too old", built=13000), driver=12040)
    assert "knows CUDA up to 12.4, and this CuPy is built for CUDA 13.0: pip uninstall cupy-cuda13x" in message()
    assert "pip install 'aimv2-np[cuda12]'" in message()
    install(made_cupy("cudaErrorInsufficientDriver: too old"), driver=11040)
    assert "built for CUDA 12.9: update the driver" in message()


def test_no_gpu(install: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    install(made_cupy("cudaErrorNoDevice: none"))
    assert message().startswith("the NVIDIA driver finds no GPU: see what `nvidia-smi` says")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CUDA_VISIBLE_DEVICES='' hides every GPU: unset CUDA_VISIBLE_DEVICES" in message()


def test_any_other_error(install: Any) -> None:
    install(made_cupy("cudaErrorSystemNotReady: system not yet initialized"))
    assert "the GPU cannot be used (cudaErrorSystemNotReady" in message()


@pytest.mark.parametrize("name", ["nvrtc", "cublas"])
def test_a_part_of_cuda_is_missing(install: Any, name: str) -> None:
    def fail() -> None:
        raise AssertionError("\n*** The requested function is not supported")

    cupy = made_cupy()
    install(cupy)
    if name == "nvrtc":
        cupy.cuda.nvrtc.getVersion = fail
    else:
        del sys.modules["cupy_backends.cuda.libs"].cublas
    assert f"CuPy cannot load CUDA's {name} library" in message()
    assert "pip install 'aimv2-np[cuda12]'" in message()


def test_gpus_of_another_maker(install: Any) -> None:
    cupy = made_cupy()
    cupy.cuda.runtime.is_hip = True
    install(cupy)
    assert "AMD" in message()


def test_bfloat16_needs_its_package(install: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    install(made_cupy())
    monkeypatch.setattr(devices, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'ml_dtypes>=0.5'"):
        arrays.check_backend("cupy", "bfloat16")
    arrays.check_backend("cupy", "float16")


def test_devices_that_are_not_there() -> None:
    with emulated_cupy():
        for device in (1, -1, True, "0"):
            with pytest.raises(ValueError, match="this machine has only device 0"):
                arrays.check_backend("cupy", device=device)
        arrays.check_backend("cupy", device=0)
    with emulated_cupy(3), pytest.raises(ValueError, match="this machine has devices 0 to 2"):
        arrays.check_backend("cupy", device=3)


@pytest.mark.skipif(why_no_gpu() is None, reason="there is a GPU")
def test_info_says_it(install: Any) -> None:
    """Whatever this machine lacks."""
    from click.testing import CliRunner

    from aimv2_np.cli.app import app

    result = CliRunner().invoke(app, ["info", "--backends"])
    assert result.exit_code == 0
    assert result.stdout.startswith("python")
    assert "backend='numpy'" in " ".join(result.stdout.split())


def test_info_lists_the_devices() -> None:
    import json

    from click.testing import CliRunner

    from aimv2_np.cli.app import app

    with emulated_cupy(2):
        plain = CliRunner().invoke(app, ["info", "--backends"]).stdout
        found = json.loads(CliRunner().invoke(app, ["info", "--backends", "--json"]).stdout)
    assert "device 1" in plain
    assert "bfloat16" in plain
    assert "1 CUDA graph recorded, replayed 2 times" in plain
    assert found["cupy"]["graphs"] == {"recorded": 1, "replayed": 2, "failed": 0, "reasons": []}
    assert found["cupy"]["usable"]
    assert [it["compute_capability"] for it in found["cupy"]["devices"]] == ["9.0", "9.0"]
    assert CliRunner().invoke(app, ["info", "tiny", "--backends"]).exit_code == 2


def test_bfloat16_is_there_before_cupy_is_imported(monkeypatch):
    """CuPy looks for ml_dtypes once, when it is imported; the tests' own way to CuPy is find_cupy's."""
    imported, import_ = [], builtins.__import__
    monkeypatch.setattr(builtins, "__import__", lambda name, *args: imported.append(name) or import_(name, *args))
    with emulated_cupy(), real_cupy() as cupy:
        assert cupy is sys.modules["cupy"]
    assert imported.index("ml_dtypes") < imported.index("cupy")
