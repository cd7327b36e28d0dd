"""Where a token of a caption looks: at itself and at what stands before it, for the text tower is causal.

a_htu = softmax_u(q_ht · k_hu / √d  where u ≤ t and u is no padding)
"""

from typing import Any

import numpy as np

from aimv2_np.backends.arithmetic import own_arithmetic
from aimv2_np.backends.arrays import to_numpy, widen
from aimv2_np.models.aimv2 import Aimv2Model
from aimv2_np.models.text import Aimv2TextModel
from aimv2_np.processing import Aimv2Processor
from aimv2_np.tree.trace import trace
from aimv2_np.viz.attention import by_head
from aimv2_np.viz.drawing import LARGE, MAP, SMALL, Drawing, color_scale, need_matplotlib, panels
from aimv2_np.viz.towers import Floats, check_layer, text_tower_of


@own_arithmetic()
def text_attention(
    model: Aimv2Model | Aimv2TextModel, input_ids: Any, attention_mask: Any = None, layer: int = -1
) -> Floats:
    """The attention of one layer of the text tower, (B, H, T, T): row t looks at columns up to t; each sums to 1.

    Takes `input_ids` and `attention_mask` as the model does; ValueError for no such layer, and what the model raises.
    """
    tower = text_tower_of(model)
    path = f"encoder.layers.{check_layer(tower, layer)}.attention.probs"
    with trace(tower, path) as activations:
        tower(input_ids, attention_mask)
    return to_numpy(widen(activations[path]))


@own_arithmetic()
def draw_text_attention(
    model: Aimv2Model | Aimv2TextModel,
    processor: Aimv2Processor,
    text: str,
    layer: int = -1,
    head: int | None = None,
) -> Drawing:
    """One caption's attention, token by token: the mean of the heads and each head, or one head only.

    What the causal mask forbids is left white. The array is (H, T, T), or (1, T, T) with `head`.
    """
    need_matplotlib()
    tower = text_tower_of(model)
    layer = check_layer(tower, layer)
    inputs = processor(text=[text])
    weights = text_attention(tower, **inputs, layer=layer)[0]
    tokens = [processor.decode([i]).strip() for i in inputs["input_ids"][0].tolist()]
    weights, shown = by_head(weights, head)
    figure, axes = panels(len(shown), columns=3, side=max(2.2, 0.22 * len(tokens) + 1))
    later = np.triu(np.ones(weights.shape[1:], dtype=bool), 1)
    for ax, (title, of_head) in zip(axes, shown, strict=True):
        image = ax.imshow(np.ma.masked_array(of_head, later), cmap=MAP, vmin=0, vmax=1, interpolation="nearest")
        ax.set_title(f"layer {layer}, {title}", fontsize=LARGE)
        for axis, name in ((ax.xaxis, "looks at"), (ax.yaxis, "token")):
            axis.set_ticks(range(len(tokens)))
            axis.set_ticklabels(tokens, fontsize=SMALL, parse_math=False)
            axis.set_label_text(name, fontsize=SMALL)
        ax.tick_params(axis="x", rotation=90, length=2)
    color_scale(figure, image, axes, "attention")
    return Drawing(weights, figure)
