"""Trying causes, one after the other, and keeping those that explain a divergence."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from math import inf
from operator import attrgetter
from time import monotonic

import numpy as np

from aimv2_np.backends.dtypes import EPS
from aimv2_np.comparison.diagnosis import arrays
from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.fault import Hypothesis
from aimv2_np.comparison.diagnosis.search import Place, planted, planted_in_pairs, rounded

# The winner explains all but this part of the difference, and others leave so many times more of it.
EXPLAINED, CLEARLY = 0.25, 4.0
# Named where no other fits: one has numbers that are fitted to what was recorded, one is a part of exchanged layers,
# and one is what the sign of a weight does.
LAST_RESORT = ("positions_waves", "wrong_layer", "half_scaled")
# What can be told from numbers none of which is finite: nothing else would look otherwise.
OF_NOTHING = ("float16_overflow", "nan_weight")
LONG = "The search was ended: it took too long. It gets further where more of the modules are recorded."
SECONDS, PAIRS = 30.0, 2.0  # for a search, and of these for pairs of faults


@dataclass(frozen=True)
class Fit:
    """How well a cause explains what is there.

    Attributes:
        odd: at how many places that agree it would make a difference.
        left: what it leaves of the relative error.
        hypothesis: the cause.
    """

    odd: int
    left: float
    hypothesis: Hypothesis

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

    def lasting(self, hypotheses: Iterable[Hypothesis], seconds: float = inf) -> Iterator[Hypothesis]:
        """The hypotheses, until time is up, or so many seconds have passed."""
        end = min(self.end, monotonic() + seconds)
        for hypothesis in hypotheses:
            left = max(0.0, self.end - monotonic())
            self.told(f"looking for the cause: is it {hypothesis.identifier}? ({left:.0f} s left)")
            yield hypothesis
            if monotonic() > end:
                pairs = "Not all pairs of causes were tested: that would take long."
                self.ended = LONG if monotonic() > self.end else pairs
                return


def searched(context: Context, place: Place | None, patience: Patience) -> tuple[int, list[Fit]]:
    """How many causes were tested, and those that explain the first divergence, the best first.

    Rounded numbers are tried where nothing else explains it, and pairs of causes where nothing fits at all.
    """
    first = context.result.first
    assert first is not None
    floor, best, tested = 8 * EPS[first.dtype], list[Fit](), 0

    def explaining() -> list[Fit]:
        fitting = sorted((found for found in best if found.left <= EXPLAINED * first.relative), key=attrgetter("left"))
        return [found for found in fitting if found.hypothesis.identifier not in LAST_RESORT] or fitting

    def test(hypotheses: Iterable[Hypothesis], seconds: float = inf) -> None:
        nonlocal tested
        more, found = _tested(patience.lasting(hypotheses, seconds), context, floor)
        tested += more
        best.extend(found)

    test(chain(planted(context, place) if place else (), arrays.hypotheses(context, first.path)))
    if place and all(found.hypothesis.identifier in LAST_RESORT for found in explaining()):
        test(rounded(context, place))
    if place and not best and first.measures is not None and not first.measures.nonfinite:
        alone = tested
        test(planted_in_pairs(context, place), PAIRS)
        tested = alone
    return tested, explaining()


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
            if explains and (name not in best or fit.is_better(best[name], floor)):
                best[name] = fit
    return len(tested), list(best.values())
