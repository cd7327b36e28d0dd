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
OUTSIDE = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


def norm(
    m: Any,
    x: Array,
    *,
    centred: bool = False,
    over: tuple[int, ...] = (-1,),
    summed: bool = False,
    less: int = 0,
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
        less: by how much the number that their sum is divided by is too small.
        outside: whether ε is added to the root and not below it.
        eps: another ε than the module's.
        fitting: an output, in place of ε: that is the one that fits it best.
        gain: what becomes of the weight.
    """
    eps = m.eps if eps is None else eps
    if fitting is not None:
        eps = fitted_eps(x, m.weight, fitting, outside=outside)
    if centred:
        x = x - x.mean(axis=over, keepdims=True)
    square = (x * x).sum(axis=over, keepdims=True) if summed else (x * x).mean(axis=over, keepdims=True)
    square = square * x.dtype.type(x.shape[-1] / (x.shape[-1] - less))
    return gain(m.weight) * (x / (np.sqrt(square) + eps if outside else np.sqrt(square + eps)))


def _epsilon(eps: float) -> Plant:
    return lambda m, *rest: None if np.isclose(eps, m.eps, rtol=1e-3, atol=0) else varying(norm, eps=eps)(m, *rest)


def _unknown_epsilon(*, outside: bool) -> Plant:
    """The ε that fits what the other side recorded best, added below the root or outside of it."""

    def plant(module: Any, path: str, context: Context) -> Module | None:
        theirs = context.theirs(path)
        if theirs is not None:
            return varying(norm, fitting=theirs, outside=outside)(module, path, context)
        eps = _epsilon_of_patches(path, context, outside=outside)
        return None if eps is None else varying(norm, eps=eps, outside=outside)(module, path, context)

    return plant


def _epsilon_of_patches(path: str, context: Context, *, outside: bool) -> float | None:
    """The ε of the norm behind the patch embedding, for norms that the other side did not record."""
    embeddings = path.partition("encoder.")[0] + "embeddings."
    x, y = context.reference.array(f"{embeddings}patch_embed"), context.theirs(f"{embeddings}rms_norm")
    first: Any = context.modules.get(f"{embeddings}rms_norm")
    return None if x is None or y is None or first is None else fitted_eps(x, first.weight, y, outside=outside)


def fitted_eps(x: Array, weight: Array, y: Array, *, outside: bool = False) -> float:
    """The ε that makes RMSNorm of `x` (B, N, D) most like `y`: the median of what each token says; 0 if none does.

    It is added to the mean of squares, or `outside`, to its root.
    """
    scaled = weight * x  # y = scaled / √(mean x² + ε)
    if y.shape != x.shape:
        return 0.0
    root = (scaled * scaled).sum(axis=-1) / (scaled * y).sum(axis=-1)
    square = (x * x).mean(axis=-1)
    eps = float(np.median(root - np.sqrt(square) if outside else root * root - square))
    return max(eps, 0.0) if np.isfinite(eps) else 0.0


def _divided(by: Callable[[Array, float], Array], epsilons: int) -> Plant:
    """Tokens divided by `by(x, ε)`, or with ε = 0, then multiplied by the gain."""
    return computing(lambda m, x: m.weight * (x / by(x, epsilons * m.eps)))


def _centred(m: Any, x: Array) -> Array:
    result: Array = m.weight * (x - x.mean(axis=-1, keepdims=True))
    return result


def _normed(x: Array, eps: float) -> Array:
    result: Array = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps)
    return result


DIVISORS: dict[str, Callable[[Array, float], Array]] = {
    "by their largest absolute value": lambda x, eps: np.abs(x).max(axis=-1, keepdims=True) + eps,
    "by the mean of their absolute values": lambda x, eps: np.abs(x).mean(axis=-1, keepdims=True) + eps,
    "by the sum of their absolute values": lambda x, eps: np.abs(x).sum(axis=-1, keepdims=True) + eps,
    "by their deviation, whose mean is subtracted there alone": lambda x, eps: np.sqrt(
        x.var(axis=-1, keepdims=True) + eps
    ),
    "by their deviation with D - 1 for D, whose mean is subtracted there alone": lambda x, eps: np.sqrt(
        x.var(axis=-1, keepdims=True, ddof=1) + eps
    ),
    "by the mean of their squares, without a root": lambda x, eps: (x * x).mean(axis=-1, keepdims=True) + eps,
}
FAULTS: Table = {
    ("mean_centred_norm", RMSNorm): {
        "{path} subtracts the mean of each token, as LayerNorm does; RMSNorm does not": varying(norm, centred=True),
        "{path} subtracts the mean of each token and divides the sum of squares by D - 1; RMSNorm subtracts nothing": (
            varying(norm, centred=True, less=1)
        ),
        "{path} only subtracts the mean of each token; it divides by the root mean square, and subtracts nothing": (
            computing(_centred)
        ),
    },
    ("wrong_eps", RMSNorm): {
        **{f"{{path}} uses an epsilon of {eps:g}; the model's is {{m.eps:g}}": _epsilon(eps) for eps in EPSILONS},
        "{path} adds epsilon to the root and not below it": varying(norm, outside=True),
        **{
            f"{{path}} adds an epsilon of {eps:g} to the root; the model's, {{m.eps:g}}, is added below it": varying(
                norm, eps=eps, outside=True
            )
            for eps in OUTSIDE
        },
        "{path} uses another epsilon than the model's, {m.eps:g}": _unknown_epsilon(outside=False),
        "{path} adds another epsilon than the model's, {m.eps:g}, to the root and not below it": _unknown_epsilon(
            outside=True
        ),
    },
    ("wrong_norm_gain", RMSNorm): {
        "{path} leaves out its gain, `weight`": varying(norm, gain=np.ones_like),
        "{path} multiplies by 1 + weight; the gain is the weight itself": varying(norm, gain=lambda w: 1 + w),
        "{path} multiplies by its gain twice": varying(norm, gain=lambda w: w * w),
        "{path} multiplies by the exponential of its gain": varying(norm, gain=np.exp),
        "{path} multiplies by the root of its gain": varying(norm, gain=lambda w: np.sqrt(np.abs(w))),
        "{path} multiplies by weight - 1; the gain is the weight itself": varying(norm, gain=lambda w: w - 1),
        "{path} divides by its gain; it multiplies by it": varying(norm, gain=lambda w: 1 / w),
        "{path} adds its gain; it multiplies by it": computing(lambda m, x: m.weight + _normed(x, m.eps)),
        "{path} multiplies by its gain before it norms; it does so after": computing(
            lambda m, x: _normed(m.weight * x, m.eps)
        ),
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
        "{path} divides the sum of squares by D - 1; it is by D": varying(norm, less=1),
        **{
            f"{{path}} divides the numbers of each token {words}{also}; it is by the root mean square": (
                _divided(by, epsilons)
            )
            for words, by in DIVISORS.items()
            for epsilons, also in ((0, ""), (1, ", plus epsilon"))
        },
    },
}
