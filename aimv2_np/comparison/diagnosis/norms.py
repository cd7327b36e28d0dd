"""Mistakes in RMSNorm."""

from typing import Any

import numpy as np

from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.fault import Fault, Variants, with_fields, with_forward
from aimv2_np.network.rms_norm import RMSNorm, rms_norm
from aimv2_np.shapes import Array

EPSILONS = (0.0, 1e-12, 1e-10, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)


def mean_centred(norm: Any, path: str, _: Context) -> Variants:
    """LayerNorm: the mean is subtracted first."""
    yield (
        f"{path} subtracts the mean of each token, as LayerNorm does; RMSNorm does not",
        with_forward(norm, lambda m, x: rms_norm(x - x.mean(axis=-1, keepdims=True), m.weight, m.eps)),
    )


def wrong_eps(norm: Any, path: str, context: Context) -> Variants:
    """Another ε, or ε outside the root."""
    for eps in EPSILONS:
        if not np.isclose(eps, norm.eps, rtol=1e-3, atol=0):
            yield f"{path} uses an epsilon of {eps:g}; the model's is {norm.eps:g}", with_fields(norm, eps=eps)
    yield (
        f"{path} adds epsilon to the root and not below it",
        with_forward(norm, lambda m, x: m.weight * x / (np.sqrt(np.mean(x * x, axis=-1, keepdims=True)) + m.eps)),
    )

    theirs = context.theirs(path)
    if theirs is not None:
        yield (
            f"{path} uses another epsilon than the model's, {norm.eps:g}",
            with_forward(norm, lambda m, x: rms_norm(x, m.weight, fitted_eps(x, m.weight, theirs))),
        )


def fitted_eps(x: Array, weight: Array, y: Array) -> float:
    """The ε that makes RMSNorm of `x` (B, N, D) most like `y`: the median of what each token says; 0 if none does."""
    scaled = weight * x  # y = scaled / √(mean x² + ε)
    if y.shape != x.shape:
        return 0.0
    root = (scaled * scaled).sum(axis=-1) / (scaled * y).sum(axis=-1)
    eps = float(np.median(root * root - (x * x).mean(axis=-1)))
    return max(eps, 0.0) if np.isfinite(eps) else 0.0


def wrong_gain(norm: Any, path: str, _: Context) -> Variants:
    """The gain left out, or stored as its distance from one."""
    ones = np.ones_like(norm.weight)
    yield f"{path} leaves out its gain, `weight`", with_fields(norm, weight=ones)
    yield f"{path} multiplies by 1 + weight; the gain is the weight itself", with_fields(norm, weight=1 + norm.weight)


FAULTS = (
    Fault("mean_centred_norm", RMSNorm, mean_centred),
    Fault("wrong_eps", RMSNorm, wrong_eps),
    Fault("wrong_norm_gain", RMSNorm, wrong_gain),
)
