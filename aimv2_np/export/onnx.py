"""A model as an ONNX graph whose values are called by our dotted paths; PyTorch takes no part."""

import json
import os
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import aimv2_np.export.bodies  # noqa: F401  # they register
from aimv2_np.backends.arrays import dtype_of, to_numpy
from aimv2_np.config import Aimv2VisionConfig
from aimv2_np.errors import a_type, mismatch
from aimv2_np.export.file import write
from aimv2_np.export.functions import Functions
from aimv2_np.export.graph import Graph
from aimv2_np.export.int8 import READY, quantised, require
from aimv2_np.export.preprocess import check, pixel_values
from aimv2_np.export.symbol import Symbol
from aimv2_np.files.atomic import refuse_existing, require_folder
from aimv2_np.models.aimv2 import Aimv2Model
from aimv2_np.models.text import Aimv2TextModel
from aimv2_np.models.vision import Aimv2VisionModel
from aimv2_np.network.aimv2 import Aimv2
from aimv2_np.network.view import CAUSAL, Padded
from aimv2_np.processing import Aimv2ImageProcessor
from aimv2_np.shapes import Array, NDArray
from aimv2_np.tree.module import Module
from aimv2_np.tree.recorder import RECORDERS
from aimv2_np.tree.trace import trace

AnyModel = Aimv2Model | Aimv2VisionModel | Aimv2TextModel
DTYPES = ("float32", "float16", "bfloat16")
TOWERS = ("vision", "text", "both")


def to_onnx(
    model: AnyModel,
    path: str | os.PathLike[str],
    *,
    tower: str | None = None,
    size: int | tuple[int, int] | None = None,
    dynamic: bool = False,
    dtype: str = "float32",
    int8: bool = False,
    outputs: str | Iterable[str] = (),
    preprocess: Aimv2ImageProcessor | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a model as an ONNX graph (opset 18), with the package `onnx` alone (and `onnxruntime` for int8).

    Inputs are `pixel_values` (batch, 3, height, width), and `input_ids` and `attention_mask` (texts, tokens) int64,
    where 1 is a token and 0 padding; outputs are called as the fields of the model's output. The output of every module
    is a value called by the module's dotted path, so that a recording of the graph is compared without a table.

    Args:
        model: any of the three models, on the CPU.
        path: the file to write. Weights of more than 2 GB come into a second one beside it, `<path>.data`.
        tower: "vision" or "text" of a model with both, with its projection and unit vectors; "both"; None: all it has.
        size: pixels of the images, one number or (height, width); None: those of the configuration. Learned positions
            are stretched to them when the graph is written.
        dynamic: images of any size, of a native model.
        dtype: "float32", "float16" or "bfloat16": weights and pixels; norms and softmax are computed in float32.
        int8: compute products with weights in int8, as ONNX Runtime's quantiser has it; of a float32 graph.
        outputs: globs of paths that become outputs of the graph too.
        preprocess: resize, crop and normalise in the graph as this processor does, to rounding: `images` (batch, rows,
            columns, 3) uint8, of one size in a batch, then take the place of `pixel_values`.
        overwrite: replace a file that is there.

    Returns:
        The path.

    Raises:
        ImportError: the package onnx is not installed, or for int8 onnxruntime.
        TypeError: `model` is no model.
        ValueError: options that do not fit the model, or `outputs` that match nothing.
        FileExistsError: `path` is there and `overwrite` is not set.
    """
    if not isinstance(model, AnyModel):
        raise TypeError(f"model is {a_type(model)}; expected one of the three models")
    if find_spec("onnx") is None:
        raise ImportError("exporting needs onnx, which is not installed: pip install 'aimv2-np[onnx]'")
    if dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}; expected one of {', '.join(DTYPES)}")
    if int8:
        require()
        if dtype != "float32":
            raise ValueError(f"dtype is {dtype!r} with int8; expected float32, which is what is quantised")
    path = Path(path)
    require_folder(path)
    refuse_existing(path, overwrite)
    with_images, with_texts = _towers(model, tower)
    graph = Graph(Functions, _running)
    inputs: dict[str, Symbol] = {}
    pixels = None
    if with_images:
        config: Any = getattr(model.config, "vision_config", model.config)
        image, pixels = _images(graph, config.num_channels, _sides(config, size, dynamic), preprocess, dtype_of(dtype))
        inputs[image.name] = image
    elif size is not None or dynamic or preprocess is not None:
        raise ValueError("size, dynamic and preprocess are of images, and only texts are exported; drop them")
    if with_texts:
        for name in ("input_ids", "attention_mask"):
            inputs[name] = graph.input(name, ("texts", "tokens"), np.int64)
    network = model.network.map(lambda path, array: _weight(graph, path, array, dtype_of(dtype)))
    values: dict[str, Symbol] = {}
    with trace(network, inner=False, store=lambda path, value: values.__setitem__(path, graph.call(value, path))):
        fields = _run(network, pixels, inputs.get("input_ids"), inputs.get("attention_mask"))
    named = {name: values[name] if name in values else graph.call(value, name) for name, value in fields.items()}
    further = {name: values[name] for name in _further(outputs, [name for name in values if name not in named])}
    about = {"model": type(model).__name__, "config": json.dumps(model.config.to_dict()), "dtype": dtype}
    whole = partial(write, graph=graph, inputs=list(inputs.values()), outputs=named | further)
    if int8:
        quantised(partial(whole, about=about | READY, overwrite=True), path, overwrite)
    else:
        whole(path, about=about, overwrite=overwrite)
    return path


def _towers(model: AnyModel, tower: str | None) -> tuple[bool, bool]:
    """Whether the graph has the vision tower, and the text tower."""
    has = (not isinstance(model, Aimv2TextModel), not isinstance(model, Aimv2VisionModel))
    if tower is None:
        return has
    if tower not in TOWERS:
        raise ValueError(f"tower is {tower!r}; expected one of {', '.join(TOWERS)}")
    asked = (tower != "text", tower != "vision")
    if any(ask and not there for ask, there in zip(asked, has, strict=True)):
        raise ValueError(f"tower is {tower!r} of {type(model).__name__}; expected {'vision' if has[0] else 'text'}")
    return asked


def _sides(config: Aimv2VisionConfig, size: int | tuple[int, int] | None, dynamic: bool) -> tuple[int | str, int | str]:
    """Height and width of the images, as numbers or as names."""
    if dynamic:
        if not config.is_native or size is not None:
            why = "with a size" if size is not None else "of a model that is not native"
            raise ValueError(f"dynamic is True {why}; expected a native model, without a size: pass size=")
        return "height", "width"
    if size is None:
        return config.image_shape
    sides = (size, size) if isinstance(size, int) else tuple(size)
    patch = config.patch_shape
    if len(sides) != 2 or not all(
        isinstance(n, int) and not isinstance(n, bool) and n >= p for n, p in zip(sides, patch, strict=False)
    ):
        raise ValueError("size " + mismatch(size, f"one number of pixels or (height, width), at least {patch}"))
    return sides[0], sides[1]


def _images(
    graph: Graph,
    channels: int,
    sides: tuple[int | str, int | str],
    processor: Aimv2ImageProcessor | None,
    dtype: np.dtype[Any],
) -> tuple[Symbol, Symbol]:
    """The graph's input, and the pixel values that the model takes: the same, unless a processor is between them."""
    if processor is None:
        pixels = graph.input("pixel_values", ("batch", channels, *sides), dtype)
        return pixels, pixels
    check(processor, sides)
    images = graph.input("images", ("batch", "rows", "columns", 3), np.uint8)
    return images, graph.call(pixel_values(images, processor, sides, dtype), "pixel_values")


def _weight(graph: Graph, path: str, array: Array, dtype: np.dtype[Any]) -> Symbol:
    """A constant under its path, which is read, and brought to its dtype, when the file is written."""

    def load() -> NDArray:
        return to_numpy(array).astype(dtype, copy=False)

    value = Symbol(graph, path, tuple(array.shape), dtype, load)
    value.named = True
    return value


def _run(
    network: Module, pixel_values: Symbol | None, input_ids: Symbol | None, attention_mask: Symbol | None
) -> Mapping[str, Symbol]:
    """What comes out, by the names of the model's output: of one tower of two also its unit vectors."""
    view = None if attention_mask is None else CAUSAL & Padded(attention_mask)
    if not isinstance(network, Aimv2):
        output = network(pixel_values) if view is None else network(input_ids, view)
        return _given(output._asdict())
    if pixel_values is not None and view is not None:
        return _given(network(input_ids, pixel_values, view)._asdict())
    tower = network.vision_model(pixel_values) if view is None else network.text_model(input_ids, view)
    pooled = (None, tower.pooler_output) if view is None else (tower.pooler_output, None)
    return _given(network.compare(*pooled)._asdict() | tower._asdict())


def _given(fields: Mapping[str, Symbol | None]) -> dict[str, Symbol]:
    return {name: value for name, value in fields.items() if value is not None}


def _further(outputs: str | Iterable[str], paths: list[str]) -> list[str]:
    """The paths that some globs ask for; ValueError for one that matches none."""
    patterns = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    for pattern in patterns:
        if not any(fnmatchcase(path, pattern) for path in paths):
            raise ValueError(f"outputs is {pattern!r}, which matches no module; there are {', '.join(paths[:3])}, …")
    return [path for path in paths if any(fnmatchcase(path, pattern) for pattern in patterns)]


def _running() -> str:
    """The path of the module that is running."""
    recorders = RECORDERS.get()
    return recorders[-1].running[-1] if recorders and recorders[-1].running else ""
