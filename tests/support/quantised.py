"""Quantised engines: ports that multiply rounded matrices, and some of them rounded activations."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.support.port import NDArray, Port

Rounding = Callable[[NDArray], NDArray]


def integers(bits: int, *, group: int | None = None, whole: bool = False) -> Rounding:
    """To whole numbers around zero; a factor for each row, for so many inputs, or for all."""

    def rounded(array: NDArray) -> NDArray:
        rows = (
            array.reshape(1, -1)
            if whole
            else array.reshape(-1, group if group and array.shape[-1] % group == 0 else array.shape[-1])
        )
        step = np.maximum(np.abs(rows).max(1, keepdims=True), 1e-30) / (2 ** (bits - 1) - 1)
        return (np.rint(rows / step) * step).reshape(array.shape).astype(array.dtype)

    return rounded


def between(array: NDArray) -> NDArray:
    """To one of 256 numbers from the smallest to the largest, zero among them, as dynamic quantisation does."""
    low, high = min(float(array.min()), 0.0), max(float(array.max()), 0.0)
    step = (high - low) / 255 or 1.0
    zero = np.rint(-low / step)
    return ((np.clip(np.rint(array / step) + zero, 0, 255) - zero) * step).astype(array.dtype)


def float8(array: NDArray) -> NDArray:
    """To e4m3 with a factor for each row: three bits behind the first."""
    scale = np.maximum(np.abs(array).max(-1, keepdims=True), 1e-30) / 448
    number = array / scale
    exponent = np.maximum(np.floor(np.log2(np.maximum(np.abs(number), 1e-30))), -6)
    step = 2.0 ** (exponent - 3)
    return (np.rint(number / step) * step * scale).astype(array.dtype)


def same(array: NDArray) -> NDArray:
    return array


# name → what matrices are rounded to, and what they are multiplied with
ENGINES: dict[str, tuple[str, Rounding, Rounding]] = {
    "int8, rows": ("int8", integers(8), same),
    "int8, whole": ("int8", integers(8, whole=True), same),
    "int8, dynamic": ("int8", integers(8), between),
    "int8, dynamic, whole": ("int8", integers(8, whole=True), between),
    "int8, by token": ("int8", integers(8), integers(8)),
    "float8": ("float8", float8, float8),
    "int4, groups": ("int4", integers(4, group=16), same),
    "int4, rows": ("int4", integers(4), same),
}


def engine(name: str, port: type[Port] = Port) -> type[Port]:
    """A port, be it a faulty one, that multiplies as an engine of that name does."""
    _, matrix, activation = ENGINES[name]

    class Engine(port):  # type: ignore[misc, valid-type]
        def product(self, x: NDArray, weight: NDArray) -> Any:
            return super().product(activation(x), matrix(weight))

    return Engine
