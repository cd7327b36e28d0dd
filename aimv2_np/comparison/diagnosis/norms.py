"""Mistakes in RMSNorm."""

from collections.abc import Callable
from typing import Any

import numpy as np

from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.fault import Plant, Table, computing, varying
from aimv2_np.network.rms_norm import RMSNorm
from aimv2_np.shapes import Array
from aimv2_np.tree.module import Module

EPSILONS = (0.0, 1e-12, 1e-10, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)


def norm(
    m: Any,
    x: Array,
    *,
    centred: bool = False,
    over: tuple[int, ...] = (-1,),
    summed: bool = False,
    outside: bool = False,
    eps: float | None = None,
    fitting: Array | None = None,
    gain: Callable[[Array], Array] = lambda weight: weight,
) -> Array:
    """RMSNorm as it is written, but for some steps.

    Args:
        centred: whether the mean is subtracted first.
        over: the axes of whose squares the mean is taken.
        summed: whether their sum stands for their mean.
        outside: whether ε is added to the root and not below it.
        eps: another ε than the module's.
        fitting: an output, in place of ε: that is the one that fits it best.
        gain: what becomes of the weight.
    """
    eps = m.eps if eps is None else eps
    if fitting is not None:
        eps = fitted_eps(x, m.weight, fitting)
    if centred:
        x = x - x.mean(axis=over, keepdims=True)
    square = (x * x).sum(axis=over, keepdims=True) if summed else (x * x).mean(axis=over, keepdims=True)
    return gain(m.weight) * (x / (np.sqrt(square) + eps if outside else np.sqrt(square + eps)))


def _epsilon(eps: float) -> Plant:
    return lambda m, *rest: None if np.isclose(eps, m.eps, rtol=1e-3, atol=0) else varying(norm, eps=eps)(m, *rest)


def _unknown_epsilon(module: Any, path: str, context: Context) -> Module | None:
    """The ε that fits what the other side recorded best."""
    theirs = context.theirs(path)
    if theirs is not None:
        return varying(norm, fitting=theirs)(module, path, context)
    eps = _epsilon_of_patches(path, context)
    return None if eps is None else varying(norm, eps=eps)(module, path, context)


def _epsilon_of_patches(path: str, context: Context) -> float | None:
    """The ε of the norm behind the patch embedding, for norms that the other side did not record."""
    embeddings = path.partition("encoder.")[0] + "embeddings."
    x, y = context.reference.array(f"{embeddings}patch_embed"), context.theirs(f"{embeddings}rms_norm")
    first: Any = context.modules.get(f"{embeddings}rms_norm")
    return None if x is None or y is None or first is None else fitted_eps(x, first.weight, y)


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
        "{path} subtracts the mean of each token, as LayerNorm does; RMSNorm does not": varying(norm, centred=True),
    },
    ("wrong_eps", RMSNorm): {
        **{f"{{path}} uses an epsilon of {eps:g}; the model's is {{m.eps:g}}": _epsilon(eps) for eps in EPSILONS},
        "{path} adds epsilon to the root and not below it": varying(norm, outside=True),
        "{path} uses another epsilon than the model's, {m.eps:g}": _unknown_epsilon,
    },
    ("wrong_norm_gain", RMSNorm): {
        "{path} leaves out its gain, `weight`": varying(norm, gain=np.ones_like),
        "{path} multiplies by 1 + weight; the gain is the weight itself": varying(norm, gain=lambda w: 1 + w),
        "{path} multiplies by its gain twice": varying(norm, gain=lambda w: w * w),
    },
    ("missing_norm", RMSNorm): {
        "{path} is left out: what it is given goes on as it is": computing(lambda m, x: x),
        "{path} only multiplies by its gain; it divides each token by its root mean square first": computing(
            lambda m, x: m.weight * x
        ),
    },
    ("norm_twice", RMSNorm): {
        "{path} is applied twice; it is applied once": computing(
            lambda m, x: type(m).forward(m, type(m).forward(m, x))
        ),
    },
    ("wrong_norm_mean", RMSNorm): {
        "{path} divides by the root of the sum of squares; it is the root of their mean": varying(norm, summed=True),
        "{path} takes its mean over the tokens; it is over each token's channels, the last axis": varying(
            norm, over=(-2,)
        ),
        "{path} takes its mean over all tokens and channels; it is over each token's channels": varying(
            norm, over=(-2, -1)
        ),
    },
}
