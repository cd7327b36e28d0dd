"""The derivative of RMSNorm.

    y = g ⊙ r x,    r = (mean_j x_j² + ε)^(-1/2)

    ∂r/∂x_j = -r³ x_j / D, so with u = g ⊙ ∂L/∂y
    ∂L/∂x = r u - r³ x mean_j(u_j x_j)        ∂L/∂g = Σ r x ⊙ ∂L/∂y

The second term is the part of u along x, which scaling x cannot change (but for ε). The sum runs over all tokens.
"""

from typing import Any

from aimv2_np.backends.arrays import namespace, widen
from aimv2_np.backends.operation import operation
from aimv2_np.gradients.functions import unbroadcast
from aimv2_np.gradients.slices import in_slices
from aimv2_np.gradients.variable import Variable, computed, value_of
from aimv2_np.network.rms_norm import rms_norm
from aimv2_np.shapes import Array, Float


@rms_norm.register(Variable)
def rms_norm_with_derivative(x: Any, weight: Any, eps: float) -> Variable:
    """`rms_norm` of variables. See docs/equations.md, (23)."""
    rows, gain = value_of(x), value_of(weight)

    return computed(rms_norm(rows, gain, eps), (x, weight), lambda g: backward(rows, gain, g, eps))


@operation
def backward(
    x: Float[Array, "*batch D"], gain: Float[Array, "*gain"], g: Float[Array, "*batch D"], eps: float
) -> tuple[Float[Array, "*batch D"], Float[Array, "*gain"]]:
    """∂L/∂x and ∂L/∂gain, (D,), from ∂L/∂y, `g`. See docs/equations.md, (23)."""
    xp, by_rows = namespace(x), namespace(g).empty(g.shape, g.dtype)

    def some(part: slice) -> Array:
        wide, above = widen(x[part]), g[part]
        r = 1 / xp.sqrt(xp.mean(wide * wide, axis=-1, keepdims=True) + eps)
        u = above * widen(gain)
        along = xp.mean(u * wide, axis=-1, keepdims=True)
        by_rows[part] = r * u - r**3 * along * wide
        return unbroadcast(above * r * wide, gain.shape)

    return by_rows, sum(in_slices(g, some), xp.zeros(gain.shape, g.dtype))
