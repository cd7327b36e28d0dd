"""Where errors arise, and where they are only inherited: every module on what the other side gave it.

The reference's model runs once on the other side's inputs (`Context.on_their_inputs`), with the other side's outputs in
the place of its own (diagnosis/forced.py). A module within which the other side recorded nothing answers for all that
is in it.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from aimv2_np.comparison.comparison import Comparison, Difference, Step
from aimv2_np.comparison.diagnosis.context import Context, Judge
from aimv2_np.comparison.diagnosis.ends import Embeds
from aimv2_np.comparison.diagnosis.forced import Taken
from aimv2_np.comparison.diagnosis.stages import EMBEDS, towers_of
from aimv2_np.comparison.measure import Measures, measure_arrays
from aimv2_np.comparison.padding import Padding
from aimv2_np.comparison.report import two_digits
from aimv2_np.recording.recording import INPUTS, Recording
from aimv2_np.shapes import NDArray

ASSUMED = "The other side recorded no inputs: its embeddings were judged on the reference's."
NAMED = 5  # of the modules that are wrong by themselves
# (path, whether a matrix took part) → the relative error that counts as rounding
Tolerance = Callable[[str, bool], float]


@dataclass
class OwnErrors:
    """The errors that arise in each module by itself.

    Attributes:
        measures: path → the errors, and the relative error that counts as rounding.
        again: paths that are other names of one of these outputs.
        computed: path → what the module there computes of what the other side gave it, where that was to be kept.
        step: the first call of a module that is wrong by itself.
    """

    measures: dict[str, tuple[Measures, float]] = field(default_factory=dict)
    again: set[str] = field(default_factory=set)
    computed: dict[str, NDArray] = field(default_factory=dict)
    step: Step | None = None

    def added_to(self, differences: Iterable[Difference]) -> tuple[Difference, ...]:
        """The differences with the errors that arise in their modules."""
        return tuple(self._added_to(difference) for difference in differences)

    def _added_to(self, difference: Difference) -> Difference:
        if difference.path not in self.measures:
            return difference
        measures, tolerance = self.measures[difference.path]
        again = difference.path in self.again
        return replace(difference, alone=measures, own_tolerance=tolerance, again=again)


def own_errors(
    context: Context,
    taken: Taken,
    padding: Padding,
    dtypes: Mapping[str, str],
    tolerance: Tolerance,
    *,
    keep: bool = False,
) -> OwnErrors:
    """The errors that arise in each module by itself; none without the reference's model and inputs.

    With `keep`, `OwnErrors.computed` has all that was computed; else nothing, as that is a lot.
    """
    own = OwnErrors()

    def look(step: Step) -> None:
        if step.path not in dtypes:
            return
        found = padding.without(step.path, step.expected, step.found)
        measures, most = measure_arrays(step.expected, found, dtypes[step.path]), tolerance(step.path, step.rounded)
        own.measures[step.path] = measures, most
        if step.again:
            own.again.add(step.path)
        if own.step is None and step.module is not None and not measures.within(most):
            own.step = step

    unlike = {difference.path for difference in context.result.differences if difference.measures is None}
    force(context, taken, look, own.computed if keep else None, unlike)
    return own


def force(
    context: Context,
    taken: Taken,
    look: Callable[[Step], None],
    computed: dict[str, NDArray] | None = None,
    unlike: Collection[str] = (),
) -> None:
    """Run every tower of the context's model so, and let `look` see every step, in order of execution.

    What every module computes of what it was given goes into `computed`, where that is given. Stages whose input is one
    of `unlike`, as it has another shape on the other side, are not looked at. Nothing happens where there is no model,
    or the recordings hold no inputs of it.
    """
    if context.model is None:
        return
    ends: dict[str, Any] = {}
    for name, stages in towers_of(context).items():
        x = _given_to(name, context, ends)
        if x is None:
            continue
        given: tuple[str, ...] = ("text_embeds", "image_embeds") if name == EMBEDS else (INPUTS + name,)
        for stage in stages:
            known = set(unlike).isdisjoint(given)
            found, x = stage.run_forced(x, {}, taken, look if known else _ignore)
            given = (stage.path, *stage.aliases)
            if computed is not None:
                computed |= found
        ends[name] = x


def _ignore(step: Step) -> None:
    pass


def _given_to(name: str, context: Context, ends: Mapping[str, Any]) -> Any:
    """What goes into the tower whose input has that name; logits are made of what the two others give."""
    if name == EMBEDS:
        return Embeds(ends["input_ids"], ends["pixel_values"]) if len(ends) == 2 else None
    x = context.input(name)
    return x.astype(context.model.dtype) if x is not None and x.dtype.kind == "f" else x


def by_own_errors(result: Comparison, own: OwnErrors) -> Comparison:
    """The result with each module judged by the error that arises in it, and not by what it was given.

    What has no such error, as its arrays were not recorded whole, is not judged.
    """
    kept, left = [], []
    for difference in own.added_to(result.differences):
        if difference.alone is not None:
            kept.append(replace(difference, by_own=True))
        elif difference.path.startswith(INPUTS) or difference.measures is None:  # of another shape
            kept.append(difference)
        else:
            left.append(difference.path)
    notes = (f"not judged, as they were not recorded whole: {left[0]} and others, {len(left)} in all",) if left else ()
    return replace(result, differences=tuple(kept), missing=(*result.missing, *left), notes=(*result.notes, *notes))


def forced_context(context: Context, result: Comparison, own: OwnErrors, taken: Taken, judge: Judge) -> Context:
    """The context in which the reference is what its modules compute of what the other side gave them.

    `result` judges each module by its own error.
    """
    reference = Recording.from_arrays(own.computed, dict(context.reference.inputs))
    reference.metadata |= context.reference.metadata
    differences = tuple(
        replace(difference, measures=difference.alone, tolerance=difference.own_tolerance, by_own=False)
        if difference.by_own else difference
        for difference in result.differences
    )  # fmt: skip
    result = replace(result, differences=differences)
    return replace(context, reference=reference, result=result, judge=judge, taken=taken)


def own_errors_in_words(differences: Sequence[Difference]) -> str:
    """Which modules are wrong by themselves, in a sentence; "" where that is not known."""
    known = [difference for difference in differences if difference.own is not None]
    wrong = [difference for difference in known if difference.wrong]
    if not known:
        return ""
    if not wrong and any(each.measures is None for each in differences):
        return ""  # what is made of another shape was not judged
    if not wrong and any(each.path.startswith(INPUTS) and not each.equal for each in differences):
        return "On the other side's inputs, no module is wrong by itself: it is the inputs that differ."
    if not wrong:
        return (
            "On what the other side gave it, no module is wrong by itself: small errors add up, or the fault lies "
            "between what was recorded."
        )
    names = ", ".join(f"{each.path} ({two_digits(each.own)})" for each in wrong[:NAMED])
    rest = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
    inputs = any(each.path.startswith(INPUTS) for each in differences)
    assumed = "" if inputs or not any("embeddings" in each.path for each in wrong) else f" {ASSUMED}"
    if len(wrong) == 1:
        return f"On what the other side gave it, {names} alone is wrong; what follows inherits its error.{assumed}"
    return f"On what the other side gave them, {len(wrong)} modules are wrong by themselves: {names}{rest}.{assumed}"
