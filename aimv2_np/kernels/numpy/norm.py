"""RMSNorm of activations that lie feature by feature: x is (D, N), and N tokens of one feature are neighbours."""

import numpy as np

from aimv2_np.shapes import NDArray

GROUP = 32  # features whose squares are summed at once
SCALED = 1 << 17  # numbers that are scaled while they are in a core's cache. In few calls: two threads in NumPy's short
# ones spend more time on waiting for Python's lock than on numbers.


def squares_of_tokens(x: NDArray) -> NDArray:
    """Σ_i x_ij² of (D, N), as (N,): group by group, so that rounding grows with √D and not with D."""
    whole = len(x) // GROUP * GROUP
    squares: NDArray = np.einsum("gin,gin->gn", *(x[:whole].reshape(-1, GROUP, x.shape[1]),) * 2).sum(axis=0)
    if whole < len(x):
        squares += np.einsum("in,in->n", x[whole:], x[whole:])
    return squares


def rms_factor(squares: NDArray, size: int, eps: float) -> NDArray:
    """1 / sqrt(Σ x² / D + ε), what the norm multiplies a token by, from the sums of its squares; NaN of infinity."""
    number = squares.dtype.type
    factor: NDArray = 1 / (np.sqrt(squares / number(size) + number(eps)) + (squares - squares))
    return factor


def scale_features(x: NDArray, weight: NDArray, factor: NDArray, out: NDArray) -> None:
    """out_ij = g_i · x_ij · factor_j, some features after the other."""
    step = max(1, SCALED // max(1, x.shape[1]))
    for start in range(0, len(x), step):
        part = out[start : start + step]
        np.multiply(x[start : start + step], factor, out=part)
        part *= weight[start : start + step, None]
