"""One model and one input, and how fast the one takes the other beside the matrix products that this consists of."""

import time
from collections.abc import Callable
from dataclasses import asdict
from statistics import median
from typing import Any

import numpy as np

from aimv2_np.backends.arrays import is_float, move
from aimv2_np.bench.ceilings import Shape, combined_rate, shapes
from aimv2_np.bench.flops import products, total_flops
from aimv2_np.bench.timing import in_turns, summary
from aimv2_np.models.auto import load
from aimv2_np.shapes import Array

UNITS = {"gflops": 1e9, "tflops": 1e12}


class Subject:
    """A model and an input for it, on the device where the model is.

    Args:
        folder: the checkpoint.
        given: {"kind": "pictures", "height", "width"} or {"kind": "texts", "tokens"}.
        batch: how many of them.
        which: options of `load`: backend, dtype, device, prefix, final_norm.
    """

    def __init__(self, folder: str, given: dict[str, Any], batch: int, **which: Any) -> None:
        began = time.perf_counter()
        self.model: Any = load(folder, **which)
        self.loading = time.perf_counter() - began
        self.given, self.batch = given, batch
        inputs, self._options = self._make_inputs()
        inputs = move(inputs, self.model.backend, self.model.device)
        kind = self.model.some_array().dtype  # of float32 where NumPy computes in bfloat16
        self._inputs = inputs.astype(kind) if is_float(inputs) else inputs

    def _make_inputs(self) -> tuple[Array, dict[str, Any]]:
        rng, config = np.random.default_rng(0), self.model.config
        if self.given["kind"] == "texts":
            text = getattr(config, "text_config", config)
            ids = rng.integers(0, text.vocab_size, (self.batch, self.given["tokens"]))
            ids[:, -1] = text.eos_token_id
            return ids, {}
        vision = getattr(config, "vision_config", config)
        height, width = self.given["height"], self.given["width"]
        pixels = rng.standard_normal((self.batch, vision.num_channels, height, width), dtype=np.float32)
        ph, pw = vision.patch_shape
        return pixels, {"interpolate_pos_encoding": (height // ph, width // pw) != vision.grid}

    def run(self) -> None:
        """One forward pass."""
        call = self.model
        if hasattr(call, "text_model"):
            call = call.get_text_features if self.given["kind"] == "texts" else call.get_image_features
        call(self._inputs, **self._options)

    def speed(
        self,
        clock: Callable[[], float],
        product: Callable[[Shape], Callable[[], float]],
        seconds: float,
        library: str,
        unit: str,
        peak: Callable[[], float] | None = None,
    ) -> tuple[dict[str, Any], dict[Shape, float], float]:
        """How fast the model runs, in turns with products of the shapes that it consists of.

        Args:
            clock: runs the model once and returns the seconds that it took.
            product: a shape → the same for one product of it.
            seconds: of all of it, at least.
            library, unit: "sgemm" or "gemm" and a key of `UNITS`, in which rates are given.
            peak: measures how many operations per second the device could do with numbers that are in registers.

        Returns: what goes into JSON; operations per second of the products of each shape, and of all of them together.
        """
        multiplied = products(self.model.config, self.given, self.batch)
        by_shape, scale = shapes(multiplied), UNITS[unit]
        contestants = {"model": clock} | {str(shape): product(shape) for shape in by_shape}
        times = in_turns(contestants | ({"peak": lambda: 1 / peak()} if peak else {}), seconds)
        rates = {shape: shape.flops / median(times[str(shape)]) for shape in by_shape}
        rate, done, passing = combined_rate(by_shape, rates), total_flops(multiplied), median(times["model"])
        found = {
            "seconds": summary(times["model"]), "per_second": self.batch / passing, "flops": done,
            unit: done / passing / scale, f"{library}_{unit}": rate / scale,
            f"{library}_fraction": done / passing / rate,
            f"{library}_shapes": [{**asdict(shape), unit: of_shape / scale} for shape, of_shape in rates.items()],
        }  # fmt: skip
        if peak:
            highest = 1 / median(times["peak"])
            found |= {f"peak_{unit}": highest / scale, "peak_fraction": done / passing / highest}
        return found, rates, rate
