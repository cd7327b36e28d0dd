"""Products of the way back in half precision, whose sums are float32.

    ∂L/∂x = round(∂L/∂y) W        ∂L/∂W = round(∂L/∂y)ᵀ x

On the way forward, W and x are in half precision already; where ∂L/∂y is rounded to it too, a GPU multiplies several
times as fast. In float16 gradients below 6e-8 are lost by that, so mixed precision makes them larger first
(`training/precision.py`); who asks for the gradient of a model in half precision gets products in float32.
"""

from contextlib import AbstractContextManager
from contextvars import ContextVar

import numpy as np

from aimv2_np.backends.arrays import factor_of, widen
from aimv2_np.backends.context import having
from aimv2_np.backends.narrow import Narrow
from aimv2_np.backends.operation import operation
from aimv2_np.network.linear import linear
from aimv2_np.shapes import Array, Float

_narrow: ContextVar[bool] = ContextVar("narrow", default=False)


def narrow_products() -> AbstractContextManager[None]:
    """Inside the block, round both factors of products on the way back as the way forward has them."""
    return having(_narrow, True)


def factor(x: Array, weight: Array) -> Array:
    """`x` as it is multiplied on the way back of a product with `weight`: inside such a block, rounded as that is."""
    if not _narrow.get():
        return x
    if isinstance(weight, Narrow):
        return factor_of(x, weight)
    return x.astype(weight.dtype) if weight.dtype.itemsize < np.dtype(x.dtype).itemsize else x


@operation
def product(a: Float[Array, "N I"], b: Float[Array, "O I"]) -> Float[Array, "N O"]:
    """`a @ b.T` in float32 or wider; half precision is summed in float32, and the result is not rounded."""
    return linear(widen(a), widen(b))
