"""Trying causes, one after the other, and keeping those that explain a divergence."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from math import inf
from operator import attrgetter
from time import monotonic

import numpy as np

from aimv2_np.backends.dtypes import EPS
from aimv2_np.comparison.diagnosis import arrays
from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.fault import Extent, Hypothesis
from aimv2_np.comparison.diagnosis.place import Place
from aimv2_np.comparison.diagnosis.search import planted, planted_alone, planted_in_pairs, rounded

# The winner explains all but this part of the difference, and others leave so many times more of it.
EXPLAINED, CLEARLY = 0.25, 4.0
ALIKE = ("half_scaled",)  # what the sign of a weight or a residual that is added twice may also do
# Named where no other fits: one has numbers that are fitted to what was recorded, one is a part of exchanged layers.
LAST_RESORT = ("positions_waves", "wrong_layer", *ALIKE)
# What can be told from numbers none of which is finite: nothing else would look otherwise.
OF_NOTHING = ("float16_overflow", "nan_weight")
LONG = "The search was ended: it took too long. It gets further where more of the modules are recorded."
# For a search; of these for faults in each of many layers alone, and for pairs of faults.
SECONDS, ALONE, PAIRS = 30.0, 8.0, 2.0


@dataclass(frozen=True)
class Fit:
    """How well a cause explains what is there.

    Attributes:
        odd: at how many places that agree it would make a difference.
        left: what it leaves of the relative error.
        hypothesis: the cause.
        others: other ways in which the same cause explains it.
    """

    odd: int
    left: float
    hypothesis: Hypothesis
    others: Sequence["Fit"] = ()

    @property
    def is_last_resort(self) -> bool:
        """Whether it is named only where no other fits."""
        return self.hypothesis.identifier in LAST_RESORT

    @cached_property
    def extents(self) -> Sequence[Extent]:
        """The ways in which it may go on."""
        return self.hypothesis.extent()

    @property
    def explains_what_follows(self) -> bool:
        """Whether it explains all that differs after the first divergence in its tower."""
        return any(reached.unexplained is None for reached in self.extents)

    def is_better(self, other: "Fit", floor: float) -> bool:
        """Whether it makes fewer odd differences, or as many and leaves clearly less of the error."""
        less = CLEARLY * self.left < other.left - floor
        return self.odd < other.odd or (self.odd == other.odd and less)


class Patience:
    """The time that a search may take, `SECONDS` in all; `ended` says what was left out where that was too little.

    `told` hears of each cause that is tested.
    """

    def __init__(self, told: Callable[[str], None] = lambda what: None) -> None:
        self.told = told
        self.end = monotonic() + SECONDS
        self.ended = ""

    def lasting(self, hypotheses: Iterable[Hypothesis], seconds: float = inf, what: str = "") -> Iterator[Hypothesis]:
        """The hypotheses, until time is up, or so many seconds have passed: then not all of `what` were tested."""
        end = min(self.end, monotonic() + seconds)
        for hypothesis in hypotheses:
            left = max(0.0, self.end - monotonic())
            self.told(f"looking for the cause: is it {hypothesis.identifier}? ({left:.0f} s left)")
            yield hypothesis
            if monotonic() > end:
                some = f"Not all {what} were tested: that would take long."
                self.ended = LONG if monotonic() > self.end else some
                return


def searched(context: Context, place: Place | None, patience: Patience) -> tuple[int, list[Fit]]:
    """How many causes were tested, and those that explain the first divergence, the best first.

    Rounded numbers are tried where nothing else explains it, and pairs of causes where nothing fits at all.
    """
    first = context.result.first
    assert first is not None
    floor, best = 8 * EPS[first.dtype], list[Fit]()

    def explaining() -> list[Fit]:
        return sorted((found for found in best if found.left <= EXPLAINED * first.relative), key=attrgetter("left"))

    def test(hypotheses: Iterable[Hypothesis]) -> int:
        more, found = _tested(hypotheses, context, floor)
        best.extend(found)
        return more

    alone = chain(planted(context, place) if place else (), arrays.hypotheses(context, first.path))
    tested = test(patience.lasting(alone))
    if place and all(found.is_last_resort for found in explaining()):
        tested += test(patience.lasting(rounded(context, place)))
    if place and not explaining():
        test(patience.lasting(planted_alone(context, place), ALONE, "causes in each layer alone"))
    if place and not best and first.measures is not None and not first.measures.nonfinite:
        test(patience.lasting(planted_in_pairs(context, place), PAIRS, "pairs of causes"))
    return tested, explaining()


def _together(known: Fit, fit: Fit, floor: float) -> Fit:
    """The better of two ways to have one cause, which knows the other; `known` where that is not clear."""
    if fit.is_better(known, floor):
        return replace(fit, others=(known, *known.others))
    return replace(known, others=(*known.others, fit))


def _tested(hypotheses: Iterable[Hypothesis], context: Context, floor: float) -> tuple[int, list[Fit]]:
    """How many causes were tested; of those that fit to rounding, the best way of each.

    Relative errors below `floor` are all the same. Of two ways that differ by rounding the earlier one tells more: it
    knows the module.
    """
    first = context.result.first
    theirs = None if first is None else context.theirs(first.path)
    nothing = theirs is not None and not np.isfinite(theirs).any()
    tested = set()
    best: dict[str, Fit] = {}
    for hypothesis in hypotheses:
        name = hypothesis.identifier
        tested.add(name)
        left, odd, judged = 0.0, 0, set()
        for path, array in hypothesis.predicted:
            relative, fits = context.judge(path, array)
            if path in hypothesis.agreeing:
                odd += not fits
                continue
            left = max(left, relative)
            judged.add(path)
            if not fits:
                break
        else:
            explains = first is not None and first.path in judged
            if nothing and name not in OF_NOTHING:
                continue
            fit = Fit(odd, left, hypothesis)
            if explains:
                known = best.get(name)
                best[name] = fit if known is None else _together(known, fit, floor)
    return len(tested), list(best.values())
