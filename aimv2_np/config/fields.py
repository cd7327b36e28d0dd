"""What a field of a configuration may hold: checks, and dataclass fields with a default and a check.

A check takes the value that was given and returns the value that is kept, or raises ValueError with what was expected;
the name of the field is put in front by `check_fields`.
"""

import math
from collections.abc import Callable
from dataclasses import field, fields
from functools import partial
from numbers import Integral, Real
from typing import Any

from aimv2_np.errors import mismatch
from aimv2_np.network.activations import ACTIVATIONS

# Far above every real model, and low enough that products of three such numbers still fit into 64 bits.
MAX_SIZE = 2**20
MAX_LAYERS = 2**12

Check = Callable[[object], object]


def checked(default: Any, check: Check) -> Any:
    """A dataclass field whose value goes through `check`."""
    return field(default=default, metadata={"check": check})


def check_fields(instance: Any) -> None:
    """Put what each field of a new, frozen dataclass was given through its check, and keep what the check returns.

    Raises ValueError, beginning with the field's name.
    """
    for item in fields(instance):
        if "check" in item.metadata:
            try:
                value = item.metadata["check"](getattr(instance, item.name))
            except ValueError as error:
                raise ValueError(f"{item.name} {error}") from None
            object.__setattr__(instance, item.name, value)


def integer(default: int, low: int = 1, high: int = MAX_SIZE) -> Any:
    """A whole number from `low` to `high`; neither a bool nor a float."""
    return checked(default, partial(whole, low=low, high=high))


def number(default: float, low: float = -math.inf, high: float = math.inf) -> Any:
    """A finite number from `low` to `high`, kept as a float."""
    return checked(default, partial(finite, low=low, high=high))


def boolean(default: bool) -> Any:
    """True or False; 0 and 1 are refused."""
    return checked(default, truth)


def truth(value: object) -> bool:
    """`value`; ValueError unless it is True or False."""
    if not isinstance(value, bool):
        raise ValueError(mismatch(value, "true or false"))
    return value


def pixels(value: object) -> int | tuple[int, int]:
    """A size in pixels: one number, or (height, width), which is kept as a tuple unless it is a square."""
    if not isinstance(value, list | tuple):
        return whole(value)
    if len(value) != 2:
        raise ValueError(mismatch(value, "one size in pixels or two, (height, width)"))
    height, width = (whole(item) for item in value)
    # Transformers accepts a list here and then fails on it, so a square is written as the number that it can read.
    return height if height == width else (height, width)


def activation(value: object) -> str:
    """The name of one of Transformers' fixed activations."""
    if not isinstance(value, str) or value not in ACTIVATIONS:
        raise ValueError(mismatch(value, "one of " + ", ".join(ACTIVATIONS)))
    return value


def whole(value: object, low: int = 1, high: int = MAX_SIZE) -> int:
    """`value` as an int; ValueError unless it is a whole number from `low` to `high`, neither a bool nor a float."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not low <= int(value) <= high:
        raise ValueError(mismatch(value, f"an integer from {low} to {high}"))
    return int(value)


def finite(value: object, low: float = -math.inf, high: float = math.inf) -> float:
    """`value` as a float; ValueError unless it is a finite number from `low` to `high`, and no bool."""
    try:
        result = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    except OverflowError:
        result = math.inf
    if not (math.isfinite(result) and low <= result <= high):
        bounds = (f" from {low:g}" if low > -math.inf else "") + (f" to {high:g}" if high < math.inf else "")
        raise ValueError(mismatch(value, "a finite number" + bounds))
    return result
