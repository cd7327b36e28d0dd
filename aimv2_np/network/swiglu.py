"""SwiGLU: a gated MLP. One projection opens or closes each of the intermediate features of another.

    y = W_down (act(W_gate x) ⊙ W_up x)        W_gate, W_up: (F, D), W_down: (D, F)

Shazeer 2020, "GLU Variants Improve Transformer" (arXiv:2002.05202), eq. 6, where act is SiLU ("Swish", β = 1).
"""

from dataclasses import dataclass

from aimv2_np.backends.arrays import widen
from aimv2_np.backends.operation import operation
from aimv2_np.network.activations import ACTIVATIONS
from aimv2_np.network.linear import Linear
from aimv2_np.shapes import Array, Float
from aimv2_np.tree.module import Module


@operation
def gated(gate: Float[Array, "*batch F"], up: Float[Array, "*batch F"], hidden_act: str) -> Float[Array, "*batch F"]:
    """`act(gate) * up`, element by element; half precision is computed in float32 and rounded once.

    See docs/equations.md, (11).
    """
    return (ACTIVATIONS[hidden_act](widen(gate)) * widen(up)).astype(gate.dtype, copy=False)


@dataclass(repr=False, eq=False)
class SwiGLU(Module):
    """The gated MLP with its three projections and the name of its activation. See docs/equations.md, (11)."""

    gate_proj: Linear
    up_proj: Linear
    down_proj: Linear
    hidden_act: str

    def forward(self, x: Float[Array, "*batch D"]) -> Float[Array, "*batch D"]:
        return self.down_proj(gated(self.gate_proj(x), self.up_proj(x), self.hidden_act))
