"""Everything there is to show of one picture, from one pass through the model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aimv2_np.backends.arithmetic import own_arithmetic
from aimv2_np.backends.arrays import to_numpy, widen
from aimv2_np.errors import a_type
from aimv2_np.network.attention import softmax
from aimv2_np.network.contrastive import l2_normalize
from aimv2_np.processing import Aimv2Processor
from aimv2_np.shapes import Array, Float
from aimv2_np.viz.attention import Take, TakeValues, run_with_attention
from aimv2_np.viz.captions import contributions, fits
from aimv2_np.viz.pooling import pooling_weights
from aimv2_np.viz.seen import see
from aimv2_np.viz.towers import Floats, VisionModel, VisionProcessor, two_towers, vision_tower_of

MAX_PATCHES = 8192  # twice what AIMv2 was trained for; all pairs of them are 268 MB in float32


@dataclass(frozen=True, eq=False)
class Explanation:
    """What there is to show of one picture; N patches, L captions.

    Attributes:
        colors: (h, w, 3), the picture as the model sees it.
        grid: (rows, columns), rows · columns = N.
        tokens: (N, D), the last hidden state.
        pooling: (H, N), the pooling head's attention; None without a head.
        captions: L texts, as given.
        cosines: (L,) of the picture with each caption.
        logits: (L,) of the picture with each caption: the cosine times the model's scale.
        probabilities: (L,), the softmax of the logits.
        similarity, contributions: (L, N), as from `caption_similarity` and `caption_contributions`.
    """

    colors: NDArray[np.uint8]
    grid: tuple[int, int]
    tokens: Floats
    pooling: Floats | None
    captions: tuple[str, ...]
    cosines: Floats
    logits: Floats
    probabilities: Floats
    similarity: Floats
    contributions: Floats


@own_arithmetic()
def explain(
    model: VisionModel,
    processor: VisionProcessor,
    image: Any,
    captions: Sequence[str] = (),
    take: Take = lambda layer, q, k: None,
    take_values: TakeValues | None = None,
) -> Explanation:
    """Run the model once over a picture, and its captions.

    `take(layer, q, k)` gets queries and keys of every layer, `take_values(layer, v)` its values after them.

    Raises:
        ValueError: captions with a model or processor that has no text side, a picture smaller than a patch, captions
            that are too long; and whatever the processor raises.
    """
    tower = vision_tower_of(model)
    features = _text_features(model, processor, captions) if captions else None
    (seen,) = see(tower, processor, [image])
    grid = seen.grid
    if grid[0] * grid[1] > MAX_PATCHES:
        raise ValueError(
            f"image is of {grid[0]} x {grid[1]} patches, and all pairs of them are looked at; expected at most "
            f"{MAX_PATCHES:,}; make the picture smaller"
        )
    tokens = run_with_attention(tower, seen.pixel_values, range(len(tower.encoder.layers)), take, take_values)
    nothing = np.zeros((0, grid[0] * grid[1]), np.float32)
    cosines = logits = probabilities = nothing[:, 0]
    similarity = parts = nothing
    if features is not None:
        network = two_towers(model)
        pooled = l2_normalize(network.visual_projection(network.vision_model.head(tokens)))  # type: ignore[misc]
        logits = to_numpy(widen(network.logits(l2_normalize(features), pooled)))[:, 0]
        similarity, parts = fits(network, tokens, features)[0], contributions(network, tokens, features)[0]
        cosines, probabilities = parts.sum(axis=1), softmax(logits)
    return Explanation(
        seen.colors, grid, to_numpy(widen(tokens))[0], pooling_weights(tower, tokens)[0] if tower.head else None,
        tuple(captions), cosines, logits, probabilities, similarity, parts,
    )  # fmt: skip


def _text_features(model: VisionModel, processor: VisionProcessor, captions: Sequence[str]) -> Float[Array, "L E"]:
    network = two_towers(model)
    if not isinstance(processor, Aimv2Processor):
        raise ValueError(f"processor is {a_type(processor)}; expected an Aimv2Processor with a tokenizer, for captions")
    if isinstance(captions, str) or not all(caption.strip() for caption in captions):
        raise ValueError(f"captions is {captions!r:.80}; expected a list of strings, none of them blank")
    return network.get_text_features(**processor(text=list(captions), padding=True))
