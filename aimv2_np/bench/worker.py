"""The process in which one model is measured: `python -m aimv2_np.bench.worker` answers the requests of `talk`."""

from collections.abc import Callable
from dataclasses import asdict
from functools import cache, partial
from typing import Any

from aimv2_np.bench import gpu
from aimv2_np.bench.blas import describe_blas
from aimv2_np.bench.ceilings import Multiplier, Peak, Shape, copy_bandwidth
from aimv2_np.bench.memory import read_memory, reset_peak
from aimv2_np.bench.profile import profiling
from aimv2_np.bench.subject import Subject
from aimv2_np.bench.talk import serve
from aimv2_np.bench.timing import stopwatch
from aimv2_np.kernels.native.library import available, describe_native

PROFILED = 3  # passes
NUMPY = "NumPy"  # what computes where no kernels in C do


def measure(
    folder: str,
    given: dict[str, Any],
    batch: int,
    threads: int,
    seconds: float,
    profile: bool,
    which: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Speed and memory of a model on one input, which body computed it, and the most that this machine could have done.

    `which` are options of `load`; `threads` cores are expected to be all that this process has. On a GPU what
    `gpu.measure` returns.
    """
    which = which or {}
    if which.get("backend") == "cupy":
        return gpu.measure(folder, given, batch, seconds, **which)
    before = read_memory()
    subject = Subject(folder, given, batch, **which)
    loaded = read_memory()
    first = stopwatch(subject.run)
    memory = _memory(subject, before.anonymous, loaded.anonymous)
    found, rates, rate = subject.speed(
        partial(stopwatch, subject.run), lambda shape: Multiplier(shape, threads).seconds, seconds, "sgemm", "gflops",
        _peak(threads).rate if available() else None,
    )  # fmt: skip
    return {"peak_gflops": None, "peak_fraction": None} | found | {
        "body": describe_native()["used"] or NUMPY,
        "loading_seconds": subject.loading, "first_seconds": first, "memory": memory,
        "profile": _profile(subject, rates, rate, threads) if profile else None,
    }  # fmt: skip


def _memory(subject: Subject, started: int | None, loaded: int | None) -> dict[str, int | None]:
    """Bytes after the first forward pass, and at the worst moment of another.

    "started" is the anonymous memory of the process before the checkpoint was opened; "working" is what a pass takes at
    its worst moment, beyond what was there when the checkpoint and the input were.
    """
    peak, working = read_memory().peak, None
    if reset_peak():
        subject.run()  # not the first: all pages of the checkpoint are there, and stay
        at_worst = read_memory().peak_anonymous
        if at_worst is not None and loaded is not None:
            working = max(0, at_worst - loaded)
    now = read_memory()
    return {
        "peak_resident": peak, "resident": now.resident, "proportional": now.proportional, "private": now.private,
        "anonymous": now.anonymous, "started": started, "working": working,
    }  # fmt: skip


def _profile(subject: Subject, rates: dict[Shape, float], rate: float, threads: int) -> dict[str, Any]:
    bandwidth = copy_bandwidth(threads)
    with profiling() as seen:
        for _ in range(PROFILED):
            subject.run()
    return {
        "passes": PROFILED, "seconds": seen.seconds / PROFILED, "threads": seen.threads,
        "flops": sum(entry.flops for entry in seen.entries.values()) // PROFILED,
        "copy_gb_per_second": bandwidth / 1e9,
        "operations": [
            {**line, "calls": line["calls"] and line["calls"] // PROFILED, "seconds": line["seconds"] / PROFILED}
            for line in seen.lines(rates, rate, bandwidth)
        ],
    }  # fmt: skip


_held: list[Subject] = []


def hold(folder: str, given: dict[str, Any], batch: int, which: dict[str, Any] | None = None) -> None:
    """Load a model, run it once and keep it."""
    _held.append(Subject(folder, given, batch, **which or {}))
    _held[-1].run()


_multipliers: list[Multiplier] = []


def prepare_products(sizes: list[list[int]], threads: int) -> dict[str, Any]:
    """Get ready to multiply; returns which matrix library does it."""
    _multipliers[:] = [Multiplier(Shape(*size), threads) for size in sizes]
    return describe_blas()


def multiply() -> float:
    """Seconds of one product of each size that was prepared, at the rate of now."""
    return sum(multiplier.seconds() for multiplier in _multipliers)


@cache
def _peak(threads: int) -> Peak:
    return Peak(threads)


def peak(threads: int) -> float:
    """Operations per second of this machine's arithmetic, now."""
    return _peak(threads).rate()


def memory() -> dict[str, int | None]:
    """What this process takes now."""
    return asdict(read_memory())


FUNCTIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function for function in (measure, hold, memory, peak, prepare_products, multiply, describe_blas)
}


def main() -> None:
    """Answer until nobody asks any more."""
    _no_core_dumps()
    serve(FUNCTIONS)


def _no_core_dumps() -> None:
    """A kernel that this processor cannot run ends the process; that is expected, and no reason to fill a disk."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
