"""The residual stream: how long a token's vector is, and how much each layer adds to it.

    x_{l+1} = x_l + a_l + f_l,    a_l = attention(rms_norm1(x_l)),    f_l = ffn(rms_norm2(x_l + a_l))

Lengths are root mean squares over the D numbers, so that models of different widths compare.
"""

from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from aimv2_np.backends.arithmetic import own_arithmetic
from aimv2_np.backends.arrays import namespace, to_numpy, widen
from aimv2_np.shapes import Array, NDArray
from aimv2_np.tree.trace import trace
from aimv2_np.viz.drawing import LARGE, SERIES, SMALL, Drawing, line_axes, look, panels
from aimv2_np.viz.towers import Floats, VisionModel, VisionProcessor, vision_tower_of


class ResidualStream(NamedTuple):
    """Lengths (root mean squares) per layer, picture and token.

    Attributes:
        states: (L + 1, B, N), of the embeddings and after each layer.
        attention, ffn: (L, B, N), of what attention and the MLP of each layer add.
    """

    states: Floats
    attention: Floats
    ffn: Floats


@own_arithmetic()
def residual_stream(model: VisionModel, pixel_values: Any, *, interpolate_pos_encoding: bool = False) -> ResidualStream:
    """The lengths along the vision tower, reduced as they come. Takes and raises what the model does."""
    tower = vision_tower_of(model)
    layers = [f"encoder.layers.{i}" for i in range(len(tower.encoder.layers))]
    lengths: dict[str, NDArray] = {}

    def store(path: str, x: Array) -> None:
        wide = widen(x)
        lengths[path] = to_numpy(namespace(x).sqrt((wide * wide).mean(axis=-1)))  # (B, N)

    paths = (["embeddings", *layers], *([layer + end for layer in layers] for end in (".attention", ".ffn")))
    with trace(tower, list(chain(*paths)), store=store):
        tower(pixel_values, interpolate_pos_encoding=interpolate_pos_encoding)
    return ResidualStream(*(np.stack([lengths[path] for path in some]) for some in paths))


@own_arithmetic()
def draw_residual_stream(model: VisionModel, processor: VisionProcessor, image: Any) -> Drawing:
    """Lengths over the layers, and what each layer adds relative to what is there: medians, and 5 to 95 % of tokens."""
    tower, seen = look(model, processor, image)
    stream = residual_stream(tower, seen.pixel_values)
    figure, (left, right) = panels(2, 0.75, columns=2, side=3.6)
    layers = np.arange(len(stream.states))
    _band(left, layers, stream.states[:, 0], SERIES[6], "residual stream")
    line_axes(left, "layers passed", "root mean square of a token", "how long tokens are")
    before = np.maximum(stream.states[:-1, 0], np.finfo(np.float32).tiny)
    for color, name, added in ((SERIES[0], "attention", stream.attention), (SERIES[1], "MLP", stream.ffn)):
        _band(right, layers[1:], added[:, 0] / before, color, name)
    line_axes(right, "layer (1: the first)", "what it adds / what is there", "how much each layer changes them")
    for ax in (left, right):
        ax.set_ylim(bottom=0)
        ax.legend(fontsize=SMALL, frameon=False)
    figure.suptitle("line: the median token; band: 5 to 95 % of them", fontsize=LARGE - 1)
    return Drawing(stream, figure)


def _band(ax: Any, x: NDArray, values: NDArray, color: str, label: str) -> None:
    low, middle, high = np.percentile(values, (5, 50, 95), axis=1)
    ax.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)
    ax.plot(x, middle, color=color, marker="o", markersize=3, linewidth=1.6, label=label)
