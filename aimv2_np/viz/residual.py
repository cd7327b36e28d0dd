"""The residual stream: how long a token's vector is, and how much each layer adds to it.

    x_{l+1} = x_l + a_l + f_l,    a_l = attention(rms_norm1(x_l)),    f_l = ffn(rms_norm2(x_l + a_l))

Lengths are root mean squares over the D numbers, so that models of different widths compare.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aimv2_np.backends.arrays import namespace, to_numpy, widen
from aimv2_np.models.aimv2 import Aimv2Model
from aimv2_np.models.vision import Aimv2VisionModel
from aimv2_np.processing import Aimv2ImageProcessor, Aimv2Processor
from aimv2_np.shapes import Array
from aimv2_np.tree.trace import trace
from aimv2_np.viz.drawing import LARGE, SERIES, SMALL, Drawing, line_axes, need_matplotlib, panels
from aimv2_np.viz.seen import see
from aimv2_np.viz.towers import vision_tower


class ResidualStream(NamedTuple):
    """Lengths (root mean squares) per layer, picture and token.

    Attributes:
        states: (L + 1, B, N), of the embeddings and after each layer.
        attention, ffn: (L, B, N), of what attention and the MLP of each layer add.
    """

    states: NDArray[np.floating[Any]]
    attention: NDArray[np.floating[Any]]
    ffn: NDArray[np.floating[Any]]


def residual_stream(
    model: Aimv2Model | Aimv2VisionModel, pixel_values: Any, *, interpolate_pos_encoding: bool = False
) -> ResidualStream:
    """The lengths along the vision tower, reduced as they come. Takes and raises what the model does."""
    tower = vision_tower(model)
    blocks = [f"encoder.layers.{i}" for i in range(len(tower.encoder.layers))]
    lengths: dict[str, NDArray[Any]] = {}

    def store(path: str, x: Array) -> None:
        wide = widen(x)
        lengths[path] = to_numpy(namespace(x).sqrt((wide * wide).mean(axis=-1)))  # (B, N)

    wanted = ("embeddings", *(f"{block}{end}" for block in blocks for end in ("", ".attention", ".ffn")))
    with trace(tower, wanted, store=store):
        tower(pixel_values, interpolate_pos_encoding=interpolate_pos_encoding)

    def stack(paths: list[str]) -> NDArray[np.floating[Any]]:
        return np.stack([lengths[path] for path in paths])

    return ResidualStream(
        stack(["embeddings", *blocks]), *(stack([block + end for block in blocks]) for end in (".attention", ".ffn"))
    )


def draw_residual_stream(
    model: Aimv2Model | Aimv2VisionModel, processor: Aimv2Processor | Aimv2ImageProcessor, image: Any
) -> Drawing:
    """Lengths over the layers, and what each layer adds relative to what is there: medians, and 5 to 95 % of tokens."""
    need_matplotlib()
    tower = vision_tower(model)
    (seen,) = see(tower, processor, [image])
    stream = residual_stream(tower, seen.pixel_values)
    figure, (left, right) = panels(2, 0.75, columns=2, side=3.6)
    layers = np.arange(len(stream.states))
    _band(left, layers, stream.states[:, 0], SERIES[6], "residual stream")
    line_axes(left, "layers passed", "root mean square of a token", "how long tokens are")
    before = np.maximum(stream.states[:-1, 0], np.finfo(np.float32).tiny)
    for color, name, it in ((SERIES[0], "attention", stream.attention), (SERIES[1], "MLP", stream.ffn)):
        _band(right, layers[1:], it[:, 0] / before, color, name)
    line_axes(right, "layer (1: the first)", "what it adds / what is there", "how much each layer changes them")
    for ax in (left, right):
        ax.set_ylim(bottom=0)
        ax.legend(fontsize=SMALL, frameon=False)
    figure.suptitle("line: the median token; band: 5 to 95 % of them", fontsize=LARGE - 1)
    return Drawing(stream, figure)


def _band(ax: Any, x: NDArray[Any], values: NDArray[Any], color: str, label: str) -> None:
    low, middle, high = np.percentile(values, (5, 50, 95), axis=1)
    ax.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)
    ax.plot(x, middle, color=color, marker="o", markersize=3, linewidth=1.6, label=label)
