"""Where a picture is resized to, cut out of it or padded, as processors and ports do it."""

from collections.abc import Callable, Mapping

import numpy as np

from aimv2_np.comparison.diagnosis.originals import Before, Settings, Shape
from aimv2_np.processing.transforms import center_crop
from aimv2_np.shapes import NDArray

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


def size_seen(settings: Settings) -> Shape:
    """The height and width that the model sees; KeyError where these are the picture's own."""
    size = settings.crop_size if settings.do_center_crop else settings.size
    return size["height"], size["width"]


def whole(pixels: NDArray, settings: Settings) -> NDArray:
    return pixels


def to_wanted(height: int, width: int, settings: Settings) -> Shape:
    return size_seen(settings)


def to_short_square(height: int, width: int, settings: Settings) -> Shape:
    return settings.size["shortest_edge"], settings.size["shortest_edge"]


def _covering(wanted: Shape, height: int, width: int, number: Callable[[float], int] = int) -> Shape:
    """The smallest height and width in the picture's ratio that cover `wanted`."""
    scale = max(wanted[0] / height, wanted[1] / width)
    return max(wanted[0], number(height * scale)), max(wanted[1], number(width * scale))


def rounded_edge(height: int, width: int, settings: Settings) -> Shape:
    short = settings.size["shortest_edge"]
    return _covering((short, short), height, width, round)


def rounded_up_edge(height: int, width: int, settings: Settings) -> Shape:
    short = settings.size["shortest_edge"]
    return _covering((short, short), height, width, lambda size: int(np.ceil(size - 1e-6)))


def to_crop(height: int, width: int, settings: Settings) -> Shape:
    settings.size["shortest_edge"]  # only where the edge is what is told
    return _covering(size_seen(settings), height, width)


def in_ratio(height: int, width: int, settings: Settings) -> Shape:
    return _covering((settings.size["height"], settings.size["width"]), height, width)


def within(number: Callable[[float], int]) -> Callable[[int, int, Settings], Shape]:
    """The largest height and width in the picture's ratio that fit into what the model sees."""

    def shape(height: int, width: int, settings: Settings) -> Shape:
        wanted = size_seen(settings)
        scale = min(wanted[0] / height, wanted[1] / width)
        return max(1, number(height * scale)), max(1, number(width * scale))

    return shape


def cut_from(start: Callable[[int, int], int]) -> Cut:
    """Cut from where `start` says: of an axis and what is wanted of it, the first pixel."""

    def cut(pixels: NDArray, settings: Settings) -> NDArray:
        (height, width), (rows, columns) = size_seen(settings), pixels.shape[:2]
        return _cut(pixels, start(rows, height), start(columns, width), height, width)

    return cut


def _cut(pixels: NDArray, top: int, left: int, height: int, width: int) -> NDArray:
    """Part of a picture; ValueError where it reaches beyond it."""
    if not (0 <= top <= pixels.shape[0] - height and 0 <= left <= pixels.shape[1] - width):
        raise ValueError("the part reaches beyond the picture")
    return pixels[top : top + height, left : left + width]


def cut_off_by(down: int, right: int) -> Cut:
    """The middle, so many pixels off."""

    def cut(pixels: NDArray, settings: Settings) -> NDArray:
        height, width = size_seen(settings)
        top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
        return _cut(pixels, top + down, left + right, height, width)

    return cut


def padded(colour: Callable[[Settings], NDArray], start: Callable[[int], int]) -> Cut:
    """On a canvas of what the model sees, at the `start` of the free space on each axis."""

    def cut(pixels: NDArray, settings: Settings) -> NDArray:
        height, width = size_seen(settings)
        rows, columns = pixels.shape[:2]
        canvas = np.broadcast_to(colour(settings), (height, width, 3)).astype(np.float64)
        top, left = start(height - rows), start(width - columns)
        canvas[top : top + rows, left : left + columns] = pixels
        return canvas

    return cut


def middle_square(pixels: NDArray, settings: Settings) -> NDArray:
    """The largest part in the middle that has the ratio of what the model sees."""
    (height, width), (rows, columns) = size_seen(settings), pixels.shape[:2]
    scale = min(rows / height, columns / width)
    return center_crop(pixels, int(height * scale), int(width * scale))


def own_size(height: int, width: int, settings: Settings) -> Shape:
    return height, width


def squared(colour: Callable[[Settings], NDArray], start: Callable[[int], int]) -> Before:
    """Padded to a square before it is resized, at the `start` of the free space on each axis."""

    def before(pixels: NDArray, settings: Settings) -> NDArray:
        rows, columns = pixels.shape[:2]
        edge = max(rows, columns)
        canvas = np.empty((edge, edge, 3), np.uint8)
        canvas[:] = colour(settings).astype(np.uint8)
        top, left = start(edge - rows), start(edge - columns)
        canvas[top : top + rows, left : left + columns] = pixels
        return canvas

    return before
