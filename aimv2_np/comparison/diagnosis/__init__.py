"""Why two implementations part: known faults are planted, one after the other, where they part first.

The module is computed anew from the reference's recorded input with each fault in it. The fault whose outputs are the
other side's to rounding, and that explains them clearly better than any other, is the diagnosis; without such, none.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from aimv2_np.backends.dtypes import EPS
from aimv2_np.comparison.comparison import Difference
from aimv2_np.comparison.diagnosis import arrays
from aimv2_np.comparison.diagnosis.context import Context, NDArray
from aimv2_np.comparison.diagnosis.extent import Planting, extent
from aimv2_np.comparison.diagnosis.precision import coarser
from aimv2_np.comparison.diagnosis.search import UnableError, planted

# (path, what the other side should have recorded there) → relative error, and whether it is rounding
Judge = Callable[[str, NDArray], tuple[float, bool]]

# The winner explains all but this part of the difference, and others leave so many times more of it.
EXPLAINED, CLEARLY = 0.25, 4.0

__all__ = ["Context", "Diagnosis", "Outcome", "diagnose"]


@dataclass(frozen=True)
class Diagnosis:
    """The fault that explains the first divergence.

    Attributes:
        identifier: its short name, such as "gate_up_swapped".
        sentence: what is wrong where, and what is right.
        relative: what is left of the relative error with the fault planted.
    """

    identifier: str
    sentence: str
    relative: float


@dataclass(frozen=True)
class Outcome:
    """What came of the search: a diagnosis and how far it reaches, or the reason why there is none; causes tested."""

    diagnosis: Diagnosis | None = None
    reason: str = ""
    tested: int = 0


@dataclass
class _Trial:
    """The explanations tried so far: the best of each identifier, of those that fit to rounding."""

    judge: Judge
    floor: float  # relative errors below this are all the same
    best: dict[str, Diagnosis] = field(default_factory=dict)
    plantings: dict[str, Planting | None] = field(default_factory=dict)
    tested: set[str] = field(default_factory=set)

    def test(
        self, identifier: str, sentence: str, predicted: dict[str, NDArray], planting: Planting | None = None
    ) -> None:
        """Try one explanation: all that it predicts must be what the other side recorded."""
        self.tested.add(identifier)
        worst = 0.0
        for path, array in predicted.items():
            relative, fits = self.judge(path, array)
            if not fits:
                return
            worst = max(worst, relative)
        best = self.best.get(identifier)
        # Of two that differ by rounding the earlier one tells more: it knows the module.
        if best is None or CLEARLY * worst < best.relative - self.floor:
            self.best[identifier] = Diagnosis(identifier, sentence, worst)
            self.plantings[identifier] = planting


def diagnose(context: Context, judge: Judge) -> Outcome:
    """The fault behind the first divergence, where one alone explains it."""
    first = context.first
    if first is None:
        return Outcome()
    if first.measures is None:
        return Outcome(reason="Outputs of another shape are not diagnosed.")
    trial, unable = _Trial(judge, 8 * EPS[first.dtype]), ""
    try:
        for sentence, predicted, planting in planted(context, first.path, judge):
            trial.test(planting.fault.identifier, sentence, predicted, planting)
    except UnableError as error:
        unable = str(error)
    for identifier, sentence, predicted in arrays.predictions(context, first.path):
        trial.test(identifier, sentence, predicted)
    return _decide(trial, context, first, unable)


def _decide(trial: _Trial, context: Context, first: Difference, unable: str) -> Outcome:
    tested = len(trial.tested)
    fitting = sorted(trial.best.values(), key=lambda diagnosis: diagnosis.relative)
    fitting = [diagnosis for diagnosis in fitting if diagnosis.relative <= EXPLAINED * first.relative]
    if not fitting:
        rounded = coarser(context)
        if rounded:
            return Outcome(Diagnosis("reduced_precision", *rounded), tested=tested)
        reason = f"None of the {tested} causes tested explains it." if tested else "No cause could be tested."
        return Outcome(reason=f"{reason} {unable}".strip(), tested=tested)
    best, others = fitting[0], fitting[1:]
    rivals = [other for other in others if other.relative <= CLEARLY * max(best.relative, EPS[first.dtype])]
    if rivals:
        names = " and ".join(diagnosis.identifier for diagnosis in (best, *rivals))
        return Outcome(reason=f"{names} explain it equally well; other inputs would tell them apart.", tested=tested)
    planting = trial.plantings[best.identifier]
    return Outcome(best, extent(planting, context, trial.judge) if planting else "", tested)
