"""The least that must work on a GPU, in processes of its own. Exits with 1 when it does not.

python -m tests.benchmarks.gpu_smoke here pytest torch    # CuPy has a GPU, and these can be imported
python -m tests.benchmarks.gpu_smoke graphs               # CUDA graphs hold the network: right, and how fast
python -m tests.benchmarks.gpu_smoke kernels              # every kernel on small arrays: for compute-sanitizer
"""

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from math import sqrt
from time import perf_counter
from typing import Any

import numpy as np

from aimv2_np import Aimv2VisionModel, textbook, to_numpy
from aimv2_np.backends import devices
from aimv2_np.backends.arrays import dtype_of
from aimv2_np.bench.gpu import stopwatch
from aimv2_np.bench.models import ARCHITECTURES, shortened
from aimv2_np.comparison.measure import EPS
from aimv2_np.comparison.tolerances import FACTOR
from aimv2_np.kernels.cuda.graphs import GRAPHS
from aimv2_np.network.attention import attention
from aimv2_np.network.patches import patch_embed
from aimv2_np.network.rms_norm import rms_norm
from aimv2_np.network.swiglu import gated
from aimv2_np.network.view import CAUSAL, Packed
from tests.benchmarks.measure import relative_error

DTYPES = ("float32", "float16", "bfloat16")
CASES = (("large-224", 1), ("large-224", 8), ("large-448", 1))  # those that graphs are for
MANY = (9, 16, 129, 64)  # q, k, v of more blocks than a device has multiprocessors: another variant may take these
PASSES = 30  # of which the median is told


def here(*modules: str) -> bool:
    """Whether CuPy has a GPU, PyTorch too, and the modules can be imported."""
    try:
        devices.find_cupy("bfloat16")
        for name in modules:
            import_module(name)
        if "torch" in modules and not sys.modules["torch"].cuda.is_available():
            raise RuntimeError("this PyTorch sees no GPU; install one for CUDA")
    except (ImportError, RuntimeError) as error:
        print(f"cannot run: {error}", file=sys.stderr)
        return False
    return True


def graphs(layers: int | None = None, dtype: str = "bfloat16") -> bool:
    """Whether graphs are recorded and replayed and give what launching one by one gives, and how long both take."""
    cupy = devices.find_cupy(dtype)
    good = True
    print("| case | recorded | replayed | error | µs a replay, device | µs a call | µs one by one, device | |")
    print("|---|---:|---:|---:|---:|---:|---:|---|")
    for name, batch in CASES:
        config: Any = shortened(ARCHITECTURES[name].config(), layers)
        model = Aimv2VisionModel(config, seed=1).to("cupy", dtype)
        rng = np.random.default_rng(batch)
        shape = (batch, config.num_channels, *config.image_shape)
        first, second = (
            cupy.asarray(rng.standard_normal(shape, dtype=np.float32)).astype(dtype_of(dtype)) for _ in range(2)
        )
        found = compare_graphs(model, first, second)
        within = FACTOR[dtype] * EPS[dtype] * sqrt(1 + config.num_hidden_layers)
        right = found["recorded"] and found["replayed"] and not found["failed"] and found["error"] <= within
        times = time_graphs(cupy, model, first)
        verdict = "right" if right else f"WRONG: {'; '.join(found['reasons']) or 'see the numbers'}"
        print(
            f"| {name}, batch {batch}, {dtype} | {found['recorded']} | {found['replayed']} | {found['error']:.2g} | "
            + " | ".join(f"{1e6 * seconds:.0f}" for seconds in times)
            + f" | {verdict} |"
        )
        good = good and bool(right)
        GRAPHS.clear()
    print("graphs hold the network" if good else "graphs do NOT hold the network")
    return good


def compare_graphs(model: Any, first: Any, second: Any) -> dict[str, Any]:
    """How many graphs were recorded and replayed, and the error of a replay against launching one by one."""
    GRAPHS.clear()
    before = GRAPHS.counts()
    model(first)  # one by one
    model(first)  # recorded, and replayed
    replayed = to_numpy(model(second).last_hidden_state)
    after = GRAPHS.counts()
    GRAPHS.clear()  # so that the next pass is the first again
    expected = to_numpy(model(second).last_hidden_state)
    counts = {name: after[name] - before[name] for name in ("recorded", "replayed", "failed")}
    return counts | {"reasons": after["reasons"], "error": relative_error(replayed, expected)}


def time_graphs(cupy: Any, model: Any, pixels: Any) -> tuple[float, float, float]:
    """Median seconds of a pass: replayed, by the device; replayed, by the host, result awaited; launched one by one."""

    def run() -> None:
        model(pixels)

    def one_by_one() -> None:
        GRAPHS.clear()
        model(pixels)

    launched = _median(stopwatch(cupy, one_by_one), PASSES // 3)
    for _ in range(3):
        run()
    return _median(stopwatch(cupy, run)), _median(lambda: _host(cupy, run)), launched


def _host(cupy: Any, function: Callable[[], object]) -> float:
    began = perf_counter()
    function()
    cupy.cuda.get_current_stream().synchronize()
    return perf_counter() - began


def _median(clock: Callable[[], float], rounds: int = PASSES) -> float:
    return float(np.median([clock() for _ in range(rounds)]))


def kernels() -> bool:
    """Whether every kernel gives what its textbook gives on the same device. Small: compute-sanitizer is slow."""
    cupy = devices.find_cupy("bfloat16")
    cupy.cuda.set_allocator(None)  # no pool: what lies beyond an array is nobody's
    good = True
    for dtype in DTYPES:
        for name, run in _calls(cupy, dtype):
            with textbook():
                expected = to_numpy(run())
            error = relative_error(to_numpy(run()), expected)
            if not error <= 16 * EPS[dtype]:
                print(f"{name}, {dtype}: relative error {error:.2g}")
                good = False
    print("every kernel is right" if good else "kernels are WRONG")
    return good


def _calls(cupy: Any, dtype: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Any:
        return cupy.asarray(rng.standard_normal(shape, dtype=np.float32)).astype(dtype_of(dtype))

    for size in (33, 1024):  # one element a thread, and 16 bytes
        x, gain, gate, up = normal(5, size), normal(size), normal(3, size), normal(3, size)
        yield f"rms_norm of {size}", lambda x=x, gain=gain: rms_norm(x, gain, 1e-5)
        for act in ("silu", "gelu"):
            yield f"gated of {size}, {act}", lambda gate=gate, up=up, act=act: gated(gate, up, act)
    pixels, weight, bias = normal(2, 3, 28, 42), normal(16, 3, 14, 14), normal(16)
    yield "patch_embed", lambda: patch_embed(pixels, weight, bias)
    pooled = Packed((3, 67)).pooled()
    for size in (40, 64, 128):
        q, k, v = (normal(1, 2, 70, size) for _ in range(3))  # a tile and a part of one
        yield f"attention, heads of {size}", lambda q=q, k=k, v=v: attention(q, k, v, 0.1)
        yield f"attention, causal, heads of {size}", lambda q=q, k=k, v=v: attention(q, k, v, 0.1, CAUSAL)
        yield f"attention, packed, heads of {size}", lambda q=q, k=k, v=v: attention(q, k, v, 0.1, Packed((3, 67)))
        yield f"pooling, heads of {size}", lambda q=q, k=k, v=v: attention(q[:, :, :2], k, v, 0.1, pooled)
    yield from _calls_of_gradients(cupy, normal)
    long = [normal(1, 1, n, 32) for n in (65, 1100, 1100)]
    yield "attention, long", lambda: attention(*long, 0.1)
    many = [normal(*MANY) for _ in range(3)]
    yield "attention, many blocks", lambda: attention(*many, 0.1)


def _calls_of_gradients(cupy: Any, normal: Callable[..., Any]) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The ways back; of several results the first, which holds what the others are made of."""
    from aimv2_np.gradients import attention as attention_back
    from aimv2_np.gradients import embedding, swiglu
    from aimv2_np.gradients import rms_norm as rms_norm_back

    def above(*shape: int) -> Any:
        return normal(*shape).astype(np.float32)

    x, gain, g = normal(5, 33), normal(33), above(5, 33)
    for i in range(2):
        yield f"rms_norm, back, {i}", lambda i=i: rms_norm_back.backward(x, gain, g, 1e-5)[i]
        yield f"gated, back, {i}", lambda i=i: swiglu.backward(x, x, g, "silu")[i]
    numbers = cupy.asarray(np.array([3, 0, 3, 6, 3]))
    yield "embedding, back", lambda: embedding.add_rows(g, numbers, 7)
    for size in (40, 128):
        q, k, v, by_output = (*(normal(1, 2, 70, size) for _ in range(3)), above(1, 2, 70, size))
        given = (q, k, v, attention(q, k, v, 0.1, CAUSAL), by_output, 0.1, CAUSAL)
        for i in range(3):
            run = lambda given=given, i=i: attention_back.backward(*given)[i]  # noqa: E731
            yield f"attention, back, heads of {size}, {i}", run


def main() -> None:
    what, *arguments = sys.argv[1:]
    actions: dict[str, Callable[..., bool]] = {"here": here, "graphs": graphs, "kernels": kernels}
    sys.exit(not actions[what](*arguments))


if __name__ == "__main__":
    main()
