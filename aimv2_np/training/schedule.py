"""The learning rate over the steps of a training: up in a line, down along half a wave.

    rate(t) = first + (peak - first) t/w                                     t < w, the warm-up
              last + (peak - last) (1 + cos π (t - w)/(n - w)) / 2           then, to the n-th step

Loshchilov & Hutter 2016, "SGDR" (arXiv:1608.03983), eq. 5, once; the warm-up: Goyal et al. 2017 (arXiv:1706.02677).
"""

from dataclasses import dataclass
from math import cos, pi
from numbers import Integral, Real

from aimv2_np.errors import mismatch


@dataclass(frozen=True)
class Schedule:
    """Rates of `steps` steps, of which the first `warmup` rise. See docs/equations.md, (40).

    Raises ValueError, beginning with a field's name, for what is no schedule.
    """

    steps: int
    peak: float = 1e-3
    warmup: int = 0
    first: float = 1e-6
    last: float = 1e-5

    def __post_init__(self) -> None:
        for name, low in (("steps", 1), ("warmup", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Integral) or value < low:
                raise ValueError(f"{name} " + mismatch(value, f"a whole number of at least {low}"))
        if self.warmup > self.steps:
            raise ValueError(f"warmup is {self.warmup}; expected at most as many steps as there are, {self.steps}")
        for name in ("peak", "first", "last"):
            value = getattr(self, name)
            if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= float(value) < 1e3:
                raise ValueError(f"{name} " + mismatch(value, "a learning rate, a number from 0 to 1000"))
        if self.peak == 0:
            raise ValueError("peak is 0; expected a learning rate above 0")

    def rate(self, step: int) -> float:
        """The rate of a step; the first is step 0."""
        if step < self.warmup:
            return float(self.first + (self.peak - self.first) * step / self.warmup)
        wave = cos(pi * (step - self.warmup) / max(1, self.steps - self.warmup))
        return float(self.last + (self.peak - self.last) * (1 + wave) / 2)
