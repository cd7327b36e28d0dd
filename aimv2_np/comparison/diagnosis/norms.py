"""Mistakes in RMSNorm."""

from typing import Any

import numpy as np

from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.fault import Plant, Table, computing, holding, with_fields, with_forward
from aimv2_np.network.rms_norm import RMSNorm, rms_norm
from aimv2_np.shapes import Array
from aimv2_np.tree.module import Module

EPSILONS = (0.0, 1e-12, 1e-10, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)


def _epsilon(eps: float) -> Plant:
    return lambda norm, *_: None if np.isclose(eps, norm.eps, rtol=1e-3, atol=0) else with_fields(norm, eps=eps)


def _unknown_epsilon(norm: Any, path: str, context: Context) -> Module | None:
    """The ε that fits what the other side recorded best."""
    theirs = context.theirs(path)
    if theirs is None:
        return None
    return with_forward(norm, lambda m, x: rms_norm(x, m.weight, fitted_eps(x, m.weight, theirs)))


def fitted_eps(x: Array, weight: Array, y: Array) -> float:
    """The ε that makes RMSNorm of `x` (B, N, D) most like `y`: the median of what each token says; 0 if none does."""
    scaled = weight * x  # y = scaled / √(mean x² + ε)
    if y.shape != x.shape:
        return 0.0
    root = (scaled * scaled).sum(axis=-1) / (scaled * y).sum(axis=-1)
    eps = float(np.median(root * root - (x * x).mean(axis=-1)))
    return max(eps, 0.0) if np.isfinite(eps) else 0.0


FAULTS: Table = {
    ("mean_centred_norm", RMSNorm): {
        "{path} subtracts the mean of each token, as LayerNorm does; RMSNorm does not": computing(
            lambda m, x: rms_norm(x - x.mean(axis=-1, keepdims=True), m.weight, m.eps)
        ),
    },
    ("wrong_eps", RMSNorm): {
        **{f"{{path}} uses an epsilon of {eps:g}; the model's is {{m.eps:g}}": _epsilon(eps) for eps in EPSILONS},
        "{path} adds epsilon to the root and not below it": computing(
            lambda m, x: m.weight * x / (np.sqrt(np.mean(x * x, axis=-1, keepdims=True)) + m.eps)
        ),
        "{path} uses another epsilon than the model's, {m.eps:g}": _unknown_epsilon,
    },
    ("wrong_norm_gain", RMSNorm): {
        "{path} leaves out its gain, `weight`": holding(weight=lambda m: np.ones_like(m.weight)),
        "{path} multiplies by 1 + weight; the gain is the weight itself": holding(weight=lambda m: 1 + m.weight),
    },
}
