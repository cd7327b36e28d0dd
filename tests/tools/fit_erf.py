"""Compute the Chebyshev coefficients in `aimv2_np/network/erf.py` to 40 digits and print them (needs mpmath).

    python tests/tools/fit_erf.py

With t = 2 / (2 + x) the function log(erfc(x) / t) + x² is smooth on t ∈ (0, 1], that is x ∈ [0, ∞); it is interpolated
in u = 2t - 1 at Chebyshev points, and the series is cut where its coefficients fall under 1e-18.
"""

from mpmath import cos, erfc, log, mp, mpf, pi


def smooth(u: mpf) -> mpf:
    t = (u + 1) / 2
    x = 2 / t - 2
    return log(erfc(x) / t) + x * x


def main() -> None:
    mp.dps = 40
    n = 60
    nodes = [cos(pi * (k + mpf(1) / 2) / n) for k in range(n)]
    values = [smooth(u) for u in nodes]
    coefficients = [2 * sum(v * cos(j * pi * (k + mpf(1) / 2) / n) for k, v in enumerate(values)) / n for j in range(n)]
    coefficients[0] /= 2
    while abs(coefficients[-1]) < mpf("1e-18"):
        coefficients.pop()
    for c in coefficients:
        print(f"    {mp.nstr(c, 17)},")


if __name__ == "__main__":
    main()
