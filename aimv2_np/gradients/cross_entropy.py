"""The derivative of cross-entropy.

    l = ln Σ_j e^z_j - z_true        ∂L/∂z_j = (softmax(z)_j - [j is true]) ∂L/∂l

Each logit is pushed by the probability it was given, and the true one up by one.
"""

from typing import Any

from aimv2_np.backends.arrays import namespace, widen
from aimv2_np.gradients.variable import Variable, computed, value_of
from aimv2_np.network.attention import softmax
from aimv2_np.network.cross_entropy import cross_entropy
from aimv2_np.shapes import Array


@cross_entropy.register(Variable)
def cross_entropy_with_derivative(logits: Any, true: Any) -> Variable:
    """`cross_entropy` of variables. See docs/equations.md, (31)."""
    numbers = value_of(logits)

    def back(g: Array) -> list[Array]:
        xp, probs = namespace(numbers), softmax(widen(numbers))
        here = true[..., None]
        xp.put_along_axis(probs, here, xp.take_along_axis(probs, here, axis=-1) - 1, axis=-1)
        return [probs * g[..., None]]

    return computed(cross_entropy(numbers, true), (logits,), back)
