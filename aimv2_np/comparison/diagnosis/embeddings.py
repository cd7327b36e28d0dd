"""Mistakes before the blocks: pixels, the order of patches, positions."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.fault import Fault, Variants, with_forward
from aimv2_np.models.text import TextEmbeddings
from aimv2_np.models.vision import VisionEmbeddings
from aimv2_np.network.patches import PatchEmbed
from aimv2_np.shapes import Array
from aimv2_np.tree.tracing import record

# What all released checkpoints normalise with (OpenAI's CLIP), and what others do.
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
OTHERS = {
    "ImageNet's mean and deviation": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "a mean and deviation of 0.5": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}


def _raw(pixels: Array) -> Array:
    """Normalised pixels back to 0 … 1."""
    return pixels * _column(STD) + _column(MEAN)


def _normalised(raw: Array, mean: tuple[float, ...] = MEAN, std: tuple[float, ...] = STD) -> Array:
    return (raw - _column(mean)) / _column(std)


def _column(values: tuple[float, ...]) -> Array:
    return np.array(values).reshape(-1, 1, 1)


def pixel_faults(pixels: Array) -> Iterator[tuple[str, str, Array]]:
    """(identifier, sentence, the pixels that somebody with that fault would have had); (B, 3, H, W) each."""
    if pixels.ndim != 4 or pixels.shape[1] != 3:
        return
    wide = pixels.astype(np.float64)
    raw = _raw(wide)
    yield "bgr", "the pixels' channels are blue, green, red; the model wants red first", _normalised(raw[:, ::-1])
    yield "bgr", "the normalised pixels' channels are reversed; the model wants red, green, blue", wide[:, ::-1]
    missing = "missing_normalisation"
    yield missing, "the pixels are 0 to 1: subtract the mean and divide by the deviation", raw
    yield missing, "the pixels are 0 to 255: rescale by 1/255, subtract the mean, divide by the deviation", 255 * raw
    yield missing, "the pixels are normalised, but were not rescaled by 1/255 before", _normalised(255 * raw)
    for name, (mean, std) in OTHERS.items():
        sentence = f"the pixels are normalised by {name}; AIMv2 uses CLIP's"
        yield "wrong_normalisation", sentence, _normalised(raw, mean, std)


def _pixels(identifier: str) -> Any:
    def plant(embed: Any, path: str, context: Context) -> Variants:
        pixels = context.input("pixel_values")
        if pixels is None:
            return
        for name, sentence, changed in pixel_faults(pixels):
            if name == identifier:
                changed = changed.astype(embed.weight.dtype)
                yield (
                    f"what {path} sees is wrong: {sentence}",
                    with_forward(embed, lambda m, _, changed=changed: type(m).forward(m, changed)),
                )

    return plant


def column_order(embed: Any, path: str, context: Context) -> Variants:
    """Patches column by column."""
    pixels = context.input("pixel_values")
    if pixels is None or pixels.ndim != 4:
        return
    rows, columns = (size // patch for size, patch in zip(pixels.shape[2:], embed.weight.shape[2:], strict=True))

    def forward(m: Any, pixels: Array) -> Array:
        return by_columns(type(m).forward(m, pixels), rows, columns)

    yield f"{path} gives the patches column by column; they run row by row", with_forward(embed, forward)


def by_columns(tokens: Array, rows: int, columns: int) -> Array:
    """(B, rows · columns, D) in row-major order → column-major order."""
    batch, _, size = tokens.shape
    return tokens.reshape(batch, rows, columns, size).swapaxes(1, 2).reshape(batch, rows * columns, size)


def _positions(m: Any, pixels: Array) -> Array:
    ph, pw = m.patch_embed.weight.shape[2:]
    return m.positions((pixels.shape[2] // ph, pixels.shape[3] // pw)).astype(pixels.dtype, copy=False)


def positions_h_first(embeddings: Any, path: str, _: Context) -> Variants:
    """Sine-cosine positions with the row first."""

    def forward(m: Any, pixels: Array) -> Array:
        positions = _positions(m, pixels)
        positions = np.roll(positions, positions.shape[1] // 2, axis=1)
        record("position_embedding", positions)
        return m.rms_norm(m.patch_embed(pixels)) + positions

    if embeddings.position_embedding is None:
        yield (
            f"{path} puts the row's sines first: the halves are [column | row], width first",
            with_forward(embeddings, forward),
        )


def positions_before_norm(embeddings: Any, path: str, _: Context) -> Variants:
    """Positions added too early."""

    def forward(m: Any, pixels: Array) -> Array:
        positions = _positions(m, pixels)
        record("position_embedding", positions)
        return m.rms_norm(m.patch_embed(pixels) + positions)

    sentence = f"{path} adds positions before the norm; they belong after it"
    yield sentence, with_forward(embeddings, forward)


def missing_positions(embeddings: Any, path: str, _: Context) -> Variants:
    """Patches without positions."""
    yield f"{path} adds no positions", with_forward(embeddings, lambda m, x: m.rms_norm(m.patch_embed(x)))


def missing_text_positions(embeddings: Any, path: str, _: Context) -> Variants:
    """Tokens without positions."""
    yield f"{path} adds no positions", with_forward(embeddings, lambda m, ids: m.token_embedding(ids))


FAULTS = (
    *(
        Fault(identifier, PatchEmbed, _pixels(identifier))
        for identifier in ("bgr", "missing_normalisation", "wrong_normalisation")
    ),
    Fault("patches_column_order", PatchEmbed, column_order),
    Fault("positions_h_first", VisionEmbeddings, positions_h_first),
    Fault("positions_before_norm", VisionEmbeddings, positions_before_norm),
    Fault("missing_positions", VisionEmbeddings, missing_positions),
    Fault("missing_positions", TextEmbeddings, missing_text_positions),
)
