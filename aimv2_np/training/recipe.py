"""How something is trained, whatever it is: the numbers that a paper's table of settings holds."""

from dataclasses import dataclass, field
from numbers import Integral

from aimv2_np.errors import mismatch
from aimv2_np.training.optimizer import AdamW
from aimv2_np.training.precision import PRECISIONS
from aimv2_np.training.schedule import Schedule


@dataclass(frozen=True)
class Recipe:
    """How it is trained.

    Attributes:
        schedule: how many steps, and the rate of each.
        optimizer: its settings.
        batch_size: examples in a step.
        accumulate: in how many parts a step's examples go through, one after the other, to save memory; the gradient is
            the mean of the parts'.
        clip: the length that the gradient is scaled down to; None: as long as it is.
        average: of a running mean of the weights, which is what comes out, how much is kept each step; 0: no mean.
        recompute: as for `value_and_grad`.
        precision: what the network computes in, "bfloat16" or "float16"; None: in the dtype of its weights. The weights
            themselves stay as they are, and so does all that the optimizer keeps.
    """

    schedule: Schedule
    optimizer: AdamW = field(default_factory=AdamW)
    batch_size: int = 32
    accumulate: int = 1
    clip: float | None = 1.0
    average: float = 0.0
    recompute: int | None = None
    precision: str | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "accumulate"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
                raise ValueError(f"{name} " + mismatch(value, "a whole number of at least 1"))
        if self.batch_size % self.accumulate:
            raise ValueError(f"batch_size is {self.batch_size}; expected a multiple of accumulate, {self.accumulate}")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip is {self.clip}; expected a length above 0, or None")
        if not 0 <= self.average < 1:
            raise ValueError(f"average is {self.average}; expected a share from 0 to below 1")
        if self.precision not in (None, *PRECISIONS):
            known = " or ".join(map(repr, PRECISIONS))
            raise ValueError(f"precision is {self.precision!r:.40}; expected {known}, or None for the weights' own")
