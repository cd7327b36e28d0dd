"""Images and texts as the arguments of a model, whichever towers it has."""

from collections.abc import Sequence
from os import PathLike
from typing import Any, Unpack

from aimv2_np.models.aimv2 import vision_tower_of
from aimv2_np.models.auto import LoadedModel, load
from aimv2_np.models.options import ModelOptions, fetching
from aimv2_np.models.text import Aimv2TextModel
from aimv2_np.models.vision import Aimv2VisionModel
from aimv2_np.processing import Aimv2Processor


def load_with_inputs(
    path_or_hub_id: str | PathLike[str],
    images: Sequence[Any] = (),
    texts: Sequence[str] = (),
    *,
    max_patches: int | None = None,
    exif_transpose: bool = False,
    **options: Unpack[ModelOptions],
) -> tuple[LoadedModel, dict[str, Any]]:
    """A model and its arguments: pixel_values (B, C, H, W); input_ids and attention_mask (T, tokens), padded.

    Images of several sizes, which a native model takes, are a list of (C, h, w); those of more than `max_patches`
    patches are scaled down. `exif_transpose` turns files upright; `options` are those of `load`.

    Raises:
        ValueError: neither images nor texts, or some for a tower that the checkpoint does not have.
        FileNotFoundError, CheckpointError: no such checkpoint or image, no processor files, or damaged ones.
    """
    if not images and not texts:
        raise ValueError("images and texts are empty; expected at least one image or text")
    model = load(path_or_hub_id, **options)
    if images and isinstance(model, Aimv2TextModel):
        raise ValueError(f"images is given, but {path_or_hub_id} has a text tower only; pass texts alone")
    if texts and isinstance(model, Aimv2VisionModel):
        raise ValueError(f"texts is given, but {path_or_hub_id} has a vision tower only; pass images alone")
    processor = Aimv2Processor.from_pretrained(path_or_hub_id, **fetching(options)).upright(exif_transpose)
    bound: dict[str, Any] = {}
    if images and max_patches is not None:
        bound = {"max_patches": max_patches, "patch_size": vision_tower_of(model).config.patch_shape}
    return model, processor(images=list(images) or None, text=list(texts) or None, padding=True, **bound)
