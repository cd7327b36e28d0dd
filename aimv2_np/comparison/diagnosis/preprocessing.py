"""Mistakes between a picture's file and pixel_values: the filter, the size, the crop, the orientation.

Each is the processor's steps with one exchanged; they need the original pictures (`compare(..., pictures=...)`).
"""

from collections.abc import Callable, Mapping
from math import inf
from typing import Any

import numpy as np

from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.fault import Plant, Table, with_forward
from aimv2_np.comparison.diagnosis.framing import (
    PADDINGS,
    cut_from,
    cut_off_by,
    in_ratio,
    middle_square,
    own_size,
    padded,
    rounded_edge,
    rounded_up_edge,
    squared,
    to_crop,
    to_short_square,
    to_wanted,
    whole,
    within,
)  # fmt: skip
from aimv2_np.comparison.diagnosis.originals import RESAMPLES, Resample, Settings, Steps
from aimv2_np.comparison.diagnosis.pictures import OFF
from aimv2_np.comparison.diagnosis.resampling import (
    BICUBIC,
    BILINEAR,
    CUBIC_CORNERS,
    CUBIC_PILLOW,
    CUBIC_PYTORCH,
    FLOATS,
    LINEAR,
    LINEAR_CORNERS,
    NEAREST_CORNER,
    as_it_is,
    cut_down,
    limited,
    rounded,
)  # fmt: skip
from aimv2_np.network.patches import PatchEmbed
from aimv2_np.shapes import NDArray
from aimv2_np.tree.module import Module

Rounding = Callable[[NDArray], NDArray]


def _always(resample: Resample) -> Callable[[Settings], Resample]:
    return lambda settings: resample


def _other_than(number: int, resample: Resample) -> Callable[[Settings], Resample]:
    """A filter, Pillow's of that number or one like it; ValueError where that is the processor's own."""

    def chosen(settings: Settings) -> Resample:
        if settings.resample == number:
            raise ValueError("the processor's own filter")
        return resample

    return chosen


def _floats(rounding: Callable[[NDArray], NDArray]) -> Steps:
    """The processor's own filter, not rounded yet, and what is made of it then."""
    return Steps(resample=lambda settings: FLOATS[settings.resample], rounded=rounding)


NUMBERS: Mapping[str, Callable[[float], int]] = {"": int, ", the shorter edge rounded": round}
STARTS: Mapping[str, Callable[[int], int]] = {
    "on both sides": lambda free: free // 2,
    "on both sides, an odd pixel more at the start": lambda free: -(-free // 2),
    "at the end": lambda free: 0,
}
SQUARE_COLOURS = ("black", "white", "grey (128)", "grey (127)", "grey (114)", "the mean")
SQUARE_STARTS = {where: STARTS[where] for where in ("on both sides", "at the end")}
# How a picture is resized → Pillow's number of that filter; varieties: how it is resized, and rounded.
FILTERS: Mapping[str, tuple[int, Mapping[str, tuple[Resample, Rounding]]]] = {
    "bilinear": (
        2, {"": (RESAMPLES[2], as_it_is), ", rounded once": (BILINEAR, rounded), ", in fractions": (BILINEAR, as_it_is)}
    ),
    "by nearest neighbours": (
        0, {"": (RESAMPLES[0], as_it_is), ", whose places are cut down": (NEAREST_CORNER, as_it_is)}
    ),
    "with Lanczos' filter": (1, {"": (RESAMPLES[1], as_it_is)}),
    "bicubic": (
        3, {"": (RESAMPLES[3], as_it_is), ", rounded once": (BICUBIC, rounded), ", in fractions": (BICUBIC, as_it_is)}
    ),
    "by the averages of boxes": (4, {"": (RESAMPLES[4], as_it_is)}),
    "with Hamming's filter": (5, {"": (RESAMPLES[5], as_it_is)}),
}  # fmt: skip
WITHOUT: Mapping[str, Resample] = {
    "bilinear without antialiasing": LINEAR,
    "bicubic without antialiasing": CUBIC_PILLOW,
    "bicubic (a = -3/4) without antialiasing": CUBIC_PYTORCH,
    "bilinear (align_corners) without antialiasing": LINEAR_CORNERS,
    "bicubic (align_corners) without antialiasing": CUBIC_CORNERS,
}
ROUNDINGS: Mapping[str, Rounding] = {
    "": rounded,
    ", in fractions": limited,
    ", in fractions, some of them below 0 or above 255": as_it_is,
}
# Identifier → sentence → varieties of it, how the sentence ends → the steps of somebody with that fault.
WAYS: Mapping[str, Mapping[str, Mapping[str, Steps]]] = {
    "exif_orientation": {
        "the pictures are turned upright by their EXIF orientation; the reference takes them as they are stored": (
            {"": Steps(turned=lambda settings: True)}
        ),
        "the pictures are taken as they are stored; the reference turns them upright by their EXIF orientation": (
            {"": Steps(turned=lambda settings: False)}
        ),
    },
    "wrong_resample": {
        f"the pictures are resized {name}": {
            end: Steps(resample=_other_than(number, resample), rounded=rounding)
            for end, (resample, rounding) in ways.items()
        }
        for name, (number, ways) in FILTERS.items()
    },
    "no_antialias": {
        f"the pictures are resized {name}": {
            end: Steps(resample=_always(resample), rounded=rounding) for end, rounding in ROUNDINGS.items()
        }
        for name, resample in WITHOUT.items()
    },
    "resize_not_rounded": {
        "the resized pixels are not rounded to bytes": {
            "": _floats(limited),
            ", nor cut off at 0 and 255": _floats(as_it_is),
        },
        "the resized pixels are cut down to bytes, not rounded": {"": _floats(cut_down)},
    },
    "squashed": {
        "the pictures are squashed to the size that the model sees, without keeping their ratio": (
            {"": Steps(shape=to_wanted, cut=whole)}
        ),
        "the pictures are squashed to a square without keeping their ratio, then cropped": (
            {"": Steps(shape=to_short_square)}
        ),
    },
    "ratio_kept": {
        "the pictures keep their ratio, and their middle is cut out": {"": Steps(shape=in_ratio, cut=cut_off_by(0, 0))},
    },
    "letterboxed": {
        "the pictures are resized to fit in whole and padded": {
            f" with {colour} {where}{edge}": Steps(shape=within(number), cut=padded(of, start))
            for colour, of in PADDINGS.items()
            for where, start in STARTS.items()
            for edge, number in NUMBERS.items()
        },
        "the pictures are padded to a square, then resized": {
            f", with {colour} {where}": Steps(before=squared(PADDINGS[colour], start), shape=to_wanted, cut=whole)
            for colour in SQUARE_COLOURS
            for where, start in SQUARE_STARTS.items()
        },
        "the pictures are resized by their longer edge": {
            edge: Steps(shape=within(number), cut=whole) for edge, number in NUMBERS.items()
        },
    },
    "wrong_size": {
        "the longer edge of the resized pictures is rounded": {
            "": Steps(shape=rounded_edge),
            " up": Steps(shape=rounded_up_edge),
        },
        "the shorter edge is resized to what the crop keeps": {"": Steps(shape=to_crop)},
        "the pictures are cropped without being resized": {"": Steps(shape=own_size, cut=cut_off_by(0, 0))},
        "the pictures are cropped to a square, then resized": (
            {"": Steps(before=middle_square, shape=to_wanted, cut=whole)}
        ),
    },
    "not_cropped": {"the resized pictures are not cropped": {"": Steps(cut=whole)}},
    "crop_off_by_one": {
        f"the pictures are cropped one pixel {words}": {"": Steps(cut=cut_off_by(*by))} for words, by in OFF.items()
    },
    "crop_from_corner": {
        "the pictures are cropped from the upper left corner": {"": Steps(cut=cut_from(lambda size, kept: 0))},
        "the pictures are cropped from the lower right corner": {
            "": Steps(cut=cut_from(lambda size, kept: size - kept))
        },
    },
}


def _plant(steps: Steps) -> Plant:
    """A patch embedding that sees what these steps make of the original pictures."""

    def plant(embed: Any, path: str, context: Context) -> Module | None:
        pictures, seen = context.pictures, context.input("pixel_values")
        if pictures is None or seen is None:
            return None
        found = list(pictures.by(steps))
        if pictures.distance(found, seen) in (0, inf):
            return None
        pixels = np.stack(found)
        return with_forward(embed, lambda m, x: type(m).forward(m, pixels.astype(x.dtype)))

    return plant


FAULTS: Table = {
    (identifier, PatchEmbed): {
        f"what {{path}} sees is wrong: {sentence}{end}": _plant(steps)
        for sentence, varieties in ways.items()
        for end, steps in varieties.items()
    }
    for identifier, ways in WAYS.items()
}
