"""What a comparison finds: one `Difference` per activation that both sides have, and the `Comparison` of them all."""

from dataclasses import asdict, dataclass, field
from math import inf, isfinite
from typing import Any

from aimv2_np.comparison.coverage import Coverage
from aimv2_np.comparison.measure import Measures
from aimv2_np.shapes import NDArray
from aimv2_np.tree.module import Module
from aimv2_np.tree.trace import GRADIENT

WORST = 5  # how many are listed as the worst

# What the axes of an activation are called, by the end of its path and its rank.
AXES = {
    ("pixel_values", 4): ("picture", "channel", "row", "column"),
    ("scores", 4): ("batch", "head", "query", "key"),
    ("probs", 4): ("batch", "head", "query", "key"),
    ("position_embedding", 2): ("token", "channel"),
    ("input_ids", 2): ("batch", "token"),
    ("attention_mask", 2): ("batch", "token"),
    ("logits_per_image", 2): ("picture", "text"),
    ("logits_per_text", 2): ("text", "picture"),
    ("weight", 4): ("output", "channel", "row", "column"),
    ("weight", 2): ("output", "input"),
    ("weight", 1): ("channel",),
    ("bias", 1): ("channel",),
    ("", 4): ("batch", "head", "token", "channel"),
    ("", 3): ("batch", "token", "channel"),
    ("", 2): ("batch", "channel"),
}


@dataclass(frozen=True)
class Difference:
    """One activation on both sides.

    Attributes:
        path, theirs: its name in the reference and in the other recording.
        shape, dtype: of the whole activation in the reference; the coarser dtype of both sides.
        depth: how many layers it has passed.
        tolerance: the relative error that counts as rounding here.
        measures: the errors; None when the shapes do not fit.
        from_statistics: whether only statistics were compared: then errors are estimates.
        note: a remark, such as that shapes differ.
        alone: the errors that arise here: of what the module computes from what the other side gave it (`forcing`).
            None where that is not known.
        own_tolerance: the own error that counts as rounding.
        by_own: whether what arises here is judged, and not what it was given: of a quantised engine.
        again: whether these are the errors of another path, as both are names of one output.
        giver: of a gradient, the module whose derivative gives it, where that is known.
    """

    path: str
    theirs: str
    shape: tuple[int, ...]
    dtype: str
    depth: int
    tolerance: float
    measures: Measures | None = None
    from_statistics: bool = False
    note: str = ""
    alone: Measures | None = None
    own_tolerance: float = 0.0
    by_own: bool = False
    again: bool = False
    giver: str = ""

    @property
    def own(self) -> float | None:
        """The relative error that arises here; None where that is not known."""
        return None if self.alone is None else self.alone.relative

    @property
    def wrong(self) -> bool:
        """Whether more than rounding goes wrong here, whatever went wrong before, and this is the first name of it."""
        return self.alone is not None and not self.again and not self.alone.within(self.own_tolerance)

    @property
    def judged(self) -> tuple[Measures | None, float]:
        """The errors by which the two sides are told apart here, and the relative error that counts as rounding."""
        return (self.alone, self.own_tolerance) if self.by_own else (self.measures, self.tolerance)

    @property
    def equal(self) -> bool:
        """Whether the difference is rounding."""
        measures, tolerance = self.judged
        return measures is not None and measures.within(tolerance)

    @property
    def relative(self) -> float:
        """‖theirs - ours‖ / ‖ours‖; infinite for NaN on one side and for another shape."""
        return inf if self.measures is None else self.measures.relative

    @property
    def excess(self) -> float:
        """The relative error by which it is judged, divided by its tolerance."""
        measures, tolerance = self.judged
        relative = inf if measures is None else measures.relative
        return relative / tolerance if tolerance else (inf if relative else 0.0)

    @property
    def where(self) -> dict[str, int] | None:
        """Axis → index of the largest error."""
        measures, _ = self.judged
        if measures is None or measures.where is None:
            return None
        name = self.path.rpartition(".")[2].removeprefix("inputs/").removeprefix(GRADIENT)
        index = measures.where
        numbers = tuple(f"axis {i}" for i in range(len(index)))
        axes = AXES.get((name, len(index)), AXES.get(("", len(index)), numbers))
        return dict(zip(axes, index, strict=False))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `--json` prints them; what is infinite or unknown is None."""
        names = ("max_abs", "relative", "worst_row", "ulps", "cosine")
        own = {name: getattr(self, name) for name in ("path", "theirs", "dtype", "depth", "tolerance", "equal", "note")}
        return own | {
            "shape": list(self.shape),
            **{name: _finite(getattr(self.measures, name, None)) for name in names},
            "nonfinite": self.measures.nonfinite if self.measures else 0,
            "where": self.where,
            "own": _finite(self.own),
            "wrong": self.wrong,
            "estimated": self.from_statistics,
            **({"giver": self.giver} if self.giver else {}),
        }


@dataclass(frozen=True)
class Step:
    """One call of a module on what the other side gave it.

    Attributes:
        path, module: which one; no module for what lies within one, such as the scores of attention.
        arguments: what it was called with: arrays, and a view of who sees whom.
        expected: what it computes of them.
        found: what the other side recorded.
        rounded: whether numbers have passed a matrix since the last output that was taken from the other side.
        again: whether the same output was taken under another name before.
    """

    path: str
    module: Module | None
    arguments: tuple[Any, ...]
    expected: NDArray
    found: NDArray
    rounded: bool = False
    again: bool = False


@dataclass(frozen=True)
class Budget:
    """What to keep in float.

    Attributes:
        target: the smallest cosine that is wanted between the vectors of both sides.
        now: the one that the other side has.
        alone: (layer, cosine with that layer's errors alone), the worst first.
        keep: the layers to keep in float, the worst first; all of them where not even that is enough.
        then: the cosine with them in float.
    """

    target: float
    now: float
    alone: tuple[tuple[str, float], ...]
    keep: tuple[str, ...]
    then: float


@dataclass(frozen=True)
class Diagnosis:
    """The fault that explains the first divergence.

    Attributes:
        identifier: its short name, such as "gate_up_swapped".
        sentence: what is wrong where, and what is right.
        relative: what is left of the relative error with the fault planted.
        explained: which part of the error that is not, from 0 to 1.
        change: what to change, in one line.
    """

    identifier: str
    sentence: str
    relative: float
    explained: float = 1.0
    change: str = ""


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes:
        differences: all activations that both sides have, in order of execution; inputs first.
        missing: paths of the reference that the other side lacks.
        extra: names of the other side that no path of the reference answers to.
        diagnosis: the fault that explains the first divergence to rounding, or None.
        explanation: what was found, in sentences.
        notes: what else differs between the recordings.
        budget: which layers to keep in float, where that was asked for.
        step: the call of the first module that is wrong by itself, for a capsule; None where that is not known.
    """

    differences: tuple[Difference, ...] = field(repr=False)
    missing: tuple[str, ...] = field(default=(), repr=False)
    extra: tuple[str, ...] = field(default=(), repr=False)
    diagnosis: Diagnosis | None = None
    explanation: str = ""
    notes: tuple[str, ...] = ()
    step: Step | None = field(default=None, repr=False, compare=False)
    budget: Budget | None = None

    @property
    def equal(self) -> bool:
        """Whether all differences are rounding."""
        return all(difference.equal for difference in self.differences)

    @property
    def first(self) -> Difference | None:
        """The first divergence in order of execution, or None."""
        return next((difference for difference in self.differences if not difference.equal), None)

    @property
    def wrong(self) -> tuple[Difference, ...]:
        """Where more than rounding goes wrong by itself, the largest own error first; empty where that is not known."""
        found = [difference for difference in self.differences if difference.wrong]
        return tuple(sorted(found, key=lambda difference: -(difference.own or 0.0)))

    @property
    def coverage(self) -> Coverage:
        """How many of the reference's modules were compared."""
        return Coverage.of((difference.path for difference in self.differences), self.missing)

    @property
    def worst(self) -> tuple[Difference, ...]:
        """The largest divergences in units of their tolerances; of equal sides, the largest rounding errors."""
        several = [difference for difference in self.differences if not difference.equal] or list(self.differences)
        return tuple(sorted(several, key=lambda difference: -difference.excess)[:WORST])

    def __bool__(self) -> bool:
        """`if compare(...)`: whether the sides are equal."""
        return self.equal

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `--json` prints them."""
        return {
            "equal": self.equal,
            "compared": len(self.differences),
            "coverage": {
                "compared": len(self.coverage.compared),
                "modules": self.coverage.modules,
                "share": self.coverage.share,
            },
            "first": self.first.to_dict() if self.first else None,
            "worst": [difference.to_dict() for difference in self.worst],
            "wrong": [difference.to_dict() for difference in self.wrong],
            "diagnosis": self.diagnosis.identifier if self.diagnosis else None,
            "explanation": self.explanation,
            "budget": asdict(self.budget) if self.budget else None,
            "missing": list(self.missing),
            "extra": list(self.extra),
            "notes": list(self.notes),
        }


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None
