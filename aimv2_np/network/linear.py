"""Linear map: every output feature is a weighted sum of the input features.

    y = x Wᵀ + b        W: (O, I), b: (O,) or absent

W is stored as PyTorch stores it, one row per output feature.
"""

from dataclasses import dataclass

from aimv2_np.backends.arrays import factor_of, widen
from aimv2_np.backends.operation import operation
from aimv2_np.shapes import Array, Float
from aimv2_np.tree.module import Module


@operation
def linear(
    x: Float[Array, "*batch I"], weight: Float[Array, "O I"], bias: Float[Array, "O"] | None = None
) -> Float[Array, "*batch O"]:
    """`x @ weight.T + bias` in the dtype of `x`; half precision is summed in float32. See docs/equations.md, (1)."""
    y = factor_of(x, weight) @ widen(weight).T
    if bias is not None:
        y = y + widen(bias)
    return y.astype(x.dtype, copy=False)


@dataclass(repr=False, eq=False)
class Linear(Module):
    """The linear map with its weight (O, I) and its bias (O,) or None."""

    weight: Float[Array, "O I"]
    bias: Float[Array, "O"] | None

    def forward(self, x: Float[Array, "*batch I"]) -> Float[Array, "*batch O"]:
        return linear(x, self.weight, self.bias)
