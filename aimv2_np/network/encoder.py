"""The trunk of both towers: pre-norm blocks, each adding to the residual stream what attention and the MLP compute.

    x ← x + attention(rms_norm1(x))
    x ← x + ffn(rms_norm2(x))

Pre-norm residual blocks: Xiong et al. 2020 (arXiv:2002.04745), fig. 1b.
"""

from dataclasses import dataclass

from aimv2_np.backends.arrays import namespace
from aimv2_np.backends.operation import operation
from aimv2_np.config import Aimv2TextConfig, Aimv2VisionConfig
from aimv2_np.network.attention import Attention
from aimv2_np.network.rms_norm import RMSNorm
from aimv2_np.network.swiglu import SwiGLU
from aimv2_np.shapes import Array, Bool, Float, Int
from aimv2_np.tree.module import Module


@dataclass(repr=False, eq=False)
class EncoderLayer(Module):
    """One block: attention and MLP, each behind its norm. See docs/equations.md, (7)."""

    rms_norm1: RMSNorm
    attention: Attention
    rms_norm2: RMSNorm
    ffn: SwiGLU

    @classmethod
    def skeleton(cls, config: Aimv2VisionConfig | Aimv2TextConfig) -> "EncoderLayer":
        """Places for the arrays of one block of the tower that `config` describes."""
        size, std = config.hidden_size, config.initializer_range
        return cls(
            rms_norm1=RMSNorm.skeleton(size, config.rms_norm_eps),
            attention=Attention.skeleton(size, config.num_attention_heads, bias=config.qkv_bias, std=std),
            rms_norm2=RMSNorm.skeleton(size, config.rms_norm_eps),
            ffn=SwiGLU.skeleton(
                size, config.intermediate_size, bias=config.mlp_bias, hidden_act=config.hidden_act, std=std
            ),
        )

    def forward(
        self,
        x: Float[Array, "B N D"],
        mask: Bool[Array, "#B 1 #N N"] | None = None,
        lengths: tuple[int, ...] | None = None,
    ) -> Float[Array, "B N D"]:
        x = x + self.attention(self.rms_norm1(x), mask, lengths)
        return x + self.ffn(self.rms_norm2(x))

    def at(
        self, x: Float[Array, "B N D"], positions: Int[Array, "B"], mask: Bool[Array, "#B 1 #N N"] | None = None
    ) -> Float[Array, "B D"]:
        """What `forward` computes at one position of each sequence; the other tokens are keys and values only."""
        xp, (batch, tokens, _) = namespace(x), x.shape
        rows = xp.arange(batch)
        if mask is not None:
            mask = xp.broadcast_to(mask, (batch, 1, mask.shape[2], tokens))
            mask = mask[rows, :, positions if mask.shape[2] > 1 else 0][:, :, None]  # (B, 1, 1, N)
        h = self.rms_norm1(x)
        x = x[rows, positions][:, None] + self.attention.between(h[rows, positions][:, None], h, mask)  # (B, 1, D)
        return (x + self.ffn(self.rms_norm2(x)))[:, 0]


@operation
def run_layers(
    x: Float[Array, "B N D"],
    layers: list[EncoderLayer],
    mask: Bool[Array, "#B 1 #N N"] | None = None,
    lengths: tuple[int, ...] | None = None,
) -> Float[Array, "B N D"]:
    """One block after the other. `lengths`: of the pictures of a pack (1, T, D). See docs/equations.md, (7)."""
    for layer in layers:
        x = layer(x, mask, lengths)
    return x


@dataclass(repr=False, eq=False)
class Encoder(Module):
    """The blocks, one after the other."""

    layers: list[EncoderLayer]

    @classmethod
    def skeleton(cls, config: Aimv2VisionConfig | Aimv2TextConfig) -> "Encoder":
        """Places for the arrays of all blocks of the tower that `config` describes."""
        return cls([EncoderLayer.skeleton(config) for _ in range(config.num_hidden_layers)])

    def forward(
        self,
        x: Float[Array, "B N D"],
        mask: Bool[Array, "#B 1 #N N"] | None = None,
        lengths: tuple[int, ...] | None = None,
    ) -> Float[Array, "B N D"]:
        return run_layers(x, self.layers, mask, lengths)
