"""The tail of e^x: exponents so low that e^x, or its product with a weight, could be a denormal number.

Some processors take a hundred times as long for products with denormals, and not everywhere can they be told to count
them as zero (backends/arithmetic.py). Such terms are below a rounding of what they are added to: e^0, the largest, in
a softmax; x itself, in x + SiLU(…).
"""

import numpy as np

from aimv2_np.shapes import NDArray

# Denormal are float32 below e^-87.3 and float64 below e^-708.4; the rest is left to the numbers that e^x multiplies.
LOWEST = {np.dtype(np.float32): -60.0, np.dtype(np.float64): -600.0}


def without_tail(exponents: NDArray) -> NDArray:
    """`exponents`, in which those of the tail have become -∞: one look at the smallest where there are none."""
    lowest = LOWEST.get(exponents.dtype, -np.inf)
    if exponents.min() < lowest:
        np.copyto(exponents, -np.inf, where=exponents < lowest)
    return exponents
