"""Attention pooling: one learned query looks at all tokens and returns one vector per image.

    y = W_out · concat_h(softmax(q_h K_hᵀ / √d) V_h) + b,    K = W_k X,  V = W_v X

The query q is the learned `cls_token` itself, split into heads; it has no projection. The idea is the class-attention
of Touvron et al. 2021 (arXiv:2103.17239), section 2; AIMv2 keeps a single layer of it on top of the trunk.
"""

from dataclasses import dataclass

from aimv2_np.backends.arrays import namespace
from aimv2_np.network.attention import attention, merge_heads, split_heads
from aimv2_np.network.linear import Linear
from aimv2_np.network.view import EVERYONE, View
from aimv2_np.shapes import Array, Float
from aimv2_np.tree.module import Module
from aimv2_np.tree.recorder import observe


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

    def forward(self, x: Float[Array, "_ N D"], view: View = EVERYONE) -> Float[Array, "B D"]:
        return self.output_proj(self.gather(x, view))

    def gather(self, x: Float[Array, "_ N D"], view: View = EVERYONE) -> Float[Array, "B D"]:
        """What the class token collects from the tokens of each image, before the output projection."""
        query = namespace(self.cls_token).broadcast_to(self.cls_token, (x.shape[0], view.sequences, x.shape[2]))
        q, k, v = (split_heads(y, self.heads) for y in (query, self.k_proj(x), self.v_proj(x)))
        for name, value in (("q", q), ("k", k), ("v", v)):
            observe(name, value)
        gathered = attention(q, k, v, q.shape[-1] ** -0.5, view.pooled())  # (rows, H, images in a row, d)
        return merge_heads(gathered).reshape(-1, x.shape[2])
