"""Multi-head scaled dot-product attention.

    attention(Q, K, V) = softmax(Q Kᵀ / √d) V        per head; Q: (N, d), K, V: (M, d)

Vaswani et al. 2017, "Attention Is All You Need" (arXiv:1706.03762), eq. 1 and section 3.2.2. AIMv2 adds no positions
here (no RoPE), and no mask in the vision tower; the text tower is causal.
"""

from dataclasses import dataclass
from typing import ClassVar

from aimv2_np.arrays import namespace, widen
from aimv2_np.layers.linear import Linear
from aimv2_np.module import Module
from aimv2_np.operation import operation
from aimv2_np.shapes import Array, Bool, Float
from aimv2_np.tracing import record


def softmax(x: Float[Array, "*batch M"]) -> Float[Array, "*batch M"]:
    """e^x_i / Σ_j e^x_j over the last axis. Subtracting the row's maximum changes nothing but keeps e^x finite."""
    xp = namespace(x)
    e = xp.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@operation
def attention(
    q: Float[Array, "B H N d"],
    k: Float[Array, "B H M d"],
    v: Float[Array, "B H M d"],
    scale: float,
    mask: Bool[Array, "#B 1 #N M"] | None = None,
) -> Float[Array, "B H N d"]:
    """softmax(scale · q kᵀ) v per head, in the dtype of `q`; half precision is computed in float32.

    Where `mask` is False the query may not look at the key. A query that may look at no key at all (padding) gets the
    mean of all values: finite, and of no meaning.
    """
    scores = scale * (widen(q) @ widen(k).swapaxes(-1, -2))  # (B, H, N, d) @ (B, H, d, M) -> (B, H, N, M)
    record("scores", scores)
    if mask is not None:
        xp = namespace(q)
        scores = xp.where(mask, scores, xp.finfo(scores.dtype).min)
    probs = softmax(scores)
    record("probs", probs)
    return (probs @ widen(v)).astype(q.dtype, copy=False)


def split_heads(x: Float[Array, "B N D"], heads: int) -> Float[Array, "B H N d"]:
    """(B, N, H·d) -> (B, H, N, d)"""
    batch, tokens, size = x.shape
    return x.reshape(batch, tokens, heads, size // heads).swapaxes(1, 2)


def merge_heads(x: Float[Array, "B H N d"]) -> Float[Array, "B N D"]:
    """(B, H, N, d) -> (B, N, H·d)"""
    batch, heads, tokens, size = x.shape
    return x.swapaxes(1, 2).reshape(batch, tokens, heads * size)


@dataclass(repr=False, eq=False)
class Attention(Module):
    """Self-attention with its four projections."""

    q_proj: Linear
    k_proj: Linear
    v_proj: Linear
    out_proj: Linear
    heads: int

    stacked: ClassVar = (
        ("q_proj.weight", "k_proj.weight", "v_proj.weight"),
        ("q_proj.bias", "k_proj.bias", "v_proj.bias"),
    )

    @classmethod
    def skeleton(cls, size: int, heads: int, *, bias: bool, std: float) -> "Attention":
        """Places for the arrays of four (D → D) projections."""
        q_proj, k_proj, v_proj, out_proj = (Linear.skeleton(size, size, bias=bias, std=std) for _ in range(4))
        return cls(q_proj, k_proj, v_proj, out_proj, heads)

    def forward(self, x: Float[Array, "B N D"], mask: Bool[Array, "#B 1 #N M"] | None = None) -> Float[Array, "B N D"]:
        q, k, v = (split_heads(project(x), self.heads) for project in (self.q_proj, self.k_proj, self.v_proj))
        for name, value in (("q", q), ("k", k), ("v", v)):
            record(name, value)
        return self.out_proj(merge_heads(attention(q, k, v, q.shape[-1] ** -0.5, mask)))
