"""The lens: the model's answer if it stopped after a layer.

    logits_l = scale · cos(W_v · head(rms_norm(x_l)), W_t · text)        x_l: the residual stream after layer l

The idea is the logit lens of nostalgebraist 2020 (lesswrong.com/posts/AcKRB8wDpdaN6v6ru), with AIMv2's pooling head and
projection in the place of a language model's last layer. After the last layer it is the model's own answer. The head
was trained on the last layer's tokens: what it makes of earlier ones is a hint, not a readout.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from aimv2_np.backends.arithmetic import own_arithmetic
from aimv2_np.backends.arrays import to_numpy, widen
from aimv2_np.models.aimv2 import Aimv2Model
from aimv2_np.models.vision import Aimv2VisionModel
from aimv2_np.network.attention import softmax
from aimv2_np.network.contrastive import l2_normalize
from aimv2_np.shapes import Array, Float
from aimv2_np.tree.trace import trace
from aimv2_np.viz.drawing import SERIES, SMALL, Drawing, line_axes, look, panels, short_title
from aimv2_np.viz.towers import Floats, VisionModel, two_towers, vision_tower_of

STYLES = ("-", "--", ":", "-.")  # beyond seven lines, colours come again in another style


def after_each_layer(
    tower: Aimv2VisionModel, pixel_values: Any, look: Callable[[Float[Array, "B N D"]], Array], **options: Any
) -> list[Array]:
    """`look` of the normalised tokens as embedded and after each layer, K + 1 results; the tokens are not kept."""
    states = ["embeddings", *(f"encoder.layers.{i}" for i in range(len(tower.encoder.layers)))]
    results: list[Array] = []
    with trace(tower, states, store=lambda _, x: results.append(look(tower.rms_norm(x)))):
        tower(pixel_values, **options)
    return results


@own_arithmetic()
def similarity_lens(
    model: Aimv2Model,
    pixel_values: Any,
    input_ids: Any,
    attention_mask: Any = None,
    *,
    interpolate_pos_encoding: bool = False,
) -> Floats:
    """`logits_per_image` as embedded and after each layer: (K + 1, B, captions); the last are the model's own.

    Takes its arguments as the model does, and raises what it raises; ValueError for a model without both towers.
    """
    model = two_towers(model)
    tower = model.vision_model
    texts = l2_normalize(model.get_text_features(input_ids, attention_mask))

    def answer(tokens: Array) -> Array:
        return model.logits(texts, l2_normalize(model.visual_projection(tower.head(tokens)))).T  # type: ignore[misc]

    found = after_each_layer(tower, pixel_values, answer, interpolate_pos_encoding=interpolate_pos_encoding)
    return np.stack([to_numpy(widen(logits)) for logits in found])


@own_arithmetic()
def feature_lens(model: VisionModel, pixel_values: Any, *, interpolate_pos_encoding: bool = False) -> Floats:
    """The cosine of a picture's vector after each layer with its last: (K + 1, B), the last of them 1.

    The vector is the pooling head's, or the mean of the patches for a model without one.
    """
    tower = vision_tower_of(model)

    def pooled(tokens: Array) -> Array:
        return l2_normalize(widen(tower.head(tokens) if tower.head else tokens.mean(axis=1)))

    found = after_each_layer(tower, pixel_values, pooled, interpolate_pos_encoding=interpolate_pos_encoding)
    return np.stack([to_numpy((vectors * found[-1]).sum(axis=-1)) for vectors in found])


@own_arithmetic()
def draw_lens(model: VisionModel, processor: Any, image: Any, captions: Sequence[str] = ()) -> Drawing:
    """With captions, how probable each is after each layer; without, how close the picture's vector is to its last.

    The array is `similarity_lens` (L + 1, captions), of which the chart shows the softmax, or `feature_lens` (L + 1,).
    """
    tower, seen = look(model, processor, image)
    figure, (ax,) = panels(1, 0.62, side=5.4)
    if captions:
        network = two_towers(model)
        inputs = processor(text=list(captions), padding=True)
        array = similarity_lens(network, seen.pixel_values, **inputs)[:, 0]  # (L + 1, captions)
        for i, line in enumerate(softmax(array).T):
            color, style = SERIES[i % len(SERIES)], STYLES[i // len(SERIES) % len(STYLES)]
            label = short_title(captions[i], 40)
            ax.plot(line, color=color, linestyle=style, marker="o", markersize=3, label=label)
        line_axes(ax, "layers passed", "probability among these captions", "what the model would say after each layer")
        legend = ax.legend(fontsize=SMALL, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
        for text in legend.get_texts():
            text.set_parse_math(False)
    else:
        array = feature_lens(tower, seen.pixel_values)[:, 0]
        ax.plot(array, color=SERIES[0], marker="o", markersize=3)
        line_axes(ax, "layers passed", "cosine with the last", "how close the picture's vector is to its last")
    return Drawing(array, figure)
