"""Attention pooling: one learned query looks at all tokens and returns one vector per picture.

    y = W_out · concat_h(softmax(q_h K_hᵀ / √d) V_h) + b,    K = W_k X,  V = W_v X

The query q is the learned `cls_token` itself, split into heads; it has no projection. The idea is the class-attention
of Touvron et al. 2021 (arXiv:2103.17239), section 2; AIMv2 keeps a single layer of it on top of the trunk.
"""

from dataclasses import dataclass

from aimv2_np.backends.arrays import namespace
from aimv2_np.backends.operation import operation
from aimv2_np.config import Aimv2VisionConfig
from aimv2_np.network.attention import attention, merge_heads, runs, split_heads
from aimv2_np.network.linear import Linear
from aimv2_np.shapes import Array, Bool, Float
from aimv2_np.tree.module import Module, Parameter
from aimv2_np.tree.tracing import numbered, record


@operation
def pool_packed(
    q: Float[Array, "1 H 1 d"],
    k: Float[Array, "1 H T d"],
    v: Float[Array, "1 H T d"],
    scale: float,
    lengths: tuple[int, ...],
) -> Float[Array, "B H 1 d"]:
    """`attention` of the one query to the tokens of each picture of a pack, of which the first has `lengths[0]`.

    See docs/equations.md, (14).
    """
    outputs = []
    for i, run in enumerate(runs(lengths)):
        with numbered(i):
            outputs.append(attention(q, k[:, :, run], v[:, :, run], scale))
    return namespace(q).concatenate(outputs)


@dataclass(repr=False, eq=False)
class AttentionPoolingHead(Module):
    """The pooling head with its query `cls_token` (1, 1, D) and its three projections.

    See docs/equations.md, (14).
    """

    k_proj: Linear
    v_proj: Linear
    cls_token: Float[Array, "1 1 D"]
    output_proj: Linear
    heads: int

    @classmethod
    def skeleton(cls, config: Aimv2VisionConfig) -> "AttentionPoolingHead":
        """Places for the arrays; `output_proj` has a bias whatever `qkv_bias` says of the other two."""
        size, bias, std = config.hidden_size, config.qkv_bias, config.initializer_range
        return cls(
            k_proj=Linear.skeleton(size, size, bias=bias, std=std),
            v_proj=Linear.skeleton(size, size, bias=bias, std=std),
            cls_token=Parameter((1, 1, size), std=std),
            output_proj=Linear.skeleton(size, size, bias=True, std=std),
            heads=config.num_attention_heads,
        )

    def forward(
        self,
        x: Float[Array, "_ N D"],
        mask: Bool[Array, "#B 1 1 N"] | None = None,
        lengths: tuple[int, ...] | None = None,
    ) -> Float[Array, "B D"]:
        return self.output_proj(self.gather(x, mask, lengths))

    def gather(
        self,
        x: Float[Array, "_ N D"],
        mask: Bool[Array, "#B 1 1 N"] | None = None,
        lengths: tuple[int, ...] | None = None,
    ) -> Float[Array, "B D"]:
        """What the class token collects from the tokens, before the output projection.

        Where `mask` is False it does not look. `lengths` makes `x` (1, T, D) a pack: so many tokens of each of B
        pictures, from each of which it collects.
        """
        xp = namespace(x)
        query = xp.broadcast_to(self.cls_token, (x.shape[0], 1, x.shape[2]))
        q = split_heads(query, self.heads)  # (B, 1, D) -> (B, H, 1, d)
        k = split_heads(self.k_proj(x), self.heads)
        v = split_heads(self.v_proj(x), self.heads)
        for name, value in (("q", q), ("k", k), ("v", v)):
            record(name, value)
        scale = q.shape[-1] ** -0.5
        if lengths is None:
            return merge_heads(attention(q, k, v, scale, mask))[:, 0]  # (B, 1, D) -> (B, D)
        return merge_heads(pool_packed(q, k, v, scale, lengths))[:, 0]
