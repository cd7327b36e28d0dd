"""What others make of cosines and logits, as functions of arrays."""

from collections.abc import Callable
from math import log
from typing import Any

import numpy as np

from aimv2_np.shapes import Array


def scale_of(m: Any) -> float:
    """exp(logit_scale), limited, of the module that makes logits."""
    return float(np.exp(np.clip(m.logit_scale, 0.0, log(m.most))))


def softmax(x: Array, axis: int) -> Array:
    """e^x / Σ e^x over an axis."""
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def log_softmax(x: Array, axis: int) -> Array:
    """Its logarithm."""
    x = x - x.max(axis=axis, keepdims=True)
    result: Array = x - np.log(np.exp(x).sum(axis=axis, keepdims=True))
    return result


# Axes of logits per text (texts, pictures) and per picture (pictures, texts).
AXES = {
    "over each row": (-1, -1), "over each column": (0, 0), "over all texts": (0, -1), "over all pictures": (-1, 0),
}  # fmt: skip
COSINES: dict[str, Callable[[Array, Any], Array]] = {
    "negative distances": lambda cosines, scale: -np.sqrt(np.maximum(2 - 2 * cosines, 0)),
    "negative squared distances": lambda cosines, scale: 2 * cosines - 2,
    "negative distances times the scale": lambda cosines, scale: -scale * np.sqrt(np.maximum(2 - 2 * cosines, 0)),
    "negative squared distances times the scale": lambda cosines, scale: scale * (2 * cosines - 2),
    "cosines brought from -1 … 1 to 0 … 1": lambda cosines, scale: (1 + cosines) / 2,
    "one less the cosines": lambda cosines, scale: 1 - cosines,
}
SCALES: dict[str, Callable[[Any], float]] = {
    "multiply by the negative of the exponential of logit_scale": lambda m: -scale_of(m),
    "use logit_scale itself; it is its exponential": lambda m: float(m.logit_scale),
    "leave out logit_scale; it is its exponential": lambda m: 1.0,
    "divide by the exponential of logit_scale; they are multiplied by it": lambda m: 1 / scale_of(m),
    "divide by logit_scale; they are multiplied by its exponential": lambda m: 1 / float(m.logit_scale),
    "use the exponential of logit_scale without its limit": lambda m: float(np.exp(m.logit_scale)),
    "cut off the exponential of logit_scale at 1": lambda m: min(scale_of(m), 1.0),
    "cut off logit_scale at 1": lambda m: float(np.exp(min(m.logit_scale, 1.0))),
    "use the limit of the scale for the scale": lambda m: m.most,
    "use the limit's logarithm for the scale": lambda m: log(m.most),
    "use 100 for the scale": lambda m: 100.0,
    "use 1/0.07 for the scale, with which training starts": lambda m: 1 / 0.07,
    "use the logarithm's base 10": lambda m: float(10 ** float(m.logit_scale)),
    "use the logarithm's base 2": lambda m: float(2 ** float(m.logit_scale)),
    "apply the scale twice": lambda m: scale_of(m) ** 2,
    "apply the root of the scale": lambda m: scale_of(m) ** 0.5,
}
