"""RMSNorm: scale each token to unit root mean square, then by a learned gain.

    y_i = g_i · x_i / sqrt(mean_j x_j² + ε)

Zhang & Sennrich 2019, "Root Mean Square Layer Normalization" (arXiv:1910.07467), eq. 4. AIMv2 uses it right after the
patch embedding, before attention, before the MLP, and at the end of each tower.
"""

from dataclasses import dataclass

from aimv2_np.backends.arrays import namespace, widen
from aimv2_np.backends.operation import operation
from aimv2_np.shapes import Array, Float
from aimv2_np.tree.module import Module


@operation
def rms_norm(x: Float[Array, "*batch D"], weight: Float[Array, "D"], eps: float) -> Float[Array, "*batch D"]:
    """The equation above over the last axis, in the dtype of `x`; that of half precision is computed in float32.

    Where the squares overflow, the result is NaN, and not the zeros that a division by infinity would give.
    See docs/equations.md, (3).
    """
    xp = namespace(x)
    wide = widen(x)
    mean = xp.mean(wide * wide, axis=-1, keepdims=True)  # (..., 1)
    normalised = wide / (xp.sqrt(mean + eps) + (mean - mean))  # 0, of infinity NaN
    return weight * normalised.astype(x.dtype, copy=False)


@dataclass(repr=False, eq=False)
class RMSNorm(Module):
    """RMSNorm with its gain `weight` (D,) and ε `eps`."""

    weight: Float[Array, "D"]
    eps: float

    def forward(self, x: Float[Array, "*batch D"]) -> Float[Array, "*batch D"]:
        return rms_norm(x, self.weight, self.eps)


@dataclass(repr=False, eq=False)
class Identity(Module):
    """No norm: what stands in the place of a tower's last norm where that is left out."""

    def forward(self, x: Float[Array, "*batch D"]) -> Float[Array, "*batch D"]:
        return x
