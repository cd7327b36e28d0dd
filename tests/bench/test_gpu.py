"""The benchmark of a GPU: in this process where `cupy` is the stand-in, whose seconds mean nothing."""

import json
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner

from aimv2_np.bench import gpu
from aimv2_np.bench.ceilings import Shape
from aimv2_np.bench.run import Plan
from aimv2_np.cli.app import app
from aimv2_np.cli.bench_gpu import print_gpu
from aimv2_np.cli.output import console


@pytest.fixture
def in_this_process(cupy: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    class Here:
        def __init__(self, command: Any, changes: Any) -> None:
            assert command[-1] == "aimv2_np.bench.gpu"

        def __enter__(self) -> "Here":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def ask(self, request: str, **arguments: Any) -> Any:
            assert request == "measure"
            return gpu.measure(**json.loads(json.dumps(arguments)))

    monkeypatch.setattr(gpu, "Worker", Here)
    monkeypatch.setattr(gpu, "copy_bandwidth", lambda cupy: 1e12)
    monkeypatch.setattr(
        gpu, "time_cold", lambda command, threads: {"seconds": 1.5, "stages": {"load": 0.5}, "memory": {}}
    )


@pytest.mark.usefixtures("in_this_process")
def test_benchmark() -> None:
    plan = Plan(["large-224"], sizes=[(28, 28)], batches=[1, 3], seconds=0, cold=1, layers=1)
    result = gpu.benchmark_gpu(plan, {"dtype": "bfloat16", "device": None})
    (model,) = json.loads(json.dumps(result))["models"]
    assert [case["batch"] for case in model["cases"]] == [1, 3]
    for case in model["cases"]:
        assert case["per_second"] == pytest.approx(case["batch"] / case["seconds"]["median"])
        assert case["gemm_fraction"] == pytest.approx(case["tflops"] / case["gemm_tflops"])
        assert case["graphs"]["recorded"] >= 1
        assert case["graphs"]["replayed"] >= 2
        assert 0 <= case["memory"]["weights"] <= case["memory"]["peak"]
    assert model["cold"]["seconds"]["median"] == 1.5
    screen = console()
    with screen.capture() as captured:
        print_gpu(screen, result)
    assert "bfloat16" in captured.get()
    assert "28x28" in captured.get()
    assert "recording" not in captured.get()
    model["cases"][0]["graphs"] |= {"failed": 2, "reasons": ["something in it waits"]}
    with screen.capture() as captured:
        print_gpu(screen, result | {"models": [model]})
    assert "2 recordings failed: something in it waits" in " ".join(captured.get().split())
    assert "first feature 1.50 s after the start" in captured.get()


@pytest.mark.usefixtures("in_this_process")
def test_command() -> None:
    arguments = ["bench", "tiny", "--backend", "cupy", "--dtype", "float16", "--seconds", "0", "--cold", "0", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["dtype"] == "float16"


@pytest.mark.parametrize(
    "arguments", [["--backend", "cupy", "--threads", "1"], ["--dtype", "float16"], ["--backend", "cupy", "--blas"]]
)
def test_what_does_not_go_together(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, ["bench", "tiny", *arguments]).exit_code == 2


def test_copying_and_multiplying(cupy: ModuleType) -> None:
    assert gpu.copy_bandwidth(cupy, 1 << 12) > 0
    multiply = gpu.product(cupy, Shape(3, 4, 5), "float32")
    assert (multiply() == 4).all()
    assert gpu.stopwatch(cupy, multiply)() > 0
