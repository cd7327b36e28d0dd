"""Mistakes in the derivative of linear maps: y = x Wᵀ + b, ∂L/∂x = ∂L/∂y W, ∂L/∂W = (∂L/∂y)ᵀ x, and signs anywhere."""

from typing import Any

from aimv2_np.comparison.diagnosis.backward.paths import by_all_weights
from aimv2_np.comparison.diagnosis.backward.tools import (
    Change,
    derived_from,
    forward_of,
    passing,
    times,
    with_input,
    with_weight,
)
from aimv2_np.comparison.diagnosis.fault import Plant, Table, computing
from aimv2_np.gradients.variable import value_of
from aimv2_np.network.attention import Attention
from aimv2_np.network.linear import Linear, linear
from aimv2_np.network.patches import PatchEmbed
from aimv2_np.network.pooling import AttentionPoolingHead
from aimv2_np.network.rms_norm import RMSNorm
from aimv2_np.network.swiglu import SwiGLU
from aimv2_np.tree.module import Module


def _square(plant: Plant) -> Plant:
    """Of matrices that are as wide as they are high, and not of one number."""

    def of_square(m: Any, *rest: Any) -> Module | None:
        outputs, inputs = m.weight.shape
        return plant(m, *rest) if outputs == inputs > 1 else None

    return of_square


def _by_input(m: Any, x: Any) -> Any:
    """∂L/∂x = ∂L/∂y Wᵀ for ∂L/∂y W."""
    return derived_from(forward_of(m, x), linear(x, value_of(m.weight).T), linear(value_of(x), m.weight, m.bias))


def _of_output(m: Any, x: Any) -> Any:
    """∂L/∂W = (∂L/∂y)ᵀ y for (∂L/∂y)ᵀ x."""
    y = forward_of(m, x)
    return derived_from(y, linear(x, value_of(m.weight), m.bias), linear(value_of(y), m.weight))


def _kernel(change: Change) -> Plant:
    return with_weight("weight", change)


NEGATIVE = times(-1)
FAULTS: Table = {
    **{
        ("wrong_sign", kind): {"{path} gives its weights the negative of their gradient": plant}
        for kind, plant in by_all_weights(NEGATIVE).items()
    },
    ("transposed_weight_gradient", Linear): {
        "{path} gives its weight the gradient xᵀ ∂L/∂y; it is (∂L/∂y)ᵀ x, of the weight's own order": _square(
            with_weight("weight", lambda g: g.T)
        ),
    },
    ("transposed_weight_gradient", PatchEmbed): {
        "{path} gives its kernel a gradient whose rows and columns are exchanged": _kernel(
            lambda g: g.swapaxes(-1, -2)
        ),
    },
    ("weight_not_transposed", Linear): {
        "{path} gives its input ∂L/∂y Wᵀ; it is ∂L/∂y W": _square(computing(_by_input)),
    },
    ("gradient_of_output", Linear): {
        "{path} multiplies ∂L/∂y with its output for the gradient by its weight; it is its input": _square(
            computing(_of_output)
        ),
    },
}
for each in (Linear, RMSNorm, Attention, SwiGLU, AttentionPoolingHead):
    inputs = {"{path} gives its input the negative of its gradient": with_input(lambda x: passing(x, NEGATIVE))}
    FAULTS = {**FAULTS, ("wrong_sign", each): {**FAULTS.get(("wrong_sign", each), {}), **inputs}}
