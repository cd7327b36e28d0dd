"""What pixel_values are to the original pictures: what the processor makes of them, or somebody with a mistake.

Errors are counted in grey levels, 0 to 255, as they were before the pixels were normalised. Two faithful ways to resize
bytes, such as Pillow's and torchvision's, differ by a level here and there, by two where a picture is much enlarged: up
to that, nothing is called a mistake unless a mistake gives these very numbers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np

from aimv2_np.backends.dtypes import EPS
from aimv2_np.comparison.diagnosis.originals import ROUNDING, Pictures, Steps
from aimv2_np.comparison.diagnosis.preprocessing import WAYS
from aimv2_np.recording.recording import Recording
from aimv2_np.shapes import NDArray

# Grey levels: what float32 makes of another order of operations; what roundings to bytes do at most, and on average.
EXACT, AVERAGE = 0.02, 0.75
HALF_OF_ALL = 180.0  # normalised pixels reach 2.6 deviations, which is so many levels: what their rounding is part of
EXPLAINED = 0.5  # of the error a mistake leaves at most so much, where it is not exact: the rest is rounding to bytes
ALIKE, FLOOR = 2.0, 0.005  # mistakes that leave at most so many times the least error, or so many levels more


@dataclass(frozen=True)
class Seen:
    """What some pixel_values are.

    Attributes:
        largest: their largest error in grey levels from what the processor makes of the pictures.
        right: whether that is no more than rounding to bytes.
        identifier: of the mistake that gives them, or of several that the pictures do not tell apart, with " or "
            between; "" where there is none, or none is known.
        sentence: the same in words.
        pixels: what these make of the pictures, (B, 3, h, w).
    """

    largest: float
    right: bool
    identifier: str = ""
    sentence: str = ""
    pixels: NDArray | None = None


@dataclass(frozen=True)
class _Fit:
    identifier: str
    sentence: str
    end: str
    pixels: Sequence[NDArray]
    largest: float
    average: float  # root of the mean square


def seen(pictures: Pictures, pixels: NDArray, dtype: str = "float32") -> Seen:
    """What pixels (B, 3, h, w), which were rounded to `dtype`, are to the pictures."""
    exact = EXACT + HALF_OF_ALL * EPS[dtype]
    largest, average = _errors(pictures, pictures.right, pixels)
    right = largest <= ROUNDING + exact and average <= AVERAGE + exact
    if largest <= exact:
        return Seen(largest, right)
    fits = list(_fits(pictures, pixels, ROUNDING + exact, exact))
    if close := [fit for fit in fits if fit.largest <= exact]:
        fits = close
    elif right:
        fits = []
    else:
        fits = [fit for fit in fits if fit.average <= min(AVERAGE + exact, EXPLAINED * average)]
    if not fits:
        return Seen(largest, right)
    least = min(fit.average for fit in fits)
    fits = [fit for fit in fits if fit.average <= ALIKE * least + FLOOR]
    sentences = {fit.sentence: _ending([other.end for other in fits if other.sentence == fit.sentence]) for fit in fits}
    several = "; the pictures do not tell them apart" if len(sentences) > 1 else ""
    return Seen(
        largest, right, " or ".join(dict.fromkeys(fit.identifier for fit in fits)),
        "; or ".join(map("".join, sentences.items())) + several, np.stack(fits[0].pixels),
    )  # fmt: skip


def _ending(ends: Sequence[str]) -> str:
    """Of several endings of one sentence that fit alike the one that says no more than the others; "" without one."""
    shortest = min(ends, key=len)
    return shortest if all(end.startswith(shortest) for end in ends) else ""


def _fits(pictures: Pictures, pixels: NDArray, most: float, exact: float) -> Iterator[_Fit]:
    """The mistakes that give the pixels, up to `most` grey levels, and are told by the pictures from what is right."""
    for identifier, ways in WAYS.items():
        for sentence, varieties in ways.items():
            for end, steps in varieties.items():
                found = _within(pictures, steps, pixels, most)
                if found and not pictures.distance(found, pictures.right) <= exact:
                    yield _Fit(identifier, sentence, end, found, *_errors(pictures, found, pixels))


def _within(pictures: Pictures, steps: Steps, pixels: NDArray, most: float) -> list[NDArray]:
    """What these steps make of the pictures; nothing where one is more than so many grey levels from its pixels."""
    found: list[NDArray] = []
    for ours in pictures.by(steps):
        if not pictures.distance([ours], pixels[len(found) : len(found) + 1]) <= most:
            return []
        found.append(ours)
    return found if len(found) == len(pixels) else []


def _errors(pictures: Pictures, ours: Sequence[NDArray], pixels: NDArray) -> tuple[float, float]:
    """The largest error in grey levels, and the root of their mean square; infinite for other shapes."""
    largest = pictures.distance(ours, pixels)
    if not largest < inf:
        return inf, inf
    return largest, sqrt(np.mean([np.mean(pictures.levels(a, b) ** 2) for a, b in zip(ours, pixels, strict=True)]))


def notes_on(pictures: Pictures | None, reference: Recording, other: Recording) -> list[str]:
    """A note where the pictures do not give the reference's pixel_values; none without pictures."""
    ours = reference.inputs.get("pixel_values")
    if pictures is None or ours is None:
        return []
    found = seen(pictures, ours, reference.metadata.get("dtype", str(ours.dtype)))
    if found.right:
        return []
    far = f"are up to {found.largest:.0f} grey levels away" if found.largest < inf else "have another shape"
    words = found.sentence or f"they {far}; are these the pictures, in their order?"
    theirs = other.inputs.get("pixel_values")
    also = theirs is not None and theirs.ndim == 4 and seen(pictures, theirs).right
    rest = "; the other side's are" if also else ""
    return [f"the reference's pixel_values are not what its image processor makes of the pictures{rest}: {words}"]
