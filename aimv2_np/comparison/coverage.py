"""How much of a network a comparison has looked at: three of sixty modules that agree say little of the other ones."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from aimv2_np.recording.recording import INPUTS
from aimv2_np.tree.trace import GRADIENT

# What lies inside of attention, where a reference recorded it: few implementations have these as arrays.
INNER = frozenset({"q", "k", "v", "scores", "probs"})
ENOUGH = 0.5  # a smaller share that agrees is not called the same without saying so


@dataclass(frozen=True)
class Coverage:
    """Which of the reference's modules (and outputs of models) the other side has recorded as well.

    What lies inside of attention (q, k, v, scores, probs), and gradients, are compared where both sides have them, and
    not counted.

    Attributes:
        compared, missing: paths of the reference, in its order.
    """

    compared: tuple[str, ...]
    missing: tuple[str, ...]

    @classmethod
    def of(cls, compared: Iterable[str], missing: Iterable[str]) -> "Coverage":
        """Of all paths that were compared and that are missing; inputs are not part of the network."""
        return cls(*(tuple(path for path in paths if _counts(path)) for paths in (compared, missing)))

    @property
    def modules(self) -> int:
        """How many there are in the reference."""
        return len(self.compared) + len(self.missing)

    @property
    def share(self) -> float:
        """The part of them that was compared, 0 to 1."""
        return len(self.compared) / self.modules if self.modules else 1.0

    @property
    def enough(self) -> bool:
        """Whether it is at least half."""
        return self.share >= ENOUGH

    def lacking(self, required: Iterable[str]) -> tuple[str, ...]:
        """The missing modules that match one of the globs `required`; ValueError for one that no module matches."""
        required = tuple(required)
        paths = (*self.compared, *self.missing)
        for glob in required:
            if not any(fnmatchcase(path, glob) for path in paths):
                near = get_close_matches(glob, paths, 3, 0.4) or paths[:3]
                raise ValueError(
                    f"required is {glob!r:.100}, which no module of the reference matches; did you mean "
                    f"{', '.join(near)}?"
                )
        return tuple(path for path in self.missing if any(fnmatchcase(path, glob) for glob in required))

    def __str__(self) -> str:
        return f"{len(self.compared)} of {self.modules} modules ({self.share:.0%})"


def _counts(path: str) -> bool:
    return not path.startswith((INPUTS, GRADIENT)) and path.rpartition(".")[2] not in INNER
