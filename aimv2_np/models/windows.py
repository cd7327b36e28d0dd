"""Sliding windows: images larger than the model's grid, seen piece by piece at the size that it was trained for.

    y_rc = the mean, over all windows that hold patch (r, c), of what the window's tokens say there

Windows begin at multiples of the stride, and at the far edge, so that every patch is seen. Where one window holds the
image, the result is the plain one.
"""

from collections.abc import Sequence
from itertools import product
from typing import Any

from aimv2_np.backends.arrays import namespace, widen
from aimv2_np.config import Aimv2VisionConfig
from aimv2_np.models.features import Features, check_layers, features_of_batch
from aimv2_np.models.inputs import check_pixel_values
from aimv2_np.models.packing import packs
from aimv2_np.network.view import EVERYONE
from aimv2_np.network.vision import VisionTower


def extract_windows(
    tower: VisionTower,
    config: Aimv2VisionConfig,
    pixel_values: Any,
    layers: Sequence[int],
    window: int | tuple[int, int] | None,
    stride: int | tuple[int, int] | None,
    norm: bool,
    max_tokens: int | None,
) -> Features:
    """`Aimv2VisionModel.extract_windows`, which documents arguments, result and errors."""
    wanted = check_layers(layers, len(tower.encoder.layers))
    like = tower.embeddings.rms_norm.weight
    pixels = check_pixel_values(pixel_values, config, like, interpolate=True)
    ph, pw = config.patch_shape
    grid = tower.embeddings.grid_of(pixels)
    size = _window(window, grid, config)
    step = _pair(stride, "stride") if stride is not None else (-(-size[0] // 2), -(-size[1] // 2))
    if step[0] > size[0] or step[1] > size[1]:
        raise ValueError(
            f"stride is {stride!r}, more than the window's {size[0]}x{size[1]} patches, and would skip some"
        )
    ends = (grid[0] - size[0], grid[1] - size[1])  # where the last windows begin
    corners = list(product(*([*range(0, end, by), end] for end, by in zip(ends, step, strict=True))))
    xp, batch, width = namespace(like), len(pixels), like.shape[0]
    sums = [xp.zeros((batch, *grid, width), widen(like[:0]).dtype) for _ in wanted]
    seen = xp.zeros((*grid, 1), widen(like[:0]).dtype)
    for pack in packs([batch * size[0] * size[1]] * len(corners), max_tokens):
        some = corners[pack]
        cut = [pixels[:, :, r * ph : (r + size[0]) * ph, c * pw : (c + size[1]) * pw] for r, c in some]
        found = features_of_batch(tower, xp.concatenate(cut), EVERYONE, wanted, "tokens", norm)
        for total, values in zip(sums, found.values, strict=True):
            for i, (r, c) in enumerate(some):
                part = values[i * batch : (i + 1) * batch].reshape(batch, *size, width)
                total[:, r : r + size[0], c : c + size[1]] += part
        for r, c in some:
            seen[r : r + size[0], c : c + size[1]] += 1
    means = ((total / seen).reshape(batch, -1, width) for total in sums)
    return Features(tuple(mean.astype(like.dtype, copy=False) for mean in means), wanted, grid)


def _window(window: int | tuple[int, int] | None, grid: tuple[int, int], config: Aimv2VisionConfig) -> tuple[int, int]:
    """Rows and columns of patches of a window: by default the model's grid, at most the image's."""
    size = config.grid if window is None else _pair(window, "window")
    smaller = (min(size[0], grid[0]), min(size[1], grid[1]))
    if not config.is_native and size != config.grid:
        raise ValueError(
            f"window is {window!r}, and the model has learned positions for {config.grid[0]}x{config.grid[1]} patches; "
            "leave it out, or use a native model"
        )
    if not config.is_native and smaller != size:
        raise ValueError(
            f"pixel_values make a grid of {grid[0]}x{grid[1]} patches, smaller than the model's {size[0]}x{size[1]}; "
            f"resize the images to {config.image_shape[0]}x{config.image_shape[1]} pixels at least"
        )
    return smaller


def _pair(value: Any, name: str) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else value
    if not (
        isinstance(pair, tuple | list) and len(pair) == 2 and all(type(number) is int and number > 0 for number in pair)
    ):
        raise ValueError(f"{name} is {value!r:.80}; expected a number of patches from 1 up, or (rows, columns)")
    return pair[0], pair[1]
