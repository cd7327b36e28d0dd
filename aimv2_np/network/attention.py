"""Multi-head scaled dot-product attention.

    attention(Q, K, V) = softmax(Q Kᵀ / √d) V        per head; Q: (N, d), K, V: (M, d)

Vaswani et al. 2017, "Attention Is All You Need" (arXiv:1706.03762), eq. 1 and section 3.2.2. AIMv2 adds no positions
here (no RoPE). Which query may look at which key is a `View`: everyone in the image tower, earlier ones in the text
tower.
"""

from dataclasses import dataclass

from aimv2_np.backends.arrays import namespace, widen
from aimv2_np.backends.operation import operation
from aimv2_np.network.linear import Linear
from aimv2_np.network.view import EVERYONE, Packed, View
from aimv2_np.shapes import Array, Float
from aimv2_np.tree.module import Module
from aimv2_np.tree.recorder import numbered, observe


def softmax(x: Float[Array, "*batch M"]) -> Float[Array, "*batch M"]:
    """e^x_i / Σ_j e^x_j over the last axis. Subtracting the row's maximum changes nothing but keeps e^x finite.

    See docs/equations.md, (8).
    """
    xp = namespace(x)
    e = xp.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@operation
def attention(
    q: Float[Array, "B H N d"],
    k: Float[Array, "B H M d"],
    v: Float[Array, "B H M d"],
    scale: float,
    view: View = EVERYONE,
) -> Float[Array, "B H N d"]:
    """softmax(scale · q kᵀ) v per head, in the dtype of `q`; half precision is computed in float32.

    A query that may look at no key at all (padding) gets the mean of all values: finite, and of no meaning.
    See docs/equations.md, (9).
    """
    xp = namespace(q)
    if isinstance(view, Packed):  # one sequence after the other: never scores of all tokens with all
        outputs = []
        for i, (n, m) in enumerate(view.slices()):
            with numbered(i):
                outputs.append(attention.textbook(q[:, :, n], k[:, :, m], v[:, :, m], scale, EVERYONE))
        return xp.concatenate(outputs, axis=2)
    scores = scale * (widen(q) @ widen(k).swapaxes(-1, -2))  # (B, H, N, d) @ (B, H, d, M) -> (B, H, N, M)
    observe("scores", scores)
    allowed = view.allowed(xp, q.shape[2], k.shape[2])
    if allowed is not None:
        scores = xp.where(allowed, scores, xp.finfo(scores.dtype).min)
    probs = softmax(scores)
    observe("probs", probs)
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
    """Self-attention with its four projections. See docs/equations.md, (10)."""

    q_proj: Linear
    k_proj: Linear
    v_proj: Linear
    out_proj: Linear
    heads: int

    def forward(self, x: Float[Array, "B N D"], view: View = EVERYONE) -> Float[Array, "B N D"]:
        q, k, v = (split_heads(project(x), self.heads) for project in (self.q_proj, self.k_proj, self.v_proj))
        for name, value in (("q", q), ("k", k), ("v", v)):
            observe(name, value)
        return self.out_proj(merge_heads(attention(q, k, v, q.shape[-1] ** -0.5, view)))
