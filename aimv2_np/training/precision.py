"""Mixed precision: the network computes with weights in half precision, and is trained in float32.

    ŵ = round(w)      L = loss(network of ŵ)      ∂L/∂w = ∂L/∂ŵ, in float32

A step changes a weight by a thousandth of it or less, which half precision would round away; so the weights, the means
of the optimizer and the sum of accumulated gradients are float32, and only what is computed from rounded copies of them
is not. Norms, softmax and losses are computed in float32 either way. Micikevicius et al. 2017 (arXiv:1710.03740).

Of float16 the smallest number is 6e-8, and many gradients are smaller; so the loss, and with it each of them, is
multiplied by a power of two, and the gradient of the weights divided by it. Where a gradient overflows, the step is
skipped and the factor halved; after many steps without, it is doubled. bfloat16 has float32's exponents and needs none.
"""

from collections.abc import Collection
from dataclasses import dataclass
from math import isfinite
from typing import Any, TypeVar

import numpy as np

from aimv2_np.backends.arrays import backend_of, dtype_of
from aimv2_np.backends.narrow import Narrow, for_bfloat16
from aimv2_np.gradients.variable import Variable, computed, value_of
from aimv2_np.tree.module import Module

M = TypeVar("M", bound=Module)
PRECISIONS = ("float16", "bfloat16")


def in_precision(network: M, precision: str | None, paths: Collection[str] | None = None) -> M:
    """The network with weights rounded to `precision`, whose gradients are those of its own; None: as it is.

    Single numbers, like the temperature, stay in float32: they take no room, and all that they give is float32 anyway.
    With `paths`, only the weights of these are rounded.
    """
    if precision is None:
        return network
    return network.map(
        lambda path, weight: weight if paths is not None and path not in paths else _rounded(weight, precision)
    )


def _rounded(weight: Any, precision: str) -> Any:
    """A weight in half precision; where it is a variable, what comes back to it is its gradient."""
    value = value_of(weight)
    if value.ndim == 0 or isinstance(value, Narrow) or value.dtype.name == precision:
        return weight
    if precision == "bfloat16" and backend_of(value) == "numpy":  # which has no such dtype
        narrow = for_bfloat16(np.ascontiguousarray(value.astype(np.float32, copy=False)))
        return computed(narrow, (weight,), lambda g: (g,)) if isinstance(weight, Variable) else narrow
    return weight.astype(dtype_of(precision))


@dataclass
class LossScale:
    """What the loss of a training in float16 is multiplied by, a power of two.

    Attributes:
        factor: it.
        good: steps since it was changed or a step was skipped.
        skipped: steps of the training that were skipped.
    """

    factor: float = 2.0**15
    good: int = 0
    skipped: int = 0

    def __post_init__(self) -> None:
        numbers = (self.factor, self.good, self.skipped)
        if not all(isinstance(it, int | float) and isfinite(it) and it >= 0 for it in numbers) or not self.factor:
            raise ValueError(f"the scale of a loss is {numbers}; expected a factor above 0 and two numbers of steps")

    LARGEST = 2.0**24
    DOUBLED_AFTER = 1000  # steps

    def took(self, norm: float) -> bool:
        """Whether a step with a gradient of that length is taken; changes the factor for the next one."""
        if not isfinite(norm):
            self.factor, self.good, self.skipped = self.factor / 2, 0, self.skipped + 1
            return False
        self.good += 1
        if self.good >= self.DOUBLED_AFTER:
            self.factor, self.good = min(2 * self.factor, self.LARGEST), 0
        return True
