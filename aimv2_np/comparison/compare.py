"""Comparing two recordings: the first module in order of execution whose outputs differ by more than rounding, and why.

result = compare("reference.safetensors", "other.safetensors", model=model)
result.equal, result.first.path, result.diagnosis, result.explanation
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from numbers import Real
from os import PathLike
from typing import Any

import numpy as np

from aimv2_np.comparison.backward import with_gradients
from aimv2_np.comparison.batch import reordered
from aimv2_np.comparison.budget import find_budget
from aimv2_np.comparison.comparison import Comparison, Difference
from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.diagnose import diagnose
from aimv2_np.comparison.diagnosis.originals import Pictures
from aimv2_np.comparison.diagnosis.seen import notes_on
from aimv2_np.comparison.diagnosis.trials import Patience
from aimv2_np.comparison.forcing import by_own_errors, forced_context, own_errors_in_words
from aimv2_np.comparison.matching import match
from aimv2_np.comparison.pairing import Pairing
from aimv2_np.comparison.report import summarise
from aimv2_np.comparison.sides import as_recording
from aimv2_np.comparison.tolerances import STATIC, Tolerances
from aimv2_np.errors import a_type, quoted
from aimv2_np.models.auto import load
from aimv2_np.models.pretrained import AnyModel, PretrainedModel
from aimv2_np.recording.recording import Recording

Side = str | PathLike[str] | Recording | Mapping[str, Any]

UNFORCED = (
    "a quantised engine's modules are judged by what arises in each, and that is not known here; expected the "
    "reference's weights, its inputs and whole arrays of the other side; pass the model (model=, --model), and record "
    "the inputs and no statistics alone"
)
ROUNDS_MORE = (
    "These errors are no larger than the rounding of its matrices: if it rounds what lies between them, too, as static "
    "quantisation does, say so"
)


@np.errstate(all="ignore")  # what is compared may hold anything; what overflows shows in the result
def compare(
    reference: Side,
    other: Side,
    *,
    tolerances: Tolerances | Mapping[str, float] | float | None = None,
    mapping: Mapping[str, str] | Iterable[str] | None = None,
    model: AnyModel | str | PathLike[str] | None = None,
    budget: float | None = None,
    pictures: Any = None,
    progress: Callable[[str], None] = lambda what: None,
) -> Comparison:
    """Compare what two implementations computed, module by module, and say where they part and why.

    Gradients, where both recorded some, are compared if all activations agree: from the loss to the input.

    Args:
        reference, other: each a recording (its path, or a `Recording`), a safetensors file of arrays, or a dict of
            arrays by dotted path, of PyTorch's tensors or nested lists of numbers too. Recordings of statistics do:
            then errors are estimates.
        tolerances: None for those of docs/compare.md; a number: the relative error that counts as rounding; glob →
            number; or `Tolerances`.
        mapping: the other side's names → the reference's, `{"blocks.*.mlp": "encoder.layers.*.ffn"}` or texts
            `"theirs=ours"`. Apple's, timm's and ONNX' names are known without.
        model: the reference's model, or its folder: most causes can be tested with the weights only.
        budget: a cosine, for a quantised engine: `Comparison.budget` says which layers to keep in float to reach it.
        pictures: what the reference's pixel_values were made of, a path or Pillow image for each item of the batch:
            they tell mistakes on the way from a file to pixel_values.
        progress: told what is being done, in a few words, whenever that is another thing.

    Raises:
        FileNotFoundError, CheckpointError: a file that is not there, or is no recording.
        TypeError: a side, the model or a picture is nothing that can be read.
        ValueError: the sides have no activation in common, a tolerance, mapping or budget makes no sense, there are
            not as many pictures as the reference's batch has items, or tolerances of a quantised engine without what
            its modules can be judged by: the model, inputs and whole arrays.
    """
    if budget is not None and not (isinstance(budget, Real) and 0 <= budget <= 1):
        raise ValueError(f"budget is {quoted(budget)}; expected a cosine, 0 to 1")
    both = as_recording(reference, "reference"), as_recording(other, "other")
    a, b = (side.forward for side in both)
    if isinstance(model, str | PathLike):
        model = load(model)
    if model is not None and not isinstance(model, PretrainedModel):
        raise TypeError(f"model is {a_type(model)}; expected one of our models, or the folder of one")
    originals = None if pictures is None else Pictures.of(pictures, a, model)
    a = a if originals is None else originals.completing(a)
    matching = match(a, b, mapping)
    pairing, differences, aligned = _aligned(Pairing(a, matching.recording, Tolerances.of(tolerances), matching.names))
    notes = (*pairing.notes(), *matching.notes, *aligned, *_layouts(differences), *notes_on(originals, a, b))
    result = Comparison(differences, matching.missing, matching.extra, notes=notes)
    context = Context(a, pairing.in_our_layout(), matching.names, result, pairing.judge, model, pictures=originals)
    theirs, patience = context.on_their_inputs(), Patience(progress)
    if pairing.tolerances.quantised and theirs is not None:
        own = pairing.own_errors(theirs, keep=True)
        if not own.measures:
            raise ValueError(UNFORCED)
        result, judge = by_own_errors(result, own), replace(pairing, own=own).judge
        outcome = diagnose(forced_context(context, result, own, pairing.taken, judge), patience=patience)
        result = replace(result, diagnosis=outcome.diagnosis, step=own.step)
        if outcome.diagnosis is None and _may_be_static(result, pairing.tolerances):
            name = f"{pairing.tolerances.quantised}{STATIC}"
            outcome = replace(outcome, remark=f"{outcome.remark} {ROUNDS_MORE} (--quantised {name}).")
    else:
        outcome = diagnose(context, patience=patience)
        result = replace(result, diagnosis=outcome.diagnosis)
        if not result.equal and theirs is not None:
            progress("looking where errors arise")
            own = pairing.own_errors(theirs)
            result = replace(result, differences=own.added_to(result.differences), step=own.step)
    if budget is not None and not result.equal and theirs is not None:
        progress("looking for layers to keep in float")
        result = replace(result, budget=find_budget(theirs, pairing.taken, budget))
    remark = f"{outcome.remark} {own_errors_in_words(result.differences)}".strip()
    gradients = both[0].backward, both[1].backward
    if any(side.order for side in gradients):
        result, remark = with_gradients(result, remark, context, pairing, gradients, mapping, progress)
    return replace(result, explanation=summarise(result, remark))


def _aligned(pairing: Pairing) -> tuple[Pairing, tuple[Difference, ...], list[str]]:
    """A pairing of the sides with what only lies otherwise undone, what it finds, and notes on what was undone.

    Pictures and texts in another order are undone where the inputs show it. Where they do not, and where axes of one
    length are exchanged, it is done only if everything agrees after it: anything else may be a fault.
    """
    differences = pairing.run()
    wrong = [difference for difference in differences if not difference.equal]
    if not wrong:
        return pairing, differences, []
    notes = []
    moved = reordered(pairing.a, pairing.b, pairing.names, (difference.path for difference in wrong))
    if moved:
        other = replace(pairing, b=moved.recording)
        found = other.run()
        if moved.certain or all(difference.equal for difference in found):
            pairing, differences, notes = other, found, [moved.note]
    wrong = [difference for difference in differences if not difference.equal]
    if len(wrong) > 1 and all(len({*difference.shape}) < len(difference.shape) == 3 for difference in wrong):
        other = replace(pairing, exchanged=True)
        found = other.run()
        if all(difference.equal for difference in found):
            return other, found, notes
    return pairing, differences, notes


def _may_be_static(result: Comparison, tolerances: Tolerances) -> bool:
    """Whether all that is wrong by itself in a quantised engine could be the rounding of sums and norms."""
    wrong = [difference.own for difference in result.differences if not difference.equal]
    return bool(wrong) and not tolerances.static and all(own is not None and own <= tolerances.coarse for own in wrong)


def _layouts(differences: Iterable[Difference]) -> list[str]:
    """A note for each order of axes in which arrays of the other side lie, with the first of them."""
    found: dict[str, list[str]] = {}
    for difference in differences:
        _, order, axes = difference.note.partition("axes in the order ")
        if order:
            found.setdefault(axes.partition(";")[0], []).append(difference.path)
    return [
        f"{len(paths)} of the other side's arrays were read with their axes in the order {axes} ({paths[0]}"
        f"{', ...' if len(paths) > 1 else ''})" for axes, paths in found.items()
    ]  # fmt: skip
