"""Mistakes in what the model sees: channels, normalisation, flips, the batch, and the order of patches."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import permutations
from typing import Any

import numpy as np

from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.fault import Plant, Table, computing, with_forward
from aimv2_np.network.patches import PatchEmbed
from aimv2_np.network.vision import VisionEmbeddings
from aimv2_np.shapes import Array
from aimv2_np.tree.module import Module


def _by_channel(*values: float) -> Array:
    return np.array(values).reshape(-1, 1, 1)


# What all released checkpoints normalise with (OpenAI's CLIP), and what others do: mean and deviation.
NAMES = ("red", "green", "blue")
CLIP = _by_channel(0.48145466, 0.4578275, 0.40821073), _by_channel(0.26862954, 0.26130258, 0.27577711)
OTHERS = {
    "ImageNet's mean and deviation": (_by_channel(0.485, 0.456, 0.406), _by_channel(0.229, 0.224, 0.225)),
    "a mean and deviation of 0.5": (0.5, 0.5),
    "CLIP's mean and ImageNet's deviation": (CLIP[0], _by_channel(0.229, 0.224, 0.225)),
    "ImageNet's mean and CLIP's deviation": (_by_channel(0.485, 0.456, 0.406), CLIP[1]),
    "the variance in place of the deviation": (CLIP[0], CLIP[1] ** 2),
    "mean and deviation with their channels reversed": (CLIP[0][::-1], CLIP[1][::-1]),
}


def _clip_by(order: tuple[int, ...], *, mean: bool) -> tuple[Array, Array]:
    """CLIP's mean and deviation, one of them with its channels in another order."""
    return (CLIP[0][list(order)], CLIP[1]) if mean else (CLIP[0], CLIP[1][list(order)])


for order in permutations(range(3)):
    if order != (0, 1, 2):
        channels = ", ".join(NAMES[i] for i in order)
        OTHERS[f"CLIP's mean, and its deviation of {channels}"] = _clip_by(order, mean=False)
        OTHERS[f"CLIP's mean of {channels}, and its deviation"] = _clip_by(order, mean=True)


def _normalise(raw: Array, mean: Array = CLIP[0], std: Array = CLIP[1]) -> Array:
    return (raw - mean) / std


def _ordered(order: tuple[int, ...]) -> Callable[[Array], Array]:
    return lambda raw: _normalise(raw[:, list(order)])


def _all(i: int) -> Callable[[Array], Array]:
    return lambda raw: _normalise(np.broadcast_to(raw[min(i, len(raw) - 1)], raw.shape))


def _grey(*weights: float) -> Callable[[Array], Array]:
    """All channels a weighted sum of the three."""
    return lambda raw: _normalise(np.broadcast_to((raw * _by_channel(*weights)).sum(axis=1, keepdims=True), raw.shape))


def _wrapped(numbers: Array) -> Array:
    """Whole numbers from 0 to 255, of which what lies beyond comes in again at the other end."""
    return np.trunc(numbers) % 256


# Identifier → sentence → pixels (B, 3, H, W) from 0 to 1 → what somebody with that fault gives the model.
PIXELS: Mapping[str, Mapping[str, Callable[[Array], Array]]] = {
    "bgr": {
        "the pixels' channels are blue, green, red; the model wants red first": lambda raw: _normalise(raw[:, ::-1]),
        "the normalised channels are reversed; the model wants red, green, blue": lambda raw: _normalise(raw)[:, ::-1],
    },
    "channel_order": {
        f"the channels are {', '.join(NAMES[i] for i in order)}; the model wants red, green, blue": _ordered(order)
        for order in permutations(range(3))
        if order not in ((0, 1, 2), (2, 1, 0))
    },
    "channels_last": {
        "pixels (H, W, 3) are read as (3, H, W) without exchanging axes": lambda raw: (
            _normalise(raw).transpose(0, 2, 3, 1).reshape(raw.shape)
        ),
        "pixels (3, H, W) are read as (H, W, 3) without exchanging axes": lambda raw: (
            _normalise(raw).reshape(len(raw), *raw.shape[2:], 3).transpose(0, 3, 1, 2)
        ),
    },
    "missing_normalisation": {
        "the pixels are 0 to 1: subtract the mean and divide by the deviation": lambda raw: raw,
        "the pixels are 0 to 255: rescale by 1/255, subtract the mean, divide by the deviation": lambda raw: 255 * raw,
        "the pixels are normalised, but were not rescaled by 1/255 before": lambda raw: _normalise(255 * raw),
        "the mean is subtracted, but the pixels are not divided by the deviation": lambda raw: raw - CLIP[0],
        "the pixels are divided by the deviation, but the mean is not subtracted": lambda raw: raw / CLIP[1],
    },
    "normalised_twice": {
        "the pixels are normalised twice; once is right": lambda raw: _normalise(_normalise(raw)),
        "the pixels are rescaled by 1/255 twice, then normalised; once is right": lambda raw: _normalise(raw / 255),
        "the normalised pixels are divided by 255 once more": lambda raw: _normalise(raw) / 255,
    },
    "wrong_normalisation": {
        f"the pixels are normalised by {name}; AIMv2 uses CLIP's": partial(_normalise, mean=mean, std=std)
        for name, (mean, std) in OTHERS.items()
    }
    | {
        "the pixels are -1 to 1 and normalised then": lambda raw: _normalise(2 * raw - 1),
        "the pixels are inverted: white is 0": lambda raw: _normalise(1 - raw),
        "the normalised pixels are halved": lambda raw: _normalise(raw) / 2,
        "the normalised pixels are doubled": lambda raw: _normalise(raw) * 2,
        "the pixels are halved, then normalised": lambda raw: _normalise(raw / 2),
        "the pixels are doubled, then normalised": lambda raw: _normalise(raw * 2),
        "the pixels are divided by 256, and not by 255": lambda raw: _normalise(raw * 255 / 256),
        "the mean is added; it is subtracted": lambda raw: (raw + CLIP[0]) / CLIP[1],
        "the pixels are multiplied by the deviation; they are divided by it": lambda raw: (raw - CLIP[0]) * CLIP[1],
    },
    "grey": {
        "all channels are the mean of the three": _grey(1 / 3, 1 / 3, 1 / 3),
        "all channels are the brightness, 0.299 red + 0.587 green + 0.114 blue": _grey(0.299, 0.587, 0.114),
        "all channels are the brightness, 0.2126 red + 0.7152 green + 0.0722 blue": _grey(0.2126, 0.7152, 0.0722),
        **{f"all channels are {name}": _grey(*(float(i == j) for j in range(3))) for i, name in enumerate(NAMES)},
        "all channels are the mean of the three that were normalised": lambda raw: np.broadcast_to(
            _normalise(raw).mean(axis=1, keepdims=True), raw.shape
        ),
    },
    "pixels_clipped": {
        "the normalised pixels are cut off below 0": lambda raw: np.maximum(_normalise(raw), 0),
        "the normalised pixels are cut off below -1 and above 1": lambda raw: np.clip(_normalise(raw), -1, 1),
        "the normalised pixels are cut off below 0 and above 1": lambda raw: np.clip(_normalise(raw), 0, 1),
        "the pixels are cut off below 0 and above 1 before they are normalised": lambda raw: _normalise(
            np.clip(raw, 0, 1)
        ),
    },
    "pixels_wrapped": {
        "the normalised pixels are whole numbers of eight bits: what is negative wraps around": lambda raw: _wrapped(
            _normalise(raw)
        ),
        "what lies below 0 or above 255 wraps around before it is normalised": lambda raw: _normalise(
            raw - np.floor(np.rint(raw * 255) / 256) * 256 / 255
        ),
        "pixels above 127 are negative: eight bits with a sign": lambda raw: _normalise(
            raw - np.where(np.rint(raw * 255) > 127, 256 / 255, 0)
        ),
    },
    "flipped": {
        "the pictures are mirrored, left for right": lambda raw: _normalise(raw[..., ::-1]),
        "the pictures stand on their heads, mirrored": lambda raw: _normalise(raw[:, :, ::-1]),
        "the pictures are turned by 180°": lambda raw: _normalise(raw[:, :, ::-1, ::-1]),
    },
    "rows_for_columns": {
        "the pictures' rows and columns are exchanged": lambda raw: _normalise(raw.swapaxes(2, 3)),
        "the pictures are turned by 90° to the left": lambda raw: _normalise(np.rot90(raw, 1, (2, 3))),
        "the pictures are turned by 90° to the right": lambda raw: _normalise(np.rot90(raw, -1, (2, 3))),
        "pixels (H, W) are read as (W, H) without exchanging axes": lambda raw: _normalise(
            raw.reshape(*raw.shape[:2], *raw.shape[:1:-1])
        ),
    },
    "wrong_batch": {
        "all pictures of the batch are the first one": lambda raw: _normalise(np.broadcast_to(raw[:1], raw.shape)),
        **{f"all pictures of the batch are number {i + 1}": _all(i) for i in range(1, 8)},
        "all pictures of the batch are the last one": lambda raw: _normalise(np.broadcast_to(raw[-1:], raw.shape)),
        "the pictures of the batch are in reverse order": lambda raw: _normalise(raw[::-1]),
        "the pictures of the batch are moved on by one": lambda raw: _normalise(np.roll(raw, 1, axis=0)),
        "the pictures of the batch are moved back by one": lambda raw: _normalise(np.roll(raw, -1, axis=0)),
    },
}


def _raw(pixels: Array | None) -> Array | None:
    """Normalised pixels (B, 3, H, W) back to 0 … 1, in float64; None for what is none."""
    if pixels is None or pixels.ndim != 4 or pixels.shape[1] != 3:
        return None
    return pixels.astype(np.float64) * CLIP[1] + CLIP[0]


def pixel_faults(pixels: Array) -> Iterator[tuple[str, str, Array]]:
    """(identifier, sentence, the pixels that somebody with that fault would have had); (B, 3, H, W) each."""
    if (raw := _raw(pixels)) is not None:
        for identifier, ways in PIXELS.items():
            yield from ((identifier, sentence, change(raw)) for sentence, change in ways.items())


# Where a crop lies, seen from where it should → pixels down, pixels to the right.
OFF = {
    "too far up": (-1, 0), "too far down": (1, 0), "too far left": (0, -1), "too far right": (0, 1),
    "too far up and left": (-1, -1), "too far up and right": (-1, 1),
    "too far down and left": (1, -1), "too far down and right": (1, 1),
}  # fmt: skip


def moved_by_one(ours: Array, theirs: Array) -> Iterator[tuple[str, str, Array]]:
    """As `pixel_faults`: ours moved by a pixel; what comes in at the edge nobody knows, so it is the other side's."""
    if ours.ndim != 4 or theirs.shape != ours.shape:
        return
    height, width = ours.shape[2:]
    for words, (down, right) in OFF.items():
        rows, columns = slice(max(0, -down), height - max(0, down)), slice(max(0, -right), width - max(0, right))
        moved = ours[:, :, rows.start + down : rows.stop + down, columns.start + right : columns.stop + right]
        if not np.array_equal(moved, ours[:, :, rows, columns]):
            changed = theirs.copy()
            changed[:, :, rows, columns] = moved
            yield "picture_shifted", f"the pictures are cut out one pixel {words}, or moved by that", changed


def _moved(down: int, right: int, border: str | float) -> Callable[[Array], Array]:
    """Pixels 0 to 1 moved up and left by so many; what comes in is the other side, the edge, or a grey."""

    def moved(raw: Array) -> Array:
        around = ((0, 0), (0, 0), (1, 1), (1, 1))
        options = {"mode": border} if isinstance(border, str) else {"constant_values": border}
        wide = np.pad(raw, around, **options)
        height, width = raw.shape[2:]
        return _normalise(wide[:, :, 1 + down : 1 + down + height, 1 + right : 1 + right + width])

    return moved


BORDERS: dict[str, str | float] = {"the other side": "wrap", "the edge again": "edge", "black": 0.0}


def _with_pixels(change: Callable[[Array], Array]) -> Plant:
    """A patch embedding that sees the recording's pixels (0 … 1) changed by `change`."""

    def plant(embed: Any, path: str, context: Context) -> Module | None:
        raw = _raw(context.input("pixel_values"))
        if raw is None:
            return None
        right = _normalise(raw)
        changed = change(raw)
        if changed.shape == right.shape and np.array_equal(changed, right):
            return None
        return with_forward(embed, lambda m, x: type(m).forward(m, changed.astype(x.dtype)))

    return plant


def _in_order(order: Callable[[Array], Array]) -> Plant:
    """Patches in another order: `order` of the grid (rows, columns) of their numbers."""

    def forward(m: Any, pixels: Array) -> Array:
        rows, columns = (size // patch for size, patch in zip(pixels.shape[2:], m.weight.shape[2:], strict=True))
        numbers = order(np.arange(rows * columns).reshape(rows, columns))
        result: Array = type(m).forward(m, pixels)[:, numbers.ravel()]
        return result

    return computing(forward)


def by_columns(tokens: Array, rows: int, columns: int) -> Array:
    """(B, rows · columns, D) in row-major order → column-major order."""
    batch, _, size = tokens.shape
    return tokens.reshape(batch, rows, columns, size).swapaxes(1, 2).reshape(batch, rows * columns, size)


def _as_it_lies(m: Any, pixels: Array) -> Array:
    """What the convolution gives, (B, D, N), reshaped to (B, N, D) without exchanging axes."""
    y = type(m).forward(m, pixels)
    result: Array = y.swapaxes(1, 2).reshape(y.shape)
    return result


FAULTS: Table = {
    # Where the grid is another, positions are, too.
    ("rows_for_columns", VisionEmbeddings): {
        f"what {{path}} sees is wrong: {sentence}": _with_pixels(change)
        for sentence, change in PIXELS["rows_for_columns"].items()
    },
    **{
        (identifier, PatchEmbed): {
            f"what {{path}} sees is wrong: {sentence}": _with_pixels(change) for sentence, change in ways.items()
        }
        for identifier, ways in PIXELS.items()
    },
    ("picture_shifted", PatchEmbed): {
        f"what {{path}} sees is wrong: the pictures are cut out one pixel {words}, and {what} comes in": _with_pixels(
            _moved(*by, border)
        )
        for words, by in OFF.items()
        for what, border in BORDERS.items()
    },
    ("patches_column_order", PatchEmbed): {
        "{path} gives the patches column by column; they run row by row": _in_order(lambda grid: grid.T),
    },
    ("patches_reversed", PatchEmbed): {
        "{path} gives the patches from the last to the first": _in_order(lambda grid: grid[::-1, ::-1]),
        "{path} gives the rows of patches from the bottom to the top": _in_order(lambda grid: grid[::-1]),
        "{path} gives the patches of each row from right to left": _in_order(lambda grid: grid[:, ::-1]),
    },
    ("patches_not_transposed", PatchEmbed): {
        "{path} reshapes (B, D, N) to (B, N, D) without exchanging axes": computing(_as_it_lies),
    },
}
