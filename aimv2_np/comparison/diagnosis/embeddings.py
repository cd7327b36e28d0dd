"""Mistakes before the layers: pixels, the order of patches, positions."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.fault import Plant, Table, computing, with_forward
from aimv2_np.network.patches import PatchEmbed
from aimv2_np.network.text import TextEmbeddings
from aimv2_np.network.vision import VisionEmbeddings
from aimv2_np.shapes import Array
from aimv2_np.tree.module import Module
from aimv2_np.tree.recorder import observe


def _by_channel(*values: float) -> Array:
    return np.array(values).reshape(-1, 1, 1)


# What all released checkpoints normalise with (OpenAI's CLIP), and what others do: mean and deviation.
CLIP = _by_channel(0.48145466, 0.4578275, 0.40821073), _by_channel(0.26862954, 0.26130258, 0.27577711)
OTHERS = {
    "ImageNet's mean and deviation": (_by_channel(0.485, 0.456, 0.406), _by_channel(0.229, 0.224, 0.225)),
    "a mean and deviation of 0.5": (0.5, 0.5),
}


def _normalise(raw: Array, mean: Array = CLIP[0], std: Array = CLIP[1]) -> Array:
    return (raw - mean) / std


# Identifier → sentence → pixels (B, 3, H, W) from 0 to 1 → what somebody with that fault gives the model.
PIXELS: Mapping[str, Mapping[str, Callable[[Array], Array]]] = {
    "bgr": {
        "the pixels' channels are blue, green, red; the model wants red first": lambda raw: _normalise(raw[:, ::-1]),
        "the normalised channels are reversed; the model wants red, green, blue": lambda raw: _normalise(raw)[:, ::-1],
    },
    "missing_normalisation": {
        "the pixels are 0 to 1: subtract the mean and divide by the deviation": lambda raw: raw,
        "the pixels are 0 to 255: rescale by 1/255, subtract the mean, divide by the deviation": lambda raw: 255 * raw,
        "the pixels are normalised, but were not rescaled by 1/255 before": lambda raw: _normalise(255 * raw),
    },
    "wrong_normalisation": {
        f"the pixels are normalised by {name}; AIMv2 uses CLIP's": partial(_normalise, mean=mean, std=std)
        for name, (mean, std) in OTHERS.items()
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


def _with_pixels(change: Callable[[Array], Array]) -> Plant:
    """A patch embedding that sees the recording's pixels (0 … 1) changed by `change`."""

    def plant(embed: Any, path: str, context: Context) -> Module | None:
        raw = _raw(context.input("pixel_values"))
        if raw is None:
            return None
        changed = change(raw).astype(embed.weight.dtype)
        return with_forward(embed, lambda m, _: type(m).forward(m, changed))

    return plant


def _column_order(m: Any, pixels: Array) -> Array:
    rows, columns = (size // patch for size, patch in zip(pixels.shape[2:], m.weight.shape[2:], strict=True))
    return by_columns(type(m).forward(m, pixels), rows, columns)


def by_columns(tokens: Array, rows: int, columns: int) -> Array:
    """(B, rows · columns, D) in row-major order → column-major order."""
    batch, _, size = tokens.shape
    return tokens.reshape(batch, rows, columns, size).swapaxes(1, 2).reshape(batch, rows * columns, size)


def _positions(m: Any, pixels: Array) -> Array:
    return m.positions(m.grid_of(pixels)).astype(pixels.dtype, copy=False)


def _height_first(embeddings: Any, *_: Any) -> Module | None:
    """Sine-cosine positions with the row first."""

    def forward(m: Any, pixels: Array) -> Array:
        positions = _positions(m, pixels)
        positions = np.roll(positions, positions.shape[1] // 2, axis=1)
        observe("position_embedding", positions)
        return m.rms_norm(m.patch_embed(pixels)) + positions

    return with_forward(embeddings, forward) if embeddings.position_embedding is None else None


def _before_norm(m: Any, pixels: Array) -> Array:
    positions = _positions(m, pixels)
    observe("position_embedding", positions)
    return m.rms_norm(m.patch_embed(pixels) + positions)


FAULTS: Table = {
    **{
        (identifier, PatchEmbed): {
            f"what {{path}} sees is wrong: {sentence}": _with_pixels(change) for sentence, change in ways.items()
        }
        for identifier, ways in PIXELS.items()
    },
    ("patches_column_order", PatchEmbed): {
        "{path} gives the patches column by column; they run row by row": computing(_column_order),
    },
    ("positions_h_first", VisionEmbeddings): {
        "{path} puts the row's sines first: the halves are [column | row], width first": _height_first,
    },
    ("positions_before_norm", VisionEmbeddings): {
        "{path} adds positions before the norm; they belong after it": computing(_before_norm),
    },
    ("missing_positions", VisionEmbeddings): {
        "{path} adds no positions": computing(lambda m, pixels: m.rms_norm(m.patch_embed(pixels))),
    },
    ("missing_positions", TextEmbeddings): {
        "{path} adds no positions": computing(lambda m, ids: m.token_embedding(ids)),
    },
}
