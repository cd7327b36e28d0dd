"""The text tower's attention between the words of a caption, small enough for a page.

All layers and heads of as many captions as fit, in the order in which they are given; then the queries, keys and
values of as many layers as fit, from the last on.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aimv2_np.backends.arithmetic import own_arithmetic
from aimv2_np.backends.arrays import to_numpy, widen
from aimv2_np.models.aimv2 import Aimv2Model
from aimv2_np.processing import Aimv2Processor
from aimv2_np.shapes import Array, Int
from aimv2_np.tree.trace import trace
from aimv2_np.viz.atlas import pack
from aimv2_np.viz.computation import Computations, choose


class Words(NamedTuple):
    """One caption's T tokens.

    tokens: each as text.
    tops: (K · H, T), the highest number of each row, layer by layer and head by head.
    values: (K · H, T, T), the rows in steps of 1/255 of it.
    computations: queries, keys and values of what fits.
    """

    tokens: list[str]
    tops: NDArray[np.float32]
    values: NDArray[np.uint8]
    computations: Computations


@own_arithmetic()
def words_of(model: Aimv2Model, processor: Aimv2Processor, captions: Sequence[str], budget: int) -> list[Words]:
    """The words of the first captions, of as many as fit into `budget` bytes."""
    tower = model.text_model.config
    layers, heads = tower.num_hidden_layers, tower.num_attention_heads
    size = tower.hidden_size // heads
    inputs: list[Int[Array, "1 T"]] = []
    for caption in captions:
        ids = processor(text=[caption])["input_ids"]
        needed = layers * heads * ids.shape[1] * (4 + ids.shape[1]) + 24 * ids.shape[1]  # with their text
        if needed > budget:
            break
        budget -= needed
        inputs.append(ids)
    found = []
    for ids in inputs:
        choice = choose(ids.shape[1], size, range(layers)[::-1], range(heads), budget // len(inputs))
        found.append(_words(model, processor, ids, Computations(choice)))
    return found


def _words(model: Aimv2Model, processor: Aimv2Processor, ids: Int[Array, "1 T"], computations: Computations) -> Words:
    maps = []
    with trace(model.text_model, "encoder.layers.*.attention.*") as activations:
        model.text_model(ids)
    for i in range(model.text_model.config.num_hidden_layers):
        q, k, v, probs = (activations[f"encoder.layers.{i}.attention.{name}"] for name in ("q", "k", "v", "probs"))
        maps += [pack(weights, ids.shape[1]) for weights in to_numpy(widen(probs))[0]]
        computations.add(i, q, k)
        computations.add_values(i, v)
    tokens = [processor.decode([i]).strip() for i in ids[0].tolist()]
    return Words(tokens, np.stack([it.tops for it in maps]), np.stack([it.values for it in maps]), computations)
