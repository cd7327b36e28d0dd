"""AdamW: each weight goes by its mean gradient over the root of its mean squared gradient, and shrinks a little.

    m ← β₁ m + (1 - β₁) g        v ← β₂ v + (1 - β₂) g²
    p ← (1 - decay) p - rate · m / (1 - β₁ᵗ) / (√(v / (1 - β₂ᵗ)) + ε)

Kingma & Ba 2014 (arXiv:1412.6980), algorithm 1; the decay apart from the gradient: Loshchilov & Hutter 2017
(arXiv:1711.05101), algorithm 2. As that was written, and as AIMv2 was trained, decay = λ · rate / peak, so that how
fast weights are forgotten does not depend on the peak of the rate; PyTorch's is λ · rate.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np

from aimv2_np.backends.arrays import namespace
from aimv2_np.errors import mismatch
from aimv2_np.shapes import Array

# A norm that is clipped is divided by this much more, as PyTorch does.
SLACK = 1e-6
# What is not multiplied with the numbers of a picture or a text, but added to them or scales them.
UNDECAYED = ("bias", "cls_token", "logit_scale")


@dataclass(frozen=True)
class AdamW:
    """The optimizer's settings; the defaults are those of AIMv2's pre-training. See docs/equations.md, (38).

    Attributes:
        betas: how much of the mean gradient, and of the mean squared gradient, is kept.
        eps: ε.
        weight_decay: λ; of the weights for which `decays` is true.
        fully_decoupled: decay by λ · rate / peak, else by λ · rate.
    """

    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 1e-4
    fully_decoupled: bool = True

    def __post_init__(self) -> None:
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError("betas " + mismatch(self.betas, "two shares from 0 to below 1"))
        if not 0 < self.eps < inf:
            raise ValueError("eps " + mismatch(self.eps, "a number above 0"))
        if not 0 <= self.weight_decay < inf:
            raise ValueError("weight_decay " + mismatch(self.weight_decay, "a number of at least 0"))

    def update(
        self,
        weights: Mapping[str, Array],
        gradients: Mapping[str, Array],
        first: Mapping[str, Array],
        second: Mapping[str, Array],
        step: int,
        rate: float,
        peak: float,
    ) -> None:
        """Change the weights, and their means of gradients and of squared gradients, in place.

        Args:
            weights, gradients, first, second: arrays by the same paths; both means are zeros before the first step.
            step: t, 1 for the first.
            rate, peak: the learning rate, and the highest that it has in this training.
        """
        one, two = self.betas
        decay = self.weight_decay * (rate / peak if self.fully_decoupled else rate)
        pace, spread = rate / (1 - one**step), sqrt(1 - two**step)
        for path, p in weights.items():
            g, m, v = gradients[path], first[path], second[path]
            m += (1 - one) * (g - m)
            v *= two
            v += (1 - two) * (g * g)
            if decays(path):
                p *= 1 - decay
            p -= pace * (m / (namespace(v).sqrt(v) / spread + self.eps))


def decays(path: str) -> bool:
    """Whether a weight shrinks: matrices and the token table do, biases, norms, positions and single numbers do not."""
    name = path.rpartition(".")[2]
    return name not in UNDECAYED and "norm" not in path and "position_embedding" not in path


def gradient_norm(gradients: Iterable[Array]) -> float:
    """The length of all gradients as one vector, summed in float64."""
    squares = [namespace(g).sum(g * g, dtype=np.float64) for g in gradients]
    return sqrt(sum(namespace(squares[0]).stack(squares).tolist())) if squares else 0.0  # which waits for a GPU once


def clip(gradients: Mapping[str, Array], norm: float, limit: float) -> dict[str, Array]:
    """The gradients, of length `norm`, scaled to length `limit` where that is less. See docs/equations.md, (39)."""
    factor = limit / (norm + SLACK)
    return dict(gradients) if factor >= 1 else {path: g * g.dtype.type(factor) for path, g in gradients.items()}
