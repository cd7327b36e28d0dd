"""Images of many sizes in one row of tokens: which go into a pack together, and which are of untrained sizes."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import Any, Final

from aimv2_np.backends.arrays import is_array, namespace
from aimv2_np.config import Aimv2VisionConfig
from aimv2_np.errors import UntrainedSizeWarning, a_type
from aimv2_np.models.inputs import check_pixel_values
from aimv2_np.models.outputs import PackedOutput
from aimv2_np.models.running import naming_argument
from aimv2_np.network.view import Packed
from aimv2_np.network.vision import VisionTower
from aimv2_np.shapes import Array, Float
from aimv2_np.tree.recorder import numbered, recording

MAX_TOKENS: Final = 16384  # of a pack: 64 MiB for each array (T, 1024) in float32
TRAINED: Final = (112, 4096)  # patches of an image that the native checkpoint has seen; arXiv:2411.14402, section 2.2
_NAMED: Final = 5  # images in a warning


def is_pack(pixel_values: Any) -> bool:
    """Whether it is a list of images (C, h, w) of which one is larger than another, and so cannot be one array."""
    if not isinstance(pixel_values, list | tuple) or not all(is_array(x) and x.ndim == 3 for x in pixel_values):
        return False
    return len({x.shape for x in pixel_values}) > 1


def check_images(
    images: Any, config: Aimv2VisionConfig, like: Array, *, interpolate: bool
) -> list[Float[Array, "C _ _"]]:
    """Images (C, h, w), or a batch of them, as arrays like `like`; a ValueError says which is wrong, and why."""
    if is_array(images) and images.ndim != 4:
        raise ValueError(f"images is an array of shape {images.shape}; expected (batch, channels, height, width)")
    if not isinstance(images, Iterable):
        raise ValueError(f"images is {a_type(images)}; expected a list of arrays (channels, height, width)")
    checked = []
    for i, image in enumerate(images):
        if not is_array(image) or image.ndim != 3:
            found = f"has shape {image.shape}" if is_array(image) else f"is {a_type(image)}"
            raise ValueError(
                f"image {i} {found}; expected an array ({config.num_channels}, height, width), "
                "as Aimv2ImageProcessor makes them"
            )
        with naming_argument(f"image {i}"):
            checked.append(check_pixel_values(image[None], config, like, interpolate=interpolate)[0])
    if not checked:
        raise ValueError("images is empty; expected at least one image")
    return checked


def packs(lengths: Sequence[int], max_tokens: int | None) -> Iterator[slice]:
    """Slices of neighbouring images with at most `max_tokens` patches together; an image that has more is alone."""
    if max_tokens is not None and (isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 1):
        raise ValueError(f"max_tokens is {max_tokens!r:.80}; expected a whole number from 1 up, or None")
    start = total = 0
    for i, length in enumerate(lengths):
        if max_tokens is not None and i > start and total + length > max_tokens:
            yield slice(start, i)
            start, total = i, 0
        total += length
    yield slice(start, len(lengths))


def warn_untrained(
    lengths: Sequence[int], config: Aimv2VisionConfig, names: Sequence[str] | None = None, *, stacklevel: int = 3
) -> bool:
    """One warning that names the images of a native model with fewer or more patches than it was trained for.

    Returns whether there are such.
    """
    least, most = TRAINED
    outside = [i for i, length in enumerate(lengths) if not least <= length <= most]
    if not config.is_native or not outside:
        return False
    named = ", ".join(f"{names[i] if names else f'image {i}'} ({lengths[i]:,})" for i in outside[:_NAMED])
    more = f" and {len(outside) - _NAMED} more" if len(outside) > _NAMED else ""
    warnings.warn(
        f"{named}{more}: the native model was trained for {least} to {most:,} patches an image, and its features "
        f"beyond may be poor; max_patches={most} (--max-patches) scales large images down",
        UntrainedSizeWarning,
        stacklevel=stacklevel,
    )
    return True


def count(tower: VisionTower, image: Float[Array, "*batch C height width"]) -> int:
    """How many patches an image has."""
    return prod(tower.embeddings.grid_of(image))


def embed_packed(tower: VisionTower, images: Sequence[Float[Array, "C _ _"]]) -> tuple[Float[Array, "1 T D"], Packed]:
    """The embedded patches of all images (T in sum) in one row, and the view in which each image sees only itself."""
    rows = []
    for i, image in enumerate(images):
        with numbered(i):
            rows.append(tower.embeddings(image[None]))
    return namespace(rows[0]).concatenate(rows, axis=1), Packed(tuple(x.shape[1] for x in rows))


def encode(tower: VisionTower, images: Sequence[Float[Array, "C _ _"]], max_tokens: int | None) -> PackedOutput:
    """What the tower makes of images (C, height, width) of any sizes, at most `max_tokens` patches at a time.

    While a recorder is active all go together, as a recording keeps one output of each module.
    """
    lengths = [count(tower, image) for image in images]
    tokens: list[Array] = []
    pooled: list[Array] = []
    for pack in packs(lengths, None if recording() else max_tokens):
        some = images[pack]
        if len({image.shape for image in some}) == 1 and not recording():  # which a GPU may have recorded
            output = tower(namespace(some[0]).stack(some))
            tokens += list(output.last_hidden_state)
        else:
            x, view = embed_packed(tower, some)
            output = tower.encode(x, view)
            tokens += [output.last_hidden_state[0, keys] for _, keys in view.slices()]
        if output.pooler_output is not None:
            pooled.append(output.pooler_output)
    grids = tuple(tower.embeddings.grid_of(image) for image in images)
    return PackedOutput(tokens, namespace(tokens[0]).concatenate(pooled) if pooled else None, grid=grids)
