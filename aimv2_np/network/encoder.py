"""The trunk of both towers: pre-norm layers, each adding to the residual stream what attention and the MLP compute.

    x ← x + attention(rms_norm1(x))
    x ← x + ffn(rms_norm2(x))

Pre-norm residual layers: Xiong et al. 2020 (arXiv:2002.04745), fig. 1b.
"""

from dataclasses import dataclass

from aimv2_np.backends.operation import composite
from aimv2_np.network.attention import Attention
from aimv2_np.network.rms_norm import RMSNorm
from aimv2_np.network.swiglu import SwiGLU
from aimv2_np.network.view import EVERYONE, View
from aimv2_np.shapes import Array, Float
from aimv2_np.tree.module import Module


@dataclass(repr=False, eq=False)
class EncoderLayer(Module):
    """One layer: attention and MLP, each behind its norm. See docs/equations.md, (7)."""

    rms_norm1: RMSNorm
    attention: Attention
    rms_norm2: RMSNorm
    ffn: SwiGLU

    def forward(self, x: Float[Array, "B N D"], view: View = EVERYONE) -> Float[Array, "B N D"]:
        x = x + self.attention(self.rms_norm1(x), view)
        return x + self.ffn(self.rms_norm2(x))


@composite
def run_layers(x: Float[Array, "B N D"], layers: list[EncoderLayer], view: View = EVERYONE) -> Float[Array, "B N D"]:
    """One layer after the other. See docs/equations.md, (7)."""
    for layer in layers:
        x = layer(x, view)
    return x


@dataclass(repr=False, eq=False)
class Encoder(Module):
    """All layers."""

    layers: list[EncoderLayer]

    def forward(self, x: Float[Array, "B N D"], view: View = EVERYONE) -> Float[Array, "B N D"]:
        return run_layers(x, self.layers, view)
