"""The error function, which NumPy lacks; the exact GELU and the Laplace activation need it.

    erf(x) = 2/√π ∫₀ˣ e^-s² ds,    erfc(x) = 1 - erf(x) = t · e^(-x² + p(2t - 1)),    t = 2 / (2 + x),    x ≥ 0

p is a Chebyshev series; its coefficients are fitted to 40 digits by `tests/tools/fit_erf.py`.
"""

from aimv2_np.backends.arrays import namespace
from aimv2_np.shapes import Array

COEFFICIENTS = (
    -0.65132685989085472,
    0.64196979235649026,
    0.019476473204185836,
    -0.0095615147868086316,
    -0.00094659534448203687,
    0.00036683949785276145,
    4.2523324806907772e-5,
    -2.0278578112534243e-5,
    -1.6242900046470255e-6,
    1.3036558355805232e-6,
    1.5626441722066143e-8,
    -8.5238095914926543e-8,
    6.5290544390988515e-9,
    5.0593434955514689e-9,
    -9.9136415649303309e-10,
    -2.2736512229318359e-10,
    9.6467911020155268e-11,
    2.3940380830391147e-12,
    -6.8860275264975534e-12,
    8.9448792730907257e-13,
    3.1309213993429581e-13,
    -1.1270822361367252e-13,
    3.8109052551892321e-16,
    7.106097613609237e-15,
    -1.5230282014571043e-15,
    -9.457494571291234e-17,
    1.210237189224279e-16,
    -2.816663087747177e-17,
    5.003005559445903e-20,
    2.3281042579529253e-18,
)


def erf(x: Array) -> Array:
    """erf(x) element by element, to 6e-16 absolute in float64 and 4e-7 in float32."""
    xp = namespace(x)
    size = abs(x)
    t = 2 / (2 + size)
    erfc = t * xp.exp(_chebyshev(COEFFICIENTS, 2 * t - 1) - size * size)
    return xp.copysign(1 - erfc, x)


def _chebyshev(coefficients: tuple[float, ...], u: Array) -> Array:
    """c₀ + Σ c_j T_j(u) by Clenshaw's recurrence b_j = c_j + 2u b_{j+1} - b_{j+2}."""
    b1 = b2 = 0 * u
    for c in coefficients[:0:-1]:
        b1, b2 = c + 2 * u * b1 - b2, b1
    return coefficients[0] + u * b1 - b2
