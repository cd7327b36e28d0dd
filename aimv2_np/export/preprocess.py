"""The image processor in front of a graph: images of whole numbers in, resized, cropped and normalised by the graph.

    images (batch, rows, columns, 3) uint8 → resize → centre crop → ((x · rescale_factor) - mean) / std → pixel_values

Pillow and the operator Resize weigh pixels by the same kernel and round twice, not always the same way: in ONNX Runtime
about one number in a hundred differs, by 1 of 255 (tests/oracle/export/test_preprocess.py).
"""

from typing import Any

import numpy as np

from aimv2_np.export.graph import Graph
from aimv2_np.export.symbol import Symbol
from aimv2_np.processing import Aimv2ImageProcessor

# Pillow's number of a filter → the operator's settings
FILTERS: dict[int, dict[str, Any]] = {
    2: {"mode": "linear"},
    3: {"mode": "cubic", "cubic_coeff_a": -0.5},
}


def check(processor: Aimv2ImageProcessor, sides: tuple[int | str, int | str]) -> None:
    """ValueError for settings that have no operators here, or whose pictures do not fit the graph."""
    if processor.do_resize and processor.resample not in FILTERS:
        raise ValueError(f"resample is {processor.resample}; expected 2 or 3, bilinear or bicubic, in a graph")
    if processor.do_resize and not {"shortest_edge"} >= set(processor.size) and "height" not in processor.size:
        raise ValueError(f"size is {processor.size}; expected shortest_edge, or height and width, in a graph")
    fixed = _shape(processor)
    if fixed is None and isinstance(sides[0], int):
        raise ValueError("the processor keeps any size, and the graph takes one; expected dynamic, or a crop_size")
    if fixed is not None and isinstance(sides[0], int) and fixed != sides:
        raise ValueError(
            f"the processor makes images of {fixed[0]} x {fixed[1]} pixels, and the graph takes "
            f"{sides[0]} x {sides[1]}; expected the same: pass size="
        )
    least = min(processor.size.values()) if processor.do_resize else 0
    if processor.do_center_crop and max(processor.crop_size.values()) > least:
        raise ValueError(
            f"crop_size is {processor.crop_size}, more than what images are resized to, {processor.size}; expected at "
            "most as much: nothing is padded in a graph"
        )


def _shape(processor: Aimv2ImageProcessor) -> tuple[int, int] | None:
    """Height and width of what the processor makes; None where they depend on the picture."""
    if processor.do_center_crop:
        return processor.crop_size["height"], processor.crop_size["width"]
    if processor.do_resize and "height" in processor.size:
        return processor.size["height"], processor.size["width"]
    return None


def pixel_values(
    images: Symbol, processor: Aimv2ImageProcessor, sides: tuple[int | str, int | str], dtype: Any
) -> Symbol:
    """Of images (batch, rows, columns, 3) uint8 the array that the model takes, (batch, 3, *sides)."""
    graph = images.graph
    x = images.transpose(0, 3, 1, 2)
    if processor.do_resize:
        x = _resized(graph, x, processor)
    if processor.do_center_crop:
        x = _cropped(graph, x, np.array([processor.crop_size["height"], processor.crop_size["width"]]))
    x.shape = (images.shape[0], *graph.sizes(x, ("", 3, *sides))[1:])
    y = x.astype(np.float32)
    if processor.do_rescale:
        y = y * np.float32(processor.rescale_factor)
    if processor.do_normalize:
        mean, std = (np.array(of, np.float32)[:, None, None] for of in (processor.image_mean, processor.image_std))
        y = (y - mean) / std
    return y.astype(dtype)


def _sides(graph: Graph, x: Symbol) -> Symbol:
    """Height and width as a value, (2,) int64."""
    return graph.add("Shape", [x], (2,), np.int64, start=2, end=4)


def _resized(graph: Graph, x: Symbol, processor: Aimv2ImageProcessor) -> Symbol:
    """The shorter edge at its length, the other in proportion, rounded down; or both as they are given."""
    size = processor.size
    if "shortest_edge" in size:
        now = _sides(graph, x)
        shorter = graph.add("ReduceMin", [now], (1,), np.int64, keepdims=1)
        sides: Any = now * size["shortest_edge"] // shorter
    else:
        sides = np.array([size["height"], size["width"]])
    # of all axes: with some alone, ONNX Runtime 1.32 stumbles over the transposition before it
    others = graph.add("Shape", [x], (2,), np.int64, start=0, end=2)
    whole = graph.add("Concat", [others, sides], (4,), np.int64, axis=0)
    none = Symbol(graph, "", (), np.float32)  # an input that is left out
    return graph.add(
        "Resize", [x, none, none, whole], x.shape, x.dtype, antialias=1, exclude_outside=1,
        coordinate_transformation_mode="half_pixel", **FILTERS[processor.resample],
    )  # fmt: skip


def _cropped(graph: Graph, x: Symbol, crop: Any) -> Symbol:
    """The middle; where the margin is odd, the extra pixel is cut off at the end."""
    start = (_sides(graph, x) - crop) // 2
    return graph.add("Slice", [x, start, start + crop, np.array([2, 3])], x.shape, x.dtype)
