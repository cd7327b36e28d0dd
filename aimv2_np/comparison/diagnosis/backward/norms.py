"""Mistakes in the derivative of RMSNorm.

y = g ⊙ r x,    ∂L/∂x = r u - r³ x mean_j(u_j x_j),    u = g ⊙ ∂L/∂y,    ∂L/∂g = Σ r x ⊙ ∂L/∂y
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from aimv2_np.comparison.diagnosis.backward.tools import (
    ConstantSums,
    derived_from,
    forward_of,
    mixed,
    plain,
)
from aimv2_np.comparison.diagnosis.fault import Table, computing
from aimv2_np.gradients.variable import value_of
from aimv2_np.network.rms_norm import RMSNorm, rms_norm
from aimv2_np.shapes import Array


def _constant_root(m: Any, x: Any) -> Any:
    """The norm whose root mean square is a constant: its derivative is the first term alone."""
    return plain(rms_norm(ConstantSums.of(x), m.weight, m.eps))


def _of_terms(first: float, both: Callable[[int], float]) -> Any:
    """So many times the first term, and so many times both, by the number of channels."""
    return computing(
        lambda m, x: mixed(
            forward_of(m, x), [(first - both(x.shape[-1]), _constant_root(m, x)), (both(x.shape[-1]), forward_of(m, x))]
        )
    )


def _gain_by(factor: Callable[[Any, Array], Array]) -> Any:
    """∂L/∂g = Σ factor ⊙ ∂L/∂y, the derivative by x being right."""

    def forward(m: Any, x: Any) -> Any:
        y = rms_norm(x, value_of(m.weight), m.eps)
        return derived_from(y, y, m.weight * factor(m, value_of(x)))

    return computing(forward)


FAULTS: Table = {
    ("norm_term_missing", RMSNorm): {
        "{path} takes its root mean square for a constant: its derivative has no second term": computing(
            _constant_root
        ),
    },
    ("norm_term_wrong", RMSNorm): {
        "{path} takes a sum for the mean in the second term of its derivative": _of_terms(1, lambda size: size),
        "{path} adds the second term of its derivative; it is subtracted": _of_terms(1, lambda size: -1),
        "{path} has the second term of its derivative twice": _of_terms(1, lambda size: 2),
        "{path} has half of the second term of its derivative": _of_terms(1, lambda size: 0.5),
    },
    ("gain_without_x", RMSNorm): {
        "the gain of {path} has the gradient Σ x ⊙ ∂L/∂y, of x as it is; it is of the normalised x": _gain_by(
            lambda m, x: x
        ),
        "the gain of {path} has the gradient Σ ∂L/∂y; it is Σ x̂ ⊙ ∂L/∂y, of the normalised x": _gain_by(
            lambda m, x: np.ones_like(x)
        ),
        "the gain of {path} has the gradient Σ y ⊙ ∂L/∂y, of the output; it is of the normalised x": _gain_by(
            lambda m, x: value_of(rms_norm(x, value_of(m.weight), m.eps))
        ),
    },
    ("gain_forgotten", RMSNorm): {
        "{path} gives ∂L/∂x without its gain": computing(
            lambda m, x: derived_from(
                forward_of(m, x),
                rms_norm(x, np.ones_like(value_of(m.weight)), m.eps),
                rms_norm(value_of(x), m.weight, m.eps),
            )
        ),
    },
}
