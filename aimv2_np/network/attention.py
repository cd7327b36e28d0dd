"""Multi-head scaled dot-product attention.

    attention(Q, K, V) = softmax(Q Kᵀ / √d) V        per head; Q: (N, d), K, V: (M, d)

Vaswani et al. 2017, "Attention Is All You Need" (arXiv:1706.03762), eq. 1 and section 3.2.2. AIMv2 adds no positions
here (no RoPE), and no mask in the vision tower; the text tower is causal. Pictures of different sizes are packed: their
tokens follow one another in one block of rows, and each picture attends to itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from aimv2_np.backends.arrays import namespace, widen
from aimv2_np.backends.operation import operation
from aimv2_np.network.linear import Linear
from aimv2_np.shapes import Array, Bool, Float
from aimv2_np.tree.module import Module
from aimv2_np.tree.tracing import numbered, record


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
    mask: Bool[Array, "#B 1 #N M"] | None = None,
) -> Float[Array, "B H N d"]:
    """softmax(scale · q kᵀ) v per head, in the dtype of `q`; half precision is computed in float32.

    Where `mask` is False the query may not look at the key. A query that may look at no key at all (padding) gets the
    mean of all values: finite, and of no meaning. See docs/equations.md, (9).
    """
    scores = scale * (widen(q) @ widen(k).swapaxes(-1, -2))  # (B, H, N, d) @ (B, H, d, M) -> (B, H, N, M)
    record("scores", scores)
    if mask is not None:
        xp = namespace(q)
        scores = xp.where(mask, scores, xp.finfo(scores.dtype).min)
    probs = softmax(scores)
    record("probs", probs)
    return (probs @ widen(v)).astype(q.dtype, copy=False)


@operation
def packed_attention(
    q: Float[Array, "1 H T d"],
    k: Float[Array, "1 H T d"],
    v: Float[Array, "1 H T d"],
    scale: float,
    lengths: tuple[int, ...],
) -> Float[Array, "1 H T d"]:
    """`attention` within each picture of a pack, of which the first has `lengths[0]` tokens; T is their sum.

    See docs/equations.md, (9).
    """
    outputs = []
    for i, run in enumerate(runs(lengths)):
        with numbered(i):
            outputs.append(attention(q[:, :, run], k[:, :, run], v[:, :, run], scale))
    return namespace(q).concatenate(outputs, axis=2)


def runs(lengths: tuple[int, ...]) -> Iterator[slice]:
    """The rows of each picture of a pack."""
    start = 0
    for length in lengths:
        yield slice(start, start + length)
        start += length


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

    stacked: ClassVar = (
        ("q_proj.weight", "k_proj.weight", "v_proj.weight"),
        ("q_proj.bias", "k_proj.bias", "v_proj.bias"),
    )

    @classmethod
    def skeleton(cls, size: int, heads: int, *, bias: bool, std: float) -> "Attention":
        """Places for the arrays of four (D → D) projections."""
        q_proj, k_proj, v_proj, out_proj = (Linear.skeleton(size, size, bias=bias, std=std) for _ in range(4))
        return cls(q_proj, k_proj, v_proj, out_proj, heads)

    def forward(
        self,
        x: Float[Array, "B N D"],
        mask: Bool[Array, "#B 1 #N N"] | None = None,
        lengths: tuple[int, ...] | None = None,
    ) -> Float[Array, "B N D"]:
        """`lengths` makes `x` (1, T, D) a pack: so many tokens of each picture, which has no mask."""
        return self.between(x, x, mask, lengths)

    def between(
        self,
        queries: Float[Array, "B N D"],
        x: Float[Array, "B M D"],
        mask: Bool[Array, "#B 1 #N M"] | None = None,
        lengths: tuple[int, ...] | None = None,
    ) -> Float[Array, "B N D"]:
        """What the tokens `queries` see in the tokens `x`."""
        projected = self.q_proj(queries), self.k_proj(x), self.v_proj(x)
        q, k, v = (split_heads(y, self.heads) for y in projected)
        for name, value in (("q", q), ("k", k), ("v", v)):
            record(name, value)
        scale = q.shape[-1] ** -0.5
        heads = attention(q, k, v, scale, mask) if lengths is None else packed_attention(q, k, v, scale, lengths)
        return self.out_proj(merge_heads(heads))
