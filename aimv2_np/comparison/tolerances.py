"""How far rounding alone may drive two computations of the same network apart; docs/compare.md has the measurements.

    tolerance(dtype, depth) = c · ε · √(1 + depth)        depth: how many layers lie before, its own included

Roundings of different layers are independent, so their squares add up: errors grow with the root of the depth.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from math import inf
from numbers import Real

from aimv2_np.backends.dtypes import EPS
from aimv2_np.errors import quoted

# c: four times what was measured, which stays below 6 ε√(1 + depth) in float32 and float64, where every product sums
# in the dtype itself, and about 1 ε√(1 + depth) in the half precisions, whose products are summed in float32.
FACTOR = {"float64": 24.0, "float32": 24.0, "float16": 4.0, "bfloat16": 4.0}
# Glob → factor, for what amplifies errors that came before: e^x in the softmax turns the absolute error of a score
# into a relative one; a logit is a cosine, whose error is relative to 1 and not to itself.
AMPLIFIED = {"*probs": 4.0, "*logits_per_*": 8.0}
# What a quantised engine rounds its matrices to → the relative error of a product with one of them, or with several in
# one module. Four times what engines make of matrices without outliers, per row and with rounded activations.
QUANTISED = {"int8": 0.05, "float8": 0.125, "int4": 0.3}
STATIC = "-static"  # behind one of these: what lies between products, sums and norms, is rounded too


@dataclass(frozen=True)
class Tolerances:
    """Relative tolerances of a comparison.

    Attributes:
        rtol: one tolerance for everything, in place of the formula.
        rules: glob → tolerance for the paths that match; the last one that does counts.
        dtype: what the other side computed in, where its arrays do not show it ("bfloat16" saved as float32, say).
        quantised: what the other side rounds its matrices to, one of `QUANTISED`, or with `STATIC` behind it all else,
            too: then each module is judged by the error that arises in it, as what it was given is rounded.
    """

    rtol: float | None = None
    rules: Mapping[str, float] = field(default_factory=dict)
    dtype: str | None = None
    quantised: str | None = None

    def __post_init__(self) -> None:
        for value in (0 if self.rtol is None else self.rtol, *self.rules.values()):
            if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value < inf:
                raise ValueError(f"the tolerance is {quoted(value)}; expected a relative error, 0 or more")
        if self.dtype not in (None, *EPS):
            raise ValueError(f"the tolerances' dtype is {self.dtype!r}; expected one of {', '.join(EPS)}")
        known = [name + suffix for suffix in ("", STATIC) for name in QUANTISED]
        if self.quantised not in (None, *known):
            raise ValueError(f"quantised is {quoted(self.quantised)}; expected one of {', '.join(known)}")

    @classmethod
    def of(cls, value: "Tolerances | Mapping[str, float] | float | None") -> "Tolerances":
        """Tolerances from what `compare` takes: themselves, glob → number, one number, or None."""
        if isinstance(value, Tolerances):
            return value
        if isinstance(value, Mapping):
            return cls(rules=dict(value))
        return cls(rtol=value)

    @classmethod
    def parse(cls, texts: Iterable[str], dtype: str | None = None, quantised: str | None = None) -> "Tolerances":
        """Tolerances from texts: `1e-4` for everything, `*.ffn=1e-4` for paths that match; ValueError for others."""
        everywhere, rules = None, {}
        for text in texts:
            glob, _, number = text.rpartition("=")
            try:
                value = float(number)
            except ValueError:
                raise ValueError(f"rtol is {text!r}; expected NUMBER or GLOB=NUMBER, as '*.ffn=1e-4'") from None
            if glob:
                rules[glob] = value
            else:
                everywhere = value
        return cls(everywhere, rules, dtype, quantised)

    def __call__(self, path: str, dtype: str, depth: int, *, rounded: bool = False) -> float:
        """The largest relative error of the activation `path` that counts as rounding.

        `rounded` says whether a matrix that the other side may have rounded takes part in it.
        """
        for pattern in reversed(list(self.rules)):
            if fnmatchcase(path, pattern):
                return self.rules[pattern]
        if self.rtol is not None:
            return self.rtol
        factor = next((factor for pattern, factor in AMPLIFIED.items() if fnmatchcase(path, pattern)), 1.0)
        rounding = float(FACTOR[dtype] * EPS[dtype] * (1 + depth) ** 0.5)
        return factor * max(rounding, self.coarse if rounded or self.static else 0.0)

    @property
    def static(self) -> bool:
        """Whether all that the other side computes is rounded, and not its matrices alone."""
        return self.quantised is not None and self.quantised.endswith(STATIC)

    @property
    def coarse(self) -> float:
        """The relative error that rounded matrices make; 0 where there are none."""
        return QUANTISED[self.quantised.removesuffix(STATIC)] if self.quantised else 0.0


def coarsest(dtypes: Iterable[str]) -> str:
    """The least precise of the floating-point dtypes among `dtypes`; float32 if there is none."""
    return max((dtype for dtype in dtypes if dtype in EPS), key=EPS.__getitem__, default="float32")


def depths(order: Iterable[str]) -> dict[str, int]:
    """Path → number of layers behind it, for paths in order of execution; above the towers, that of the deeper one."""
    deepest: dict[str, int] = {}
    result = {}
    for path in order:
        first = path.partition(".")[0]
        tower = first if first.endswith("_model") else ""
        layer = re.search(r"(?:^|\.)layers\.(\d{1,6})(?:\.|$)", path)
        if layer:
            result[path] = int(layer[1]) + 1
            deepest[tower] = max(deepest.get(tower, 0), result[path])
        else:
            result[path] = deepest.get(tower, 0) if tower else max(deepest.values(), default=0)
    return result
