"""Cross-entropy: how surprised a prediction is by what was true.

    l = ln Σ_j e^z_j - z_true = -ln softmax(z)_true

Of logits z for each of V classes. The contrastive loss is the mean of it over pictures and over texts, the text loss of
pre-training over tokens.
"""

from aimv2_np.backends.arrays import namespace, widen
from aimv2_np.backends.operation import operation
from aimv2_np.shapes import Array, Float, Int


@operation
def cross_entropy(logits: Float[Array, "*batch V"], true: Int[Array, "*batch"]) -> Float[Array, "*batch"]:
    """-ln softmax(logits) at the true class of each row; half precision is computed in float32, and so is the result.

    See docs/equations.md, (30).
    """
    xp = namespace(logits)
    wide = widen(logits)
    shifted = wide - wide.max(axis=-1, keepdims=True)
    at_true = xp.take_along_axis(shifted, true[..., None], axis=-1)[..., 0]
    return xp.log(xp.exp(shifted).sum(axis=-1)) - at_true
