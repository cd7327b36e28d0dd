"""Mistakes between a picture's file and pixel_values: the filter, the size, the crop, the orientation.

Each is the processor's steps with one exchanged; they need the original pictures (`compare(..., pictures=...)`).
"""

from collections.abc import Callable, Mapping
from math import inf
from typing import Any

import numpy as np

from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.fault import Plant, Table, with_forward
from aimv2_np.comparison.diagnosis.originals import RESAMPLES, Resample, Settings, Shape, Steps
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
    cut_down,
    limited,
    rounded,
)
from aimv2_np.network.patches import PatchEmbed
from aimv2_np.processing.transforms import center_crop
from aimv2_np.shapes import NDArray
from aimv2_np.tree.module import Module

Cut = Callable[[NDArray, Settings], NDArray]
# What there is around a picture that does not fill the square → bytes of red, green and blue.
PADDINGS: Mapping[str, Callable[[Settings], NDArray]] = {
    "black": lambda settings: np.zeros(3),
    "white": lambda settings: np.full(3, 255.0),
    "grey (128)": lambda settings: np.full(3, 128.0),
    "grey (127)": lambda settings: np.full(3, 127.0),
    "grey (114)": lambda settings: np.full(3, 114.0),
    "the mean": lambda settings: np.array(settings.image_mean) / settings.rescale_factor,
    "the mean in whole numbers": lambda settings: np.floor(np.array(settings.image_mean) / settings.rescale_factor),
}


def _wanted(settings: Settings) -> Shape:
    """The height and width that the model sees; KeyError where these are the picture's own."""
    size = settings.crop_size if settings.do_center_crop else settings.size
    return size["height"], size["width"]


def _always(resample: Resample) -> Callable[[Settings], Resample]:
    return lambda settings: resample


def _instead(number: int, resample: Resample) -> Steps:
    """Another filter, Pillow's of that number or one like it, where the processor has not that one."""

    def chosen(settings: Settings) -> Resample:
        if settings.resample == number:
            raise ValueError("the processor's own filter")
        return resample

    return Steps(resample=chosen)


def _as_it_is(resample: Resample) -> Resample:
    return resample


def _floats(change: Callable[[Resample], Resample]) -> Steps:
    """The processor's own filter, before it is rounded, and changed."""
    changed = {number: change(resample) for number, resample in FLOATS.items()}
    return Steps(resample=lambda settings: changed[settings.resample])


def _whole(pixels: NDArray, settings: Settings) -> NDArray:
    return pixels


def _to_wanted(height: int, width: int, settings: Settings) -> Shape:
    return _wanted(settings)


def _to_short_square(height: int, width: int, settings: Settings) -> Shape:
    return settings.size["shortest_edge"], settings.size["shortest_edge"]


def _covering(wanted: Shape, height: int, width: int, number: Callable[[float], int] = int) -> Shape:
    """The smallest height and width in the picture's ratio that cover `wanted`."""
    scale = max(wanted[0] / height, wanted[1] / width)
    return max(wanted[0], number(height * scale)), max(wanted[1], number(width * scale))


def _rounded_edge(height: int, width: int, settings: Settings) -> Shape:
    short = settings.size["shortest_edge"]
    return _covering((short, short), height, width, round)


def _rounded_up_edge(height: int, width: int, settings: Settings) -> Shape:
    short = settings.size["shortest_edge"]
    return _covering((short, short), height, width, lambda size: int(np.ceil(size - 1e-6)))


def _to_crop(height: int, width: int, settings: Settings) -> Shape:
    settings.size["shortest_edge"]  # only where the edge is what is told
    return _covering(_wanted(settings), height, width)


def _in_ratio(height: int, width: int, settings: Settings) -> Shape:
    return _covering((settings.size["height"], settings.size["width"]), height, width)


def _within(number: Callable[[float], int]) -> Callable[[int, int, Settings], Shape]:
    """The largest height and width in the picture's ratio that fit into what the model sees."""

    def shape(height: int, width: int, settings: Settings) -> Shape:
        wanted = _wanted(settings)
        scale = min(wanted[0] / height, wanted[1] / width)
        return max(1, number(height * scale)), max(1, number(width * scale))

    return shape


def _from(start: Callable[[int, int], int]) -> Cut:
    """Cut from where `start` says: of an axis and what is wanted of it, the first pixel."""

    def cut(pixels: NDArray, settings: Settings) -> NDArray:
        (height, width), (rows, columns) = _wanted(settings), pixels.shape[:2]
        return _cut(pixels, start(rows, height), start(columns, width), height, width)

    return cut


def _cut(pixels: NDArray, top: int, left: int, height: int, width: int) -> NDArray:
    """Part of a picture; ValueError where it reaches beyond it."""
    if not (0 <= top <= pixels.shape[0] - height and 0 <= left <= pixels.shape[1] - width):
        raise ValueError("the part reaches beyond the picture")
    return pixels[top : top + height, left : left + width]


def _moved(down: int, right: int) -> Cut:
    """The middle, so many pixels off."""

    def cut(pixels: NDArray, settings: Settings) -> NDArray:
        height, width = _wanted(settings)
        top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
        return _cut(pixels, top + down, left + right, height, width)

    return cut


def _padded(colour: Callable[[Settings], NDArray], start: Callable[[int], int]) -> Cut:
    """On a canvas of what the model sees, at the `start` of the free space on each axis."""

    def cut(pixels: NDArray, settings: Settings) -> NDArray:
        height, width = _wanted(settings)
        rows, columns = pixels.shape[:2]
        canvas = np.broadcast_to(colour(settings), (height, width, 3)).astype(np.float64)
        top, left = start(height - rows), start(width - columns)
        canvas[top : top + rows, left : left + columns] = pixels
        return canvas

    return cut


def _middle_square(pixels: NDArray, settings: Settings) -> NDArray:
    """The largest part in the middle that has the ratio of what the model sees."""
    (height, width), (rows, columns) = _wanted(settings), pixels.shape[:2]
    scale = min(rows / height, columns / width)
    return center_crop(pixels, int(height * scale), int(width * scale))


def _own_size(height: int, width: int, settings: Settings) -> Shape:
    return height, width


NUMBERS: Mapping[str, Callable[[float], int]] = {"": int, ", the shorter edge rounded": round}
STARTS: Mapping[str, Callable[[int], int]] = {
    "on both sides": lambda free: free // 2,
    "on both sides, an odd pixel more at the start": lambda free: -(-free // 2),
    "at the end": lambda free: 0,
}
FILTERS: Mapping[str, tuple[int, Mapping[str, Resample]]] = {
    "bilinear": (2, {"": RESAMPLES[2], ", in fractions": BILINEAR}),
    "by nearest neighbours": (0, {"": RESAMPLES[0], ", whose places are cut down": NEAREST_CORNER}),
    "with Lanczos' filter": (1, {"": RESAMPLES[1]}),
    "bicubic": (3, {"": RESAMPLES[3], ", in fractions": BICUBIC}),
    "by the averages of boxes": (4, {"": RESAMPLES[4]}),
    "with Hamming's filter": (5, {"": RESAMPLES[5]}),
}
WITHOUT: Mapping[str, Resample] = {
    "bilinear without antialiasing": LINEAR,
    "bicubic without antialiasing": CUBIC_PILLOW,
    "bicubic (a = -3/4) without antialiasing": CUBIC_PYTORCH,
    "bilinear (align_corners) without antialiasing": LINEAR_CORNERS,
    "bicubic (align_corners) without antialiasing": CUBIC_CORNERS,
}
ROUNDINGS: Mapping[str, Callable[[Resample], Resample]] = {
    "": rounded,
    ", in fractions": limited,
    ", in fractions, some of them below 0 or above 255": _as_it_is,
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
        f"the pictures are resized {name}": {end: _instead(number, way) for end, way in ways.items()}
        for name, (number, ways) in FILTERS.items()
    },
    "no_antialias": {
        f"the pictures are resized {name}": {
            end: Steps(resample=_always(change(resample))) for end, change in ROUNDINGS.items()
        }
        for name, resample in WITHOUT.items()
    },
    "resize_not_rounded": {
        "the resized pixels are not rounded to bytes": {
            "": _floats(limited),
            ", nor cut off at 0 and 255": _floats(_as_it_is),
        },
        "the resized pixels are cut down to bytes, not rounded": {"": _floats(cut_down)},
    },
    "squashed": {
        "the pictures are squashed to the size that the model sees, without keeping their ratio": (
            {"": Steps(shape=_to_wanted, cut=_whole)}
        ),
        "the pictures are squashed to a square without keeping their ratio, then cropped": (
            {"": Steps(shape=_to_short_square)}
        ),
    },
    "ratio_kept": {
        "the pictures keep their ratio, and their middle is cut out": {"": Steps(shape=_in_ratio, cut=_moved(0, 0))},
    },
    "letterboxed": {
        "the pictures are resized to fit in whole and padded": {
            f" with {colour} {where}{edge}": Steps(shape=_within(number), cut=_padded(of, start))
            for colour, of in PADDINGS.items()
            for where, start in STARTS.items()
            for edge, number in NUMBERS.items()
        },
        "the pictures are resized by their longer edge": {
            edge: Steps(shape=_within(number), cut=_whole) for edge, number in NUMBERS.items()
        },
    },
    "wrong_size": {
        "the longer edge of the resized pictures is rounded": {
            "": Steps(shape=_rounded_edge),
            " up": Steps(shape=_rounded_up_edge),
        },
        "the shorter edge is resized to what the crop keeps": {"": Steps(shape=_to_crop)},
        "the pictures are cropped without being resized": {"": Steps(shape=_own_size, cut=_moved(0, 0))},
        "the pictures are cropped to a square, then resized": (
            {"": Steps(before=_middle_square, shape=_to_wanted, cut=_whole)}
        ),
    },
    "not_cropped": {"the resized pictures are not cropped": {"": Steps(cut=_whole)}},
    "crop_off_by_one": {
        f"the pictures are cropped one pixel {words}": {"": Steps(cut=_moved(*by))} for words, by in OFF.items()
    },
    "crop_from_corner": {
        "the pictures are cropped from the upper left corner": {"": Steps(cut=_from(lambda size, kept: 0))},
        "the pictures are cropped from the lower right corner": {"": Steps(cut=_from(lambda size, kept: size - kept))},
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
