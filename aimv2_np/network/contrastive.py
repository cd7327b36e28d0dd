"""Comparing images with texts: cosines, scaled by a learned temperature, and the loss that trains them.

    e = f / ‖f‖₂,    logits = exp(clip(s, 0, ln s_max)) · e_text e_imageᵀ
    loss = ½ · (mean_i -ln softmax(logits)_ii + mean_i -ln softmax(logitsᵀ)_ii)

Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision" (arXiv:2103.00020), fig. 3.
"""

from math import log

from aimv2_np.backends.arrays import namespace, widen
from aimv2_np.network.cross_entropy import cross_entropy
from aimv2_np.network.linear import linear
from aimv2_np.shapes import Array, Float


def l2_normalize(features: Float[Array, "*batch E"]) -> Float[Array, "*batch E"]:
    """Rows scaled to length one; a row of zeros, which has no direction, stays zero.

    Dividing by the largest element first keeps the squares of any numbers from overflowing or vanishing.
    See docs/equations.md, (18).
    """
    xp = namespace(features)
    wide = widen(features)
    largest = abs(wide).max(axis=-1, keepdims=True)  # (..., 1)
    wide = wide / xp.where(largest == 0, 1, largest)
    length = xp.sqrt((wide * wide).sum(axis=-1, keepdims=True))  # (..., 1), at least 1 unless all are zero
    return (wide / xp.maximum(length, 1)).astype(features.dtype, copy=False)


def contrastive_logits(
    text_embeds: Float[Array, "L E"],
    image_embeds: Float[Array, "B E"],
    logit_scale: Float[Array, ""],
    max_logit_scale: float,
) -> Float[Array, "L B"]:
    """`logits_per_text`: scaled cosines of each text (rows) with each image (columns).

    See docs/equations.md, (19).
    """
    xp = namespace(text_embeds)
    scale = xp.exp(xp.clip(widen(logit_scale), 0.0, log(max_logit_scale)))
    return linear(scale * widen(text_embeds), widen(image_embeds)).astype(text_embeds.dtype, copy=False)


def contrastive_loss(logits_per_text: Float[Array, "B B"]) -> Float[Array, ""]:
    """The mean of the two cross-entropies against the diagonal, where text i belongs to image i.

    See docs/equations.md, (20).
    """
    loss = 0.5 * (one_way_loss(logits_per_text) + one_way_loss(logits_per_text.T))
    return namespace(logits_per_text).asarray(loss, dtype=logits_per_text.dtype)


def one_way_loss(logits: Float[Array, "B B"]) -> Float[Array, ""]:
    """The mean cross-entropy of the rows, of which the i-th belongs to the i-th column."""
    return cross_entropy(logits, namespace(logits).arange(len(logits))).mean()
