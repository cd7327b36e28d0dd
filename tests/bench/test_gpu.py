"""The benchmark of a GPU: in this process where `cupy` is the stand-in, whose seconds mean nothing."""

import json
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner

from aimv2_np.bench import gpu, run, worker
from aimv2_np.bench.ceilings import Shape
from aimv2_np.cli.app import app
from aimv2_np.cli.bench import print_result
from aimv2_np.cli.output import console


@pytest.fixture
def in_this_process(cupy: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    class Here:
        def __init__(self, command: Any, changes: Any) -> None:
            assert command[-1] == "aimv2_np.bench.worker"

        def __enter__(self) -> "Here":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def ask(self, request: str, **arguments: Any) -> Any:
            assert request == "measure"
            return worker.measure(**json.loads(json.dumps(arguments)))

    monkeypatch.setattr(run, "Worker", Here)
    monkeypatch.setattr(gpu, "CACHE_BYTES", 1000)
    monkeypatch.setattr(gpu, "BUSY_BYTES", 1000)
    monkeypatch.setattr(gpu, "copy_bandwidth", lambda cupy: 1e12)
    monkeypatch.setattr(
        run, "time_cold", lambda command, threads: {"seconds": 1.5, "stages": {"load": 0.5}, "memory": {"peak": None}}
    )


@pytest.mark.usefixtures("in_this_process")
def test_benchmark() -> None:
    plan = run.Plan(
        ["large-224"], sizes=[(28, 28)], batches=[1, 3], seconds=0, cold=1, layers=1, backend="cupy", dtype="bfloat16"
    )
    result = run.benchmark(plan)
    assert result["dtype"] == "bfloat16"
    assert set(result) == {
        "schema", "date", "machine", "device", "driver", "runtime", "versions", "dtype", "models",
    }  # fmt: skip
    (model,) = json.loads(json.dumps(result))["models"]
    assert [case["batch"] for case in model["cases"]] == [1, 3]
    for case in model["cases"]:
        assert set(case) >= {"input", "flops", "gemm_shapes", "copy_gb_per_second", "loading_seconds"}
        assert case["per_second"] == pytest.approx(case["batch"] / case["seconds"]["median"])
        assert case["gemm_fraction"] == pytest.approx(case["tflops"] / case["gemm_tflops"])
        assert case["graphs"]["recorded"] >= 1
        assert case["graphs"]["replayed"] >= 2
        assert 0 <= case["memory"]["weights"] <= case["memory"]["peak"]
    assert model["cold"]["seconds"]["median"] == 1.5
    screen = console()
    with screen.capture() as captured:
        print_result(screen, result)
    assert "bfloat16" in captured.get()
    assert "28x28" in captured.get()
    assert "recording" not in captured.get()


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
    assert gpu.product(cupy, Shape(3, 4, 5), "float32")() > 0


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_products_are_of_random_numbers_from_memory(
    cupy: ModuleType, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every factor has many values, and all of them together are too many for the cache."""
    monkeypatch.setattr(gpu, "CACHE_BYTES", 20_000)
    monkeypatch.setattr(gpu, "steady", lambda cupy, calls: calls)
    sets: Any = gpu.product(cupy, Shape(16, 64, 48), dtype)
    arrays = [array for call in sets for array in call.args]
    assert sum(array.nbytes for array in arrays) > 20_000
    assert len({array.data.ptr for array in arrays}) == len(arrays) == 3 * len(sets) > 3
    for call in sets:
        for factor in call.args[:2]:
            values = factor.get().astype("float32")
            assert len(set(values.ravel().tolist())) > values.size / 20  # bfloat16 has few
            assert 0.9 < values.std() < 1.1
        call()
    assert len({float(call.args[2].get().astype("float32").sum()) for call in sets}) == len(sets)


def test_a_product_beyond_the_cache_has_one_set(cupy: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "CACHE_BYTES", 1000)
    monkeypatch.setattr(gpu, "steady", lambda cupy, calls: calls)
    assert len(gpu.product(cupy, Shape(16, 64, 48), "float32")) == 1


def test_enough_calls_lie_between_two_events(cupy: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that only the calls advance, a quarter of a millisecond each, and the copies before them not."""
    made: list[int] = []
    between: list[int] = []
    monkeypatch.setattr(gpu, "BUSY_BYTES", 64)

    def stopwatch(cupy: Any, function: Any) -> Any:
        def run() -> float:
            before = len(made)
            function()
            between.append(len(made) - before)
            return max(1e-5, 0.25e-3 * between[-1])

        return run

    monkeypatch.setattr(gpu, "stopwatch", stopwatch)
    clock = gpu.steady(cupy, [lambda: made.append(0), lambda: made.append(1)])
    assert clock() == pytest.approx(0.25e-3)
    assert between[-1] * 0.25e-3 >= gpu.MIN_SECONDS
    assert made.count(0) == pytest.approx(made.count(1), abs=1)


def test_the_device_is_busy_while_calls_are_queued(
    cupy: ModuleType, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copies come before the first event, not between the two."""
    if "gpu" in request.node.name.partition("[")[2]:
        pytest.skip("only the stand-in's methods can be replaced")
    order: list[str] = []
    monkeypatch.setattr(gpu, "BUSY_BYTES", 64)
    monkeypatch.setattr(gpu, "MIN_SECONDS", 1e-9)
    clock = gpu.steady(cupy, [lambda: order.append("call")])
    events, arrays = cupy.cuda.Event, cupy.ndarray
    record, fill = events.record, arrays.__setitem__
    monkeypatch.setattr(events, "record", lambda *args: (order.append("event"), record(*args))[1])
    monkeypatch.setattr(arrays, "__setitem__", lambda *args: (order.append("copy"), fill(*args))[1])
    order.clear()
    clock()
    assert order[0] == "copy"
    assert order[order.index("event") :] == ["event", "call", "event"]
