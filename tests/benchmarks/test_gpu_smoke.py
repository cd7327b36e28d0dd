"""The smoke test of a GPU, on the stand-in: that it passes what is right, and nothing else."""

from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.benchmarks import gpu_smoke
from tests.support.kernel_instances import INSTANCES
from tests.support.models import vision_config


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_smoke, "CASES", (("tiny", 1), ("tiny", 2)))
    monkeypatch.setattr(gpu_smoke, "ARCHITECTURES", {"tiny": SimpleNamespace(config=vision_config)})
    monkeypatch.setattr(gpu_smoke, "PASSES", 3)


@pytest.mark.usefixtures("small")
def test_graphs(cupy: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_smoke.graphs()
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "graphs hold the network"
    assert [line.split("|")[1].strip() for line in lines[2:4]] == ["tiny, batch 1, bfloat16", "tiny, batch 2, bfloat16"]
    assert all(line.endswith("| right |") for line in lines[2:4])


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    "wrong", [{"recorded": 0}, {"replayed": 0}, {"failed": 1}, {"error": 1.0}, {"error": float("nan")}]
)
def test_graphs_that_do_not_work(
    cupy: ModuleType, wrong: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {"recorded": 1, "replayed": 2, "failed": 0, "error": 0.0, "reasons": ["cuBLAS refused"], **wrong}
    monkeypatch.setattr(gpu_smoke, "compare_graphs", lambda *_: found)
    monkeypatch.setattr(gpu_smoke, "time_graphs", lambda *_: (1e-3, 1e-3, 1e-3))
    assert not gpu_smoke.graphs()
    said = capsys.readouterr().out
    assert "WRONG: cuBLAS refused" in said
    assert said.endswith("graphs do NOT hold the network\n")


def test_every_kernel_is_run(cupy: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cupy.cuda, "set_allocator", lambda _: None, raising=False)
    monkeypatch.setattr(gpu_smoke, "MANY", (1, 2, 9, 64))  # the emulator has no time for more
    launched: set[str] = set()
    from aimv2_np.kernels.cuda import launch

    compiled = launch._kernel

    def kernel(xp: ModuleType, device: int, file: str, *rest: Any) -> Any:
        launched.add(file)
        return compiled(xp, device, file, *rest)

    monkeypatch.setattr(launch, "_kernel", kernel)
    assert gpu_smoke.kernels()
    assert launched == set(INSTANCES)


def test_a_wrong_kernel_is_told(
    cupy: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cupy.cuda, "set_allocator", lambda _: None, raising=False)
    results = iter([cupy.ones(3), 2 * cupy.ones(3)])
    monkeypatch.setattr(gpu_smoke, "DTYPES", ("float32",))
    monkeypatch.setattr(gpu_smoke, "_calls", lambda *_: [("rms_norm", lambda: next(results))])
    assert not gpu_smoke.kernels()
    assert "rms_norm, float32: relative error 1" in capsys.readouterr().out


def test_what_is_here(cupy: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_smoke.here("pytest", "json")
    assert not gpu_smoke.here("no_such_library")
    assert "cannot run: No module named 'no_such_library'" in capsys.readouterr().err
