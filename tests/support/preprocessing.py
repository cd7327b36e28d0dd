"""A picture's way to pixel_values as somebody would port it, with Pillow and loops; each fault overrides one method.

It shares no code with the package.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from tests.support.faults import MEAN, STD
from tests.support.port import Port

NDArray = np.ndarray[Any, np.dtype[Any]]


class Preprocessing:
    """`Preprocessing(short=, crop=)` or `Preprocessing(exact=(h, w))`; called with a picture it gives (3, h, w)."""

    def __init__(self, short: int = 0, crop: int = 0, exact: tuple[int, int] = (0, 0)) -> None:
        self.short, self.exact, self.seen = short, exact, exact if exact[0] else (crop, crop)

    def turned(self, image: Image.Image) -> Image.Image:
        return image

    def target(self, height: int, width: int) -> tuple[int, int]:
        if self.exact[0]:
            return self.exact
        if height < width:
            return self.short, int(self.short * width / height)
        return int(self.short * height / width), self.short

    def resize(self, image: Image.Image, height: int, width: int) -> NDArray:
        return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC), float)

    def start(self, size: int, kept: int, axis: int) -> int:
        return (size - kept) // 2

    def cut(self, pixels: NDArray) -> NDArray:
        top, left = (self.start(pixels.shape[axis], self.seen[axis], axis) for axis in (0, 1))
        return pixels[top : top + self.seen[0], left : left + self.seen[1]]

    def __call__(self, image: Image.Image) -> NDArray:
        image = self.turned(image).convert("RGB")
        pixels = self.cut(self.resize(image, *self.target(image.height, image.width)))
        return ((pixels.transpose(2, 0, 1) / 255 - MEAN) / STD).astype(np.float32)


def resized(filter: Image.Resampling) -> dict[str, Any]:
    """With another of Pillow's filters."""
    return {"resize": lambda self, image, h, w: np.asarray(image.resize((w, h), filter), float)}


def sampled(kernel: Callable[[float], float], corners: bool = False) -> Callable[..., NDArray]:
    """Each new pixel from the 4 x 4 old ones around it, and no more however small the picture becomes."""

    def resize(self: Preprocessing, image: Image.Image, height: int, width: int) -> NDArray:
        old = np.asarray(image, float)
        for axis, size in enumerate((height, width)):
            count, lines = old.shape[axis], []
            for i in range(size):
                x = i * (count - 1) / (size - 1) if corners else (i + 0.5) * count / size - 0.5
                first = int(np.floor(x)) - 1
                taps = [(kernel(x - j), min(max(j, 0), count - 1)) for j in range(first, first + 4)]
                lines.append(sum(weight * old.take(j, axis) for weight, j in taps))
            old = np.stack(lines, axis)
        return old

    return resize


def triangle(s: float) -> float:
    return max(0.0, 1 - abs(s))


def cubic(a: float) -> Callable[[float], float]:
    return lambda s: Port.cubic(s, a)


def floats(image: Image.Image, height: int, width: int, filter: Image.Resampling) -> NDArray:
    """Pillow's filter on each channel as floating point, which it does not round."""
    channels = [band.convert("F").resize((width, height), filter) for band in image.split()]
    return np.stack([np.asarray(channel, float) for channel in channels], -1)


def bytes_of(pixels: NDArray) -> NDArray:
    return np.clip(np.floor(pixels + 0.5), 0, 255)


def within(self: Preprocessing, height: int, width: int) -> tuple[int, int]:
    scale = min(self.seen[0] / height, self.seen[1] / width)
    return int(height * scale), int(width * scale)


def pad(colour: Any, share: float) -> Callable[..., NDArray]:
    def cut(self: Preprocessing, pixels: NDArray) -> NDArray:
        free = [seen - size for seen, size in zip(self.seen, pixels.shape, strict=False)]
        before = [int(share * size) for size in free]
        canvas = np.empty((*self.seen, 3))
        canvas[:] = colour
        canvas[before[0] : before[0] + pixels.shape[0], before[1] : before[1] + pixels.shape[1]] = pixels
        return canvas

    return cut


def off(down: int, right: int) -> dict[str, Any]:
    return {"start": lambda self, size, kept, axis: (size - kept) // 2 + (down, right)[axis]}


def squared(self: Preprocessing, image: Image.Image) -> Image.Image:
    """LLaVA's `expand2square`."""
    image, edge = image.convert("RGB"), max(image.size)
    canvas = Image.new("RGB", (edge, edge), tuple(int(255 * x) for x in MEAN.ravel()))
    canvas.paste(image, ((edge - image.width) // 2, (edge - image.height) // 2))
    return canvas


def middle(self: Preprocessing, image: Image.Image) -> Image.Image:
    edge = min(image.size)
    left, top = (image.width - edge) // 2, (image.height - edge) // 2
    return image.crop((left, top, left + edge, top + edge))


FILTER = Image.Resampling
EVERY, CROPS = "crop larger exact wide", "crop larger"
# What is wrong → what it is to be called, the processors that it is wrong for, the methods that it overrides.
# fmt: off
FAULTS: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "bilinear": ("wrong_resample", EVERY, resized(FILTER.BILINEAR)),
    "nearest": ("wrong_resample", EVERY, resized(FILTER.NEAREST)),
    "Lanczos": ("wrong_resample", EVERY, resized(FILTER.LANCZOS)),
    "box": ("wrong_resample", EVERY, resized(FILTER.BOX)),
    "Hamming": ("wrong_resample", EVERY, resized(FILTER.HAMMING)),
    "bilinear in floats": ("wrong_resample", EVERY, {
        "resize": lambda self, image, h, w: floats(image, h, w, FILTER.BILINEAR)
    }),
    "bilinear, rounded otherwise": ("wrong_resample", EVERY, {
        "resize": lambda self, image, h, w: bytes_of(floats(image, h, w, FILTER.BILINEAR))
    }),
    "bilinear, no antialias": ("no_antialias", EVERY, {"resize": sampled(triangle)}),
    "OpenCV's bilinear": ("no_antialias", EVERY, {"resize": lambda *args: bytes_of(sampled(triangle)(*args))}),
    "OpenCV's bicubic": ("no_antialias", EVERY, {"resize": lambda *args: bytes_of(sampled(cubic(-0.75))(*args))}),
    "bicubic, no antialias": ("no_antialias", EVERY, {"resize": sampled(cubic(-0.5))}),
    "align_corners": ("no_antialias", EVERY, {"resize": sampled(triangle, corners=True)}),
    "not rounded": ("resize_not_rounded", EVERY, {
        "resize": lambda self, image, h, w: floats(image, h, w, FILTER.BICUBIC)
    }),
    "not rounded, cut off": ("resize_not_rounded", EVERY, {
        "resize": lambda self, image, h, w: np.clip(floats(image, h, w, FILTER.BICUBIC), 0, 255)
    }),
    "squashed": ("squashed", CROPS, {"target": lambda self, h, w: self.seen}),
    "squashed, then cropped": ("squashed", CROPS, {"target": lambda self, h, w: (self.short, self.short)}),
    "ratio kept": ("ratio_kept", "exact", {
        "target": lambda self, h, w: Preprocessing(28, 28).target(h, w)
    }),
    "letterbox": ("letterboxed", EVERY, {"target": within, "cut": pad(0, 0.5)}),
    "letterbox of the mean": ("letterboxed", EVERY, {"target": within, "cut": pad(255 * MEAN.ravel(), 0.5)}),
    "padded at the end": ("letterboxed", EVERY, {"target": within, "cut": pad(255, 0)}),
    "padded, then resized": ("letterboxed", "crop exact", {"turned": squared}),
    "longer edge": ("letterboxed", CROPS, {"target": within, "cut": lambda self, pixels: pixels}),
    "longer edge rounded": ("wrong_size", "larger", {
        "target": lambda self, h, w: tuple(round(self.short * n / min(h, w)) for n in (h, w))
    }),
    "not resized": ("wrong_size", CROPS, {"target": lambda self, h, w: (h, w)}),
    "cropped first": ("wrong_size", "crop", {"turned": middle}),
    "not cropped": ("not_cropped", CROPS, {"cut": lambda self, pixels: pixels}),
    "one up": ("crop_off_by_one", "larger", off(-1, 0)),
    "one down": ("crop_off_by_one", "larger", off(1, 0)),
    "one to the left": ("crop_off_by_one", "larger", off(0, -1)),
    "one down and to the right": ("crop_off_by_one", "larger", off(1, 1)),
    "upper left corner": ("crop_from_corner", CROPS, {"start": lambda self, size, kept, axis: 0}),
    "lower right corner": ("crop_from_corner", CROPS, {"start": lambda self, size, kept, axis: size - kept}),
    "turned upright": ("exif_orientation", EVERY, {"turned": lambda self, image: ImageOps.exif_transpose(image)}),
}
# fmt: on


def preprocessing(name: str) -> type[Preprocessing]:
    """`Preprocessing` with the fault of that name."""
    return type("Faulty", (Preprocessing,), dict(FAULTS[name][2]))
