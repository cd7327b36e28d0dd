"""The process in which one model is measured: `python -m aimv2_np.bench.worker` answers the requests of `talk`."""

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from aimv2_np.bench.blas import describe_blas
from aimv2_np.bench.ceilings import Multiplier, Shape, combined_rate, copy_bandwidth, shapes
from aimv2_np.bench.flops import products, total_flops
from aimv2_np.bench.memory import read_memory, reset_peak
from aimv2_np.bench.profile import profiling
from aimv2_np.bench.talk import serve
from aimv2_np.bench.timing import in_turns, stopwatch
from aimv2_np.config import Aimv2Config
from aimv2_np.models.auto import load

PROFILED = 3  # passes


class Subject:
    """A model and an input for it.

    Args:
        folder: the checkpoint.
        given: {"kind": "pictures", "height", "width"} or {"kind": "texts", "tokens"}.
        batch: how many of them.
        where: options of `load`: backend, dtype, device, prefix, final_norm.
    """

    def __init__(self, folder: str, given: dict[str, Any], batch: int, **where: Any) -> None:
        began = time.perf_counter()
        self.model = load(folder, **where)
        self.loading = time.perf_counter() - began
        self.given, self.batch = given, batch
        self._inputs, self._options = self._make_inputs()

    def _make_inputs(self) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
        rng, config = np.random.default_rng(0), self.model.config
        if self.given["kind"] == "texts":
            text = config.text_config if isinstance(config, Aimv2Config) else config
            ids = rng.integers(0, text.vocab_size, (self.batch, self.given["tokens"]))
            ids[:, -1] = text.eos_token_id
            return ids, {}
        vision = config.vision_config if isinstance(config, Aimv2Config) else config
        height, width = self.given["height"], self.given["width"]
        pixels = rng.standard_normal((self.batch, vision.num_channels, height, width), dtype=np.float32)
        ph, pw = vision.patch_shape
        return pixels, {"interpolate_pos_encoding": (height // ph, width // pw) != vision.grid}

    def run(self) -> None:
        """One forward pass."""
        model: Any = self.model
        if isinstance(model.config, Aimv2Config):
            texts = self.given["kind"] == "texts"
            model = self.model.get_text_features if texts else self.model.get_image_features
        model(self._inputs, **self._options)


def measure(
    folder: str,
    given: dict[str, Any],
    batch: int,
    threads: int,
    seconds: float,
    profile: bool,
    which: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Speed and memory of a model on one input, and the rate of the matrix library for the same shapes.

    `which` is that of `Specimen`; `threads` cores are expected to be all that this process has.
    """
    before = read_memory()
    subject = Subject(folder, given, batch, **which or {})
    loaded = read_memory()
    first = stopwatch(subject.run)
    memory = _memory(subject, before.anonymous, loaded.anonymous)
    multiplied = products(subject.model.config, given, batch)
    by_shape = shapes(multiplied)
    contestants = {"model": partial(stopwatch, subject.run)}
    contestants |= {str(shape): partial(_product, Multiplier(shape, threads)) for shape in by_shape}
    times = in_turns(contestants, seconds)
    rates = {shape: shape.flops / times[str(shape)].median for shape in by_shape}
    rate = combined_rate(by_shape, rates)
    median, done = times["model"].median, total_flops(multiplied)
    return {
        "seconds": times["model"].to_dict(), "per_second": batch / median, "flops": done, "gflops": done / median / 1e9,
        "sgemm_gflops": rate / 1e9, "sgemm_fraction": done / median / rate,
        "sgemm_shapes": [{**asdict(shape), "gflops": of_shape / 1e9} for shape, of_shape in rates.items()],
        "loading_seconds": subject.loading, "first_seconds": first, "memory": memory,
        "profile": _profile(subject, rates, rate, threads) if profile else None,
    }  # fmt: skip


def _product(multiplier: Multiplier) -> float:
    """Seconds of one product now."""
    return multiplier.shape.flops / multiplier.rate()


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
    return sum(map(_product, _multipliers))


def memory() -> dict[str, int | None]:
    """What this process takes now."""
    return asdict(read_memory())


FUNCTIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function for function in (measure, hold, memory, prepare_products, multiply, describe_blas)
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
