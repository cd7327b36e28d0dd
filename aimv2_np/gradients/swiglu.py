"""The derivative of the gate.

y = act(a) ⊙ b        ∂L/∂a = act'(a) ⊙ b ⊙ ∂L/∂y        ∂L/∂b = act(a) ⊙ ∂L/∂y
"""

from typing import Any

from aimv2_np.backends.arrays import namespace, widen
from aimv2_np.backends.operation import operation
from aimv2_np.gradients.activations import DERIVATIVES
from aimv2_np.gradients.slices import in_slices
from aimv2_np.gradients.variable import Variable, computed, value_of
from aimv2_np.network.activations import ACTIVATIONS
from aimv2_np.network.swiglu import gated
from aimv2_np.shapes import Array, Float


@gated.register(Variable)
def gated_with_derivative(gate: Any, up: Any, hidden_act: str) -> Variable:
    """`gated` of variables. See docs/equations.md, (26)."""
    a, b = value_of(gate), value_of(up)

    return computed(gated(a, b, hidden_act), (gate, up), lambda g: backward(a, b, g, hidden_act))


@operation
def backward(
    gate: Float[Array, "*batch F"], up: Float[Array, "*batch F"], g: Float[Array, "*batch F"], hidden_act: str
) -> list[Float[Array, "*batch F"]]:
    """∂L/∂gate and ∂L/∂up from ∂L/∂y, `g`. See docs/equations.md, (26)."""
    act, found = ACTIVATIONS[hidden_act], [namespace(g).empty(g.shape, g.dtype) for _ in range(2)]

    def some(rows: slice) -> None:
        wide = widen(gate[rows])
        found[0][rows] = DERIVATIVES[act](wide) * widen(up[rows]) * g[rows]
        found[1][rows] = act(wide) * g[rows]

    in_slices(g, some)
    return found
