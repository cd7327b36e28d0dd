"""What a field of a configuration may hold: each function declares a dataclass field with its default and its check.

A check takes the value that was given and returns the value that is kept, or raises ValueError with what was expected;
the name of the field is put in front by `Config`.
"""

import math
from collections.abc import Callable
from dataclasses import field
from numbers import Integral, Real
from typing import Any

from aimv2_np.errors import quoted

ACTIVATIONS = (
    "gelu", "gelu_10", "gelu_accurate", "gelu_fast", "gelu_new", "gelu_python", "gelu_python_tanh",
    "gelu_pytorch_tanh", "hardswish", "laplace", "leaky_relu", "linear", "mish", "quick_gelu", "relu", "relu2",
    "relu6", "sigmoid", "silu", "swish", "tanh",
)  # fmt: skip

# Far above every real model, and low enough that products of three such numbers still fit into 64 bits.
MAX_SIZE = 2**20
MAX_LAYERS = 2**12

Check = Callable[[object], object]


def checked(default: Any, check: Check) -> Any:
    """A dataclass field whose value goes through `check`."""
    return field(default=default, metadata={"check": check})


def integer(default: int, low: int = 1, high: int = MAX_SIZE) -> Any:
    """A whole number from `low` to `high`; neither a bool nor a float."""
    return checked(default, lambda value: _integer(value, low, high))


def number(default: float, low: float = -math.inf, high: float = math.inf) -> Any:
    """A finite number from `low` to `high`, kept as a float."""

    def check(value: object) -> float:
        wanted = "a finite number" + (f" from {low:g}" if low > -math.inf else "") + (
            f" to {high:g}" if high < math.inf else "")  # fmt: skip
        if isinstance(value, bool) or not isinstance(value, Real):
            raise ValueError(found(value, wanted))
        try:
            result = float(value)
        except OverflowError:
            result = math.inf
        if not (math.isfinite(result) and low <= result <= high):
            raise ValueError(found(value, wanted))
        return result

    return checked(default, check)


def boolean(default: bool) -> Any:
    """True or False; 0 and 1 are refused."""

    def check(value: object) -> bool:
        if not isinstance(value, bool):
            raise ValueError(found(value, "true or false"))
        return value

    return checked(default, check)


def pair(default: int) -> Any:
    """A size in pixels: one number, or (height, width), which is kept as a tuple unless it is a square."""

    def check(value: object) -> int | tuple[int, int]:
        if not isinstance(value, list | tuple):
            return _integer(value, 1, MAX_SIZE)
        if len(value) != 2:
            raise ValueError(found(value, "one size in pixels or two, (height, width)"))
        height, width = (_integer(item, 1, MAX_SIZE) for item in value)
        # Transformers accepts a list here and then fails on it, so a square is written as the number that it can read.
        return height if height == width else (height, width)

    return checked(default, check)


def activation(default: str) -> Any:
    """The name of one of Transformers' fixed activations."""

    def check(value: object) -> str:
        if not isinstance(value, str) or value not in ACTIVATIONS:
            raise ValueError(found(value, "one of " + ", ".join(ACTIVATIONS)))
        return value

    return checked(default, check)


def found(value: object, expected: str) -> str:
    """The message `is <value>; expected <expected>`, with a long value cut short."""
    return f"is {quoted(value, 80)}; expected {expected}"


def _integer(value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or not low <= int(value) <= high:
        raise ValueError(found(value, f"an integer from {low} to {high}"))
    return int(value)
