"""Mistakes in the derivative of the gate: y = act(a) ⊙ b, ∂L/∂a = act'(a) ⊙ b ⊙ ∂L/∂y, ∂L/∂b = act(a) ⊙ ∂L/∂y."""

from collections.abc import Callable
from typing import Any

import numpy as np

from aimv2_np.comparison.diagnosis.backward.tools import derived_from
from aimv2_np.comparison.diagnosis.fault import Plant, Table, computing
from aimv2_np.gradients.variable import Variable, value_of
from aimv2_np.network.activations import ACTIVATIONS
from aimv2_np.network.swiglu import SwiGLU, gated
from aimv2_np.shapes import Array
from aimv2_np.tree.module import Module


def _gating(by_gate: Callable[[Any, Any, str], Any], by_up: Callable[[Any, Any, str], Any]) -> Plant:
    """The gated MLP whose gradients by gate and up are those of two expressions of (gate, up, activation)."""

    def forward(m: Any, x: Any) -> Any:
        a, b = m.gate_proj(x), m.up_proj(x)
        y = gated(value_of(a), value_of(b), m.hidden_act)
        return m.down_proj(derived_from(y, by_gate(a, value_of(b), m.hidden_act), by_up(value_of(a), b, m.hidden_act)))

    return computing(forward)


def _activation(name: str) -> Plant:
    """The derivative of another activation."""
    gating = _gating(lambda a, b, act: gated(a, b, name), gated)

    def plant(m: Any, *rest: Any) -> Module | None:
        return None if ACTIVATIONS[m.hidden_act] is ACTIVATIONS[name] else gating(m, *rest)

    return plant


def _exchanged(m: Any, x: Any) -> Any:
    a, b = m.gate_proj(x), m.up_proj(x)
    y = gated(a, b, m.hidden_act)
    back = y.back
    if back is None or len(y.parents) != 2:
        return m.down_proj(y)

    def exchanged(g: Array) -> list[Array | None]:
        return list(back(g))[::-1]

    return m.down_proj(Variable(y.value, y.parents, exchanged))


# One name of each activation.
NAMES = sorted({activation: name for name, activation in sorted(ACTIVATIONS.items(), reverse=True)}.values())
FAULTS: Table = {
    ("activation_derivative_missing", SwiGLU): {
        "{path} leaves the activation's derivative out of the gradient by its gate": _gating(
            lambda a, b, act: gated(a, b, "linear"), gated
        ),
    },
    ("activation_derivative_wrong", SwiGLU): {
        f"{{path}} takes the derivative of {name} for that of {{m.hidden_act}}": _activation(name)
        for name in NAMES
        if name != "linear"
    },
    ("gate_derivative_wrong", SwiGLU): {
        "{path} gives the gradient by up without the activation: gate ⊙ ∂L/∂y": _gating(
            gated, lambda a, b, act: gated(a, b, "linear")
        ),
        "{path} gives the gradient by gate without up: act'(gate) ⊙ ∂L/∂y": _gating(
            lambda a, b, act: gated(a, np.ones_like(b), act), gated
        ),
        "{path} exchanges the gradients by gate and up": computing(_exchanged),
    },
}
