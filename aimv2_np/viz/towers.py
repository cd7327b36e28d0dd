"""The parts of a model that drawings look at, and checks of the layers, heads and patches that a caller names."""

from os import PathLike
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from aimv2_np.config import Aimv2Config, Aimv2TextConfig, AnyConfig
from aimv2_np.errors import a_type
from aimv2_np.models.aimv2 import Aimv2Model
from aimv2_np.models.aimv2 import vision_tower_of as vision_tower_of  # beside the checks that go with it here
from aimv2_np.models.auto import load
from aimv2_np.models.options import ModelOptions, fetching
from aimv2_np.models.text import Aimv2TextModel
from aimv2_np.models.vision import Aimv2VisionModel
from aimv2_np.network.pooling import AttentionPoolingHead
from aimv2_np.processing import Aimv2ImageProcessor, Aimv2Processor
from aimv2_np.shapes import Array, Float
from aimv2_np.storage import expected_config

Floats = NDArray[np.floating[Any]]  # in host memory
VisionModel = Aimv2Model | Aimv2VisionModel
VisionProcessor = Aimv2Processor | Aimv2ImageProcessor

_LIT = "such as 'apple/aimv2-large-patch14-224-lit'"


def text_tower_of(model: object) -> Aimv2TextModel:
    """The text tower of a model, or the model when it is one; ValueError when there is none."""
    tower = model.text_model if isinstance(model, Aimv2Model) else model
    if not isinstance(tower, Aimv2TextModel):
        raise ValueError(f"model is {a_type(model)}; texts need a checkpoint with a text tower, {_LIT}")
    return tower


def two_towers(model: object) -> Aimv2Model:
    """The model, when it has both towers; ValueError otherwise."""
    if not isinstance(model, Aimv2Model):
        raise ValueError(
            f"model is {a_type(model)}; captions are compared with pictures by a checkpoint with both towers, {_LIT}"
        )
    return model


def pooling_head_of(tower: Aimv2VisionModel) -> AttentionPoolingHead:
    """The pooling head of a vision tower; ValueError when it has none."""
    if tower.head is None:
        raise ValueError(f"model has no pooling head (use_head is false); expected one with a head, {_LIT}")
    return tower.head


def grid_of(tower: Aimv2VisionModel, pixel_values: Float[Array, "B C height width"]) -> tuple[int, int]:
    """(rows, columns) of whole patches in pixels that the model takes."""
    height, width = tower.config.patch_shape
    return np.shape(pixel_values)[2] // height, np.shape(pixel_values)[3] // width


def check_layer(tower: Aimv2VisionModel | Aimv2TextModel, layer: int) -> int:
    """The number of a layer from 0; negative ones count from the end. ValueError when there is no such layer."""
    return check_number(layer, len(tower.encoder.layers), "layer")


def check_number(number: int, count: int, what: str) -> int:
    """The number of one of `count` things from 0; negative ones count from the end. ValueError when there is none."""
    if not -count <= number < count:
        raise ValueError(f"{what} is {number}; expected 0 to {count - 1}, or -1 for the last")
    return int(number) % count


def check_patch(grid: tuple[int, int], patch: tuple[int, int] | None) -> tuple[int, int]:
    """(row, column) of a patch from (0, 0) at the top left, by default the one in the middle; ValueError outside."""
    rows, columns = grid
    if patch is None:
        return rows // 2, columns // 2
    row, column = patch
    if not (0 <= row < rows and 0 <= column < columns):
        raise ValueError(
            f"patch is {row}, {column}; expected a row from 0 to {rows - 1} and a column from 0 to {columns - 1}: the "
            f"picture has {rows} x {columns} patches"
        )
    return int(row), int(column)


def load_explained(
    folder: str | PathLike[str], *, captions: bool, **options: Unpack[ModelOptions]
) -> tuple[VisionModel, Aimv2Processor]:
    """The model and the processor in a folder or of a hub id, for pictures and, with `captions`, texts.

    Takes the options of `load` and raises what it raises; ValueError for a checkpoint that lacks a tower, where its
    configuration tells, before its weights are fetched.
    """
    hub = fetching(options)
    if config := expected_config(folder, options.get("prefix"), **hub):
        _check_kind(config, folder, captions)
    model = load(folder, **options)
    _check_kind(model.config, folder, captions)
    assert not isinstance(model, Aimv2TextModel)
    return model, Aimv2Processor.from_pretrained(folder, **hub)


def _check_kind(config: AnyConfig, name: object, captions: bool) -> None:
    """ValueError for a checkpoint `name` that has no vision tower, or no text tower although there are captions."""
    if isinstance(config, Aimv2TextConfig):
        raise ValueError(f"{name} is a checkpoint with a text tower alone; explaining pictures needs a vision tower")
    if captions and not isinstance(config, Aimv2Config):
        raise ValueError(
            f"{name} is a checkpoint with a vision tower alone, which knows no captions; leave --text out, or use one "
            f"with both towers, {_LIT}"
        )
