"""Behind a fault that was found: the same two sides, as if the reference had it, too."""

from dataclasses import replace
from math import nan

from aimv2_np.comparison.comparison import Comparison, Difference
from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.ends import Embeds
from aimv2_np.comparison.diagnosis.extent import fits
from aimv2_np.comparison.diagnosis.fault import Extent
from aimv2_np.comparison.diagnosis.stages import EMBEDS, Span, towers_of
from aimv2_np.comparison.measure import Measures
from aimv2_np.recording.recording import Recording
from aimv2_np.shapes import NDArray

RIGHT = Measures(0.0, 0.0, 0.0, 0.0, 1.0, None)


def behind(context: Context, reached: Extent) -> Context | None:
    """What is left to diagnose when the reference has the fault of `reached`; None when nothing, or nobody knows."""
    if reached.found is None or reached.replaced is None:
        return None
    base = {**context.base, **reached.replaced}
    found = dict(reached.found)
    ours = {path: context.reference.array(path) for path in context.reference.order}
    arrays = {path: array for path, array in ours.items() if array is not None} | found
    changed = replace(context, base=base)
    text, image = arrays.get("text_embeds"), arrays.get("image_embeds")
    if text is not None and image is not None and text.shape[-1] == image.shape[-1]:
        # Of one size, as they are not while one tower alone has a fault that changes it.
        found |= Span(towers_of(changed)[EMBEDS], Embeds(text, image)).run()  # type: ignore[arg-type]
    differences = tuple(_anew(one, found, reached, context) for one in context.result.differences)
    if all(difference.equal for difference in differences):
        return None
    reference = Recording.from_arrays(arrays | found, dict(context.reference.inputs))
    reference.metadata |= context.reference.metadata
    result = Comparison(differences, context.result.missing, context.result.extra)
    return replace(context, reference=reference, result=result, base=base, given=context.model)


def _anew(difference: Difference, found: dict[str, NDArray], reached: Extent, context: Context) -> Difference:
    """The difference of the other side from what the model with the fault computes."""
    if difference.path not in found:
        return difference
    relative, _ = context.judge(difference.path, found[difference.path])
    right = fits(difference.path, found, reached.rounding, context)
    return replace(difference, measures=RIGHT if right else Measures(nan, relative, None, None, nan, None), note="")
