"""The derivative of the linear map.

    y = x Wᵀ + b        ∂L/∂x = ∂L/∂y W        ∂L/∂W = (∂L/∂y)ᵀ x        ∂L/∂b = Σ ∂L/∂y

y_o = Σ_i W_oi x_i + b_o, so ∂y_o/∂x_i = W_oi and ∂y_o/∂W_oi = x_i. The sums run over all rows of x, however they are
stacked.
"""

from typing import Any

from aimv2_np.backends.arrays import widen
from aimv2_np.backends.operation import operation
from aimv2_np.gradients.variable import Variable, computed, value_of
from aimv2_np.network.linear import linear
from aimv2_np.shapes import Array, Float


@linear.register(Variable)
def linear_with_derivative(x: Any, weight: Any, bias: Any = None) -> Variable:
    """`linear` of variables. See docs/equations.md, (22)."""
    rows, matrix = value_of(x), value_of(weight)

    def back(g: Array) -> list[Array | None]:
        flat, inputs = g.reshape(-1, g.shape[-1]), widen(rows).reshape(-1, rows.shape[-1])
        return [
            linear(flat, widen(matrix).T).reshape(rows.shape) if isinstance(x, Variable) else None,  # g W
            by_weight(flat, inputs) if isinstance(weight, Variable) else None,
            flat.sum(axis=0) if isinstance(bias, Variable) else None,
        ]

    return computed(linear(rows, matrix, value_of(bias)), (x, weight, bias), back)


@operation
def by_weight(g: Float[Array, "N O"], x: Float[Array, "N I"]) -> Float[Array, "O I"]:
    """gᵀ x"""
    return linear(g.T, x.T)
