"""The derivative of the gate.

y = act(a) ⊙ b        ∂L/∂a = act'(a) ⊙ b ⊙ ∂L/∂y        ∂L/∂b = act(a) ⊙ ∂L/∂y
"""

from typing import Any

from aimv2_np.backends.arrays import namespace, widen
from aimv2_np.gradients.activations import DERIVATIVES
from aimv2_np.gradients.slices import in_slices
from aimv2_np.gradients.variable import Variable, computed, value_of
from aimv2_np.network.activations import ACTIVATIONS
from aimv2_np.network.swiglu import gated
from aimv2_np.shapes import Array


@gated.register(Variable)
def gated_with_derivative(gate: Any, up: Any, hidden_act: str) -> Variable:
    """`gated` of variables. See docs/equations.md, (26)."""
    a, b = value_of(gate), value_of(up)

    def back(g: Array) -> list[Array]:
        act, found = ACTIVATIONS[hidden_act], [namespace(g).empty(g.shape, g.dtype) for _ in range(2)]

        def some(rows: slice) -> None:
            wide = widen(a[rows])
            found[0][rows] = DERIVATIVES[act](wide) * widen(b[rows]) * g[rows]
            found[1][rows] = act(wide) * g[rows]

        in_slices(g, some)
        return found

    return computed(gated(a, b, hidden_act), (gate, up), back)
