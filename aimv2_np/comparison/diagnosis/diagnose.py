"""The search for a cause: known faults are planted, one after the other, where two implementations part first.

The module is computed anew from the reference's recorded input with each fault in it. The fault whose outputs are the
other side's to rounding, and that explains them clearly better than any other, is the diagnosis; without such, none.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from aimv2_np.backends.dtypes import EPS
from aimv2_np.comparison.comparison import Diagnosis, Difference
from aimv2_np.comparison.diagnosis.advice import change
from aimv2_np.comparison.diagnosis.behind import behind
from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.extent import reach_of_input
from aimv2_np.comparison.diagnosis.fault import Extent
from aimv2_np.comparison.diagnosis.half import coarser, half_of
from aimv2_np.comparison.diagnosis.originals import Pictures
from aimv2_np.comparison.diagnosis.place import UnableError, place_of
from aimv2_np.comparison.diagnosis.seen import seen
from aimv2_np.comparison.diagnosis.trials import ALIKE, CLEARLY, Fit, Patience, searched
from aimv2_np.comparison.measure import measure_arrays
from aimv2_np.comparison.naming import TOWERS
from aimv2_np.recording.recording import INPUTS

BYTES_APART = (
    "The other side's pixels are within two grey levels of what the image processor makes of the pictures, as "
    "torchvision's are of Pillow's: that is rounding to bytes, and no mistake. Compare both on the same pixel_values."
)
ALIASES = {"rms_norm": "last_hidden_state", "head": "pooler_output"}
WAYS = 4  # to have a fault, besides the best, that are looked at where that does not explain what follows
MOST = 4  # faults, one behind the other
MORE = (
    "With the original pictures (pictures=, --pictures) more can be tested: how they were resized, cropped and turned."
)
PIXELS = f"{INPUTS}pixel_values"
NEXT = "With this fault planted, the next cause"
AGAIN = "The other tower has the same fault"


@dataclass(frozen=True)
class Outcome:
    """What came of the search.

    Attributes:
        diagnosis: the fault that was found, or None.
        remark: how far it reaches, or why there is none, in sentences.
        complete: whether what was found explains all differences.
    """

    diagnosis: Diagnosis | None = None
    remark: str = ""
    complete: bool = False


def diagnose(context: Context, depth: int = 0, patience: Patience | None = None) -> Outcome:
    """The fault behind the first divergence, where one alone explains it; `depth` faults were found before."""
    first = context.result.first
    if first is None:
        return Outcome()
    if agreeing := _agrees_behind(context, first.path):
        if not context.taken and (half := coarser(context)):
            return Outcome(half)
        words = f"{agreeing}, which is computed from it or is the same, agrees"
        return Outcome(remark=f"{words}: {first.theirs} may be another step of that module, or not be used.")
    patience = patience or Patience()
    if context.pictures is not None and first.path == PIXELS and (known := _of_pictures(context, context.pictures)):
        return _behind_input(known, first.path, context, depth, patience)
    place, unable = None, ""
    try:
        place = place_of(context, first.path)
    except UnableError as error:
        unable = str(error)
    rounding = EPS[first.dtype]
    tested, fitting = searched(context, place, patience)
    if not fitting:
        return _unexplained(context, first, tested, unable, patience)
    best = _best(fitting, rounding)
    if len(best) > 1:
        names = " and ".join(found.hypothesis.identifier for found in best)
        return Outcome(remark=f"{names} explain it equally well; other inputs would tell them apart.")
    left, winner = best[0].left, best[0].hypothesis
    explained = 1.0 if first.measures is None else max(0.0, 1 - left / first.relative)
    diagnosis = Diagnosis(winner.identifier, winner.sentence, left, explained, change(winner.identifier))
    if first.path.startswith(INPUTS):
        return _behind_input(Outcome(diagnosis), first.path, context, depth, patience)
    remark, complete = "", False
    for reached in best[0].extents:
        more, complete = _more(context, reached, diagnosis, depth, patience)
        remark = f"{reached.sentence} {more}".strip()
        if complete:
            break
    return Outcome(diagnosis, f"{remark} {_alike(best[0], fitting, rounding)}".strip(), complete)


def _alike(named: Fit, fitting: Sequence[Fit], rounding: float) -> str:
    """Another mistake that would give the very same numbers, in a sentence; "" where there is none."""
    most = CLEARLY * max(named.left, rounding)
    for other in fitting:
        name = other.hypothesis.identifier
        if name in ALIKE and name != named.hypothesis.identifier and other.left <= most:
            for way in (other, *other.others[:WAYS]):
                if way.explains_what_follows:
                    return f"What was recorded does not tell it from this: {way.hypothesis.sentence}."
    return ""


def _best(fitting: Sequence[Fit], rounding: float) -> Sequence[Fit]:
    """Of the causes that fit, the best first, the one to name; several where nothing tells them apart.

    What follows tells, too: a cause that explains all of it is taken before one that leaves some.
    """
    likely = [found for found in fitting if not found.is_last_resort] or fitting
    rivals = [found for found in likely if found.left <= CLEARLY * max(likely[0].left, rounding)]
    # One that would change what is right is no rival of one that would not.
    rivals = [found for found in rivals if found.odd == min(each.odd for each in rivals)]
    if len(rivals) == 1 and rivals[0].explains_what_follows:
        return rivals
    ways = [way for found in (rivals if len(rivals) > 1 else fitting) for way in (found, *found.others[:WAYS])]
    going = [way for way in ways if way.explains_what_follows]
    alike = len({way.hypothesis.identifier for way in going}) == 1
    return going[:1] if alike or (len(rivals) == 1 and going) else rivals


def _unexplained(context: Context, first: Difference, tested: int, unable: str, patience: Patience) -> Outcome:
    """Where none of the causes that were tested explains the first divergence: half precision, or why there is none."""
    half = None if context.taken else coarser(context)
    if half:
        return Outcome(half)
    if first.measures is None:
        reason = "No cause that was tested gives outputs of that shape."
    elif not tested:
        reason = "No cause could be tested."
    elif unable:
        reason = "No cause could be tested beyond those that arrays tell alone."
    else:
        reason = f"None of the {tested} causes tested explains it."
    late = patience.ended
    if first.measures is not None and first.measures.nonfinite and not first.path.startswith(INPUTS):
        late = "It gives NaN or infinity where it is given none: look for such numbers in its weights and its mask."
    late = "" if first.measures is None else late
    parts = (reason, _hint_at_half(context), late, unable, _what_would_help(context, first.path))
    return Outcome(remark=" ".join(filter(None, parts)))


def _hint_at_half(context: Context) -> str:
    """What to say where a quantised engine's numbers are of half precision, and nobody said so."""
    found = half_of(context) if context.taken else None
    return f"All its numbers there are {found[0]}'s: say --dtype {found[0]} if it computes in that." if found else ""


def _behind_input(known: Outcome, path: str, context: Context, depth: int, patience: Patience) -> Outcome:
    """What came of the search for what is wrong with an input, and what else is wrong on that input."""
    theirs = context.on_their_inputs(path.removeprefix(INPUTS))
    reached = next(iter(reach_of_input(theirs, path)), None) if theirs else None
    if theirs is None or reached is None:
        return known
    if known.diagnosis is not None:
        return Outcome(known.diagnosis, *_more(theirs, reached, known.diagnosis, depth, patience))
    rest = behind(theirs, reached)  # the input is right, but for rounding
    found = Outcome() if rest is None else diagnose(rest, depth + 1, patience)
    if found.diagnosis is None:
        return known
    sentence = f"besides pixels that are rounded otherwise, {found.diagnosis.sentence}"
    return replace(
        found, diagnosis=replace(found.diagnosis, sentence=sentence), remark=f"{found.remark} {known.remark}"
    )


def _of_pictures(context: Context, pictures: Pictures) -> Outcome | None:
    """What the original pictures tell of the other side's pixel_values; None where they tell nothing."""
    first = context.result.first
    ours, theirs = context.reference.inputs["pixel_values"], context.other.inputs["pixel_values"]
    if first is None or theirs.ndim != 4 or not seen(pictures, ours, first.dtype).right:
        return None  # a note says so
    found = seen(pictures, theirs, first.dtype)
    if found.pixels is None:
        return Outcome(remark=BYTES_APART) if found.right else None
    left = measure_arrays(found.pixels, theirs, first.dtype).relative
    explained = 1.0 if first.measures is None else max(0.0, 1 - left / first.relative)
    return Outcome(Diagnosis(found.identifier, found.sentence, left, explained, change(found.identifier)))


def _what_would_help(context: Context, path: str) -> str:
    """What would tell more of what the other side sees, where pixels or the first of what is made of them differ."""
    if path == PIXELS:
        more = "how they were resized, cropped and turned"
        return (
            ""
            if context.pictures
            else f"With the original pictures (pictures=, --pictures) more can be tested: {more}."
        )
    early = path.endswith(("patch_embed", "embeddings")) and not context.is_text(path)
    if not early or "pixel_values" in context.other.inputs:
        return ""
    more = "" if context.pictures else ", and pass the pictures (pictures=, --pictures)"
    return (
        f"The other side recorded no pixel_values: record them as {PIXELS}{more}, to tell what it sees from what it "
        "computes."
    )


def _agrees_behind(context: Context, path: str) -> str | None:
    """A path of the same output as `path`, or of the stage or tokens made from it, at which both sides agree."""
    before, dot, name = path.rpartition(".")
    alias = f"{before}{dot}{ALIASES.get(name, '')}"
    if before in ("", *(tower.rstrip(".") for tower in TOWERS)) and alias in context.good:
        return alias
    layer = re.match(r".*layers\.\d+(?=\.)", path)
    return layer[0] if layer and layer[0] in context.innocent else None


def _more(context: Context, reached: Extent, known: Diagnosis, depth: int, patience: Patience) -> tuple[str, bool]:
    """What is wrong besides a fault that is `known`, in a sentence; whether all is known that is wrong."""
    rest = behind(context, reached)
    if rest is None:
        return "", reached.unexplained is None
    if rest.result.first is None or depth >= MOST:
        return "", False
    path = rest.result.first.path
    outcome = diagnose(rest, depth + 1, patience)
    about = "" if path == reached.unexplained else f"Apart from that, {path} differs."
    if outcome.diagnosis is None:
        return about, False
    if about and outcome.diagnosis.identifier == known.identifier:
        return f"{AGAIN}: {outcome.diagnosis.sentence}. {outcome.remark}".strip(), outcome.complete
    return f"{about} {NEXT}: {outcome.diagnosis.sentence}. {outcome.remark}".strip(), outcome.complete
