"""An attentive probe: what a frozen trunk's tokens say of a picture's class, by one query and a linear map.

    x̂ = (x - μ) / √(σ² + ε)                    each number of all tokens
    p_h = softmax_n(q_h · W_k,h x̂_n / √d)       one learned query per head
    z = W concat_h(Σ_n p_hn W_v,h x̂_n)

The head that Apple published with AIMv1 (apple/ml-aim, aim-v1/aim/v1/torch/layers.py): no projection of the query
or of the output, no biases, batch normalisation without gains; the paths are its names. As there is one query, no key
and no value has to be computed: q_h · W_k,h x̂ = (W_k,hᵀ q_h) · x̂, and tokens are summed before W_v,h.
"""

from dataclasses import dataclass

from aimv2_np.backends.arrays import namespace
from aimv2_np.network.attention import softmax
from aimv2_np.network.linear import Linear, linear
from aimv2_np.shapes import Array, Bool, Float
from aimv2_np.tree.module import Module


def batch_norm(
    x: Float[Array, "*batch D"], mean: Float[Array, "D"], variance: Float[Array, "D"], eps: float
) -> Float[Array, "*batch D"]:
    """Each of D numbers with the mean 0 and the variance 1. See docs/equations.md, (41)."""
    return (x - mean) / namespace(x).sqrt(variance + eps)


def gather(
    x: Float[Array, "B N D"], directions: Float[Array, "_ D"], keys: Bool[Array, "B N"] | None = None
) -> Float[Array, "B _ D"]:
    """For each of Q directions the mean of a picture's tokens, weighted by a softmax over x · direction.

    `keys` is where tokens are, and no padding. See docs/equations.md, (42).
    """
    xp = namespace(directions)
    scores = linear(x, directions).swapaxes(1, 2)  # (B, Q, N)
    if keys is not None:
        scores = xp.where(keys[:, None], scores, xp.finfo(scores.dtype).min)
    return softmax(scores) @ x


@dataclass(repr=False, eq=False)
class BatchNorm(Module):
    """The mean and the variance of what was trained on, both (D,)."""

    running_mean: Float[Array, "D"]
    running_var: Float[Array, "D"]
    eps: float

    def forward(self, x: Float[Array, "*batch D"]) -> Float[Array, "*batch D"]:
        return batch_norm(x, self.running_mean, self.running_var, self.eps)


@dataclass(repr=False, eq=False)
class AttentiveProbe(Module):
    """The probe: (B, N, D) tokens → (B, C) logits. See docs/equations.md, (43)."""

    bn: BatchNorm
    k: Linear
    v: Linear
    cls_token: Float[Array, "1 1 D"]
    linear: Linear
    heads: int

    def forward(self, x: Float[Array, "B N D"], keys: Bool[Array, "B N"] | None = None) -> Float[Array, "B classes"]:
        return self.classify(gather(self.bn(x), self.directions(), keys))

    def directions(self) -> Float[Array, "H D"]:
        """W_k,hᵀ q_h / √d of each head."""
        size = self.cls_token.shape[-1]
        query = self.cls_token.reshape(self.heads, 1, -1)  # (H, 1, d)
        keys = self.k.weight.reshape(self.heads, -1, size)  # (H, d, D)
        return (query @ keys).reshape(self.heads, size) * (size // self.heads) ** -0.5

    def classify(self, gathered: Float[Array, "B H D"]) -> Float[Array, "B classes"]:
        """Logits of what each head has gathered of the tokens."""
        batch, heads, size = gathered.shape
        values = self.v.weight.reshape(heads, -1, size).swapaxes(1, 2)  # (H, D, d)
        pooled = gathered.swapaxes(0, 1) @ values  # (H, B, d)
        return self.linear(pooled.swapaxes(0, 1).reshape(batch, size))
