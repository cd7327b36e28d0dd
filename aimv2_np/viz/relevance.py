"""What a picture's match with a caption depends on, by its derivative: of the pixels, and of attention in all layers.

    saliency_n = Σ_{i in patch n} x_i ∂cos/∂x_i

The first term of what the cosine would lose without the patch, that is, with the processor's mean colour in its place
(gradient × input; Simonyan et al. 2013, arXiv:1312.6034, section 3, gave the gradient alone). Signed.

    R ← R + Ā_l R,   Ā_l = mean_h max(0, A_lh ⊙ ∂cos/∂A_lh),   relevance = Ā_head R

Attention rollout in which each layer and head counts by how much the cosine gains from it. Chefer et al. 2021, "Generic
Attention-model Explainability" (arXiv:2103.15679), equations 5 and 6; AIMv2's pooling head is the last step.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aimv2_np.backends.arithmetic import own_arithmetic
from aimv2_np.backends.arrays import namespace, to_numpy, widen
from aimv2_np.gradients import gradient_of
from aimv2_np.models.aimv2 import Aimv2Model
from aimv2_np.network.contrastive import l2_normalize
from aimv2_np.network.patches import cut
from aimv2_np.processing import Aimv2Processor
from aimv2_np.shapes import Array, Float
from aimv2_np.tree.trace import trace
from aimv2_np.viz.captions import draw_of_captions
from aimv2_np.viz.drawing import MAP, SIGNED, Drawing
from aimv2_np.viz.towers import Floats, grid_of, two_towers

MAX_PATCHES = 1024  # of all pairs of which attention and its derivative are held, in every head and layer
PROBS = "vision_model.encoder.layers.{}.attention.probs"
HEAD = "vision_model.head.probs"


@own_arithmetic()
def caption_saliency(
    model: Aimv2Model,
    pixel_values: Any,
    input_ids: Any,
    attention_mask: Any = None,
    *,
    interpolate_pos_encoding: bool = False,
) -> Floats:
    """Gradient times input of the cosine of each picture with each caption: (B, L, rows, columns), summed over patches.

    One layer at a time is held, and computed twice. Arguments and errors as for `caption_similarity`.
    """
    tower = two_towers(model).vision_model
    texts = _texts(model, input_ids, attention_mask)
    pixels, _ = tower.check(pixel_values, None, interpolate_pos_encoding)
    ph, pw = tower.embeddings.patch_embed.weight.shape[2:]

    def of(text: Array) -> Floats:
        def cosines(x: Any) -> Any:
            pooled = model.network.vision_model(x).pooler_output
            return (l2_normalize(model.network.visual_projection(pooled)) * text).sum()

        by_pixels = gradient_of(cosines, pixels, recompute=1)
        return to_numpy(cut(widen(pixels) * by_pixels, ph, pw).sum(axis=2))  # (B, N)

    return _as_maps([of(text) for text in texts], grid_of(tower, pixels))


@own_arithmetic()
def caption_relevance(
    model: Aimv2Model,
    pixel_values: Any,
    input_ids: Any,
    attention_mask: Any = None,
    *,
    interpolate_pos_encoding: bool = False,
) -> Floats:
    """How much of each picture's match with each caption goes back to which patch: (B, L, rows, columns), from 0 up.

    Arguments and errors as for `caption_similarity`; ValueError also for pictures of more than 1024 patches, whose
    attention in all layers and heads is held at once, and for a model in bfloat16, whose weights have no derivative
    here: `model.to(dtype="float32")` has.
    """
    tower = two_towers(model).vision_model
    pixels, _ = tower.check(pixel_values, None, interpolate_pos_encoding)
    grid = grid_of(tower, pixels)
    if grid[0] * grid[1] > MAX_PATCHES:
        raise ValueError(
            f"pixel_values are of {grid[0]} x {grid[1]} patches, and all pairs of them are held in every layer and "
            f"head; expected at most {MAX_PATCHES:,} patches; make the picture smaller, or use caption_saliency"
        )
    paths = [*(PROBS.format(i) for i in range(len(tower.encoder.layers))), HEAD]
    wanted = [*paths, *(f"gradient:{path}" for path in paths)]

    def of(text: Array) -> Floats:
        def cosines(activations: Mapping[str, Any]) -> Any:
            return (activations["image_embeds"] * text).sum()

        with trace(model, wanted, gradients=True, loss=cosines) as found:
            model(pixel_values=pixels, interpolate_pos_encoding=interpolate_pos_encoding)
        *layers, head = (_gain(found[path], found[f"gradient:{path}"]) for path in paths)
        rolled = namespace(head).eye(head.shape[-1], dtype=head.dtype)
        for layer in layers:
            rolled = rolled + layer @ rolled
        return to_numpy(head @ rolled)[:, 0]  # (B, 1, N) @ (B, N, N)

    return _as_maps([of(text) for text in _texts(model, input_ids, attention_mask)], grid)


def _gain(probs: Float[Array, "B H n N"], by_probs: Float[Array, "B H n N"]) -> Float[Array, "B n N"]:
    """How much is gained from each weight, where anything is, on average over the heads."""
    return namespace(probs).maximum(widen(probs) * by_probs, 0).mean(axis=1)


def _texts(model: Aimv2Model, input_ids: Any, attention_mask: Any) -> Float[Array, "L E"]:
    return l2_normalize(widen(model.get_text_features(input_ids, attention_mask)))


def _as_maps(of_captions: Sequence[Floats], grid: tuple[int, int]) -> Floats:
    """L arrays (B, N) as (B, L, rows, columns)."""
    maps: Floats = np.stack(of_captions, axis=1)
    return maps.reshape(*maps.shape[:2], *grid)


@own_arithmetic()
def draw_caption_saliency(model: Aimv2Model, processor: Aimv2Processor, image: Any, captions: Sequence[str]) -> Drawing:
    """The picture, and for each caption gradient times input; (L, rows, columns). All maps share one signed scale."""
    title = "gradient × input of the match with"
    return draw_of_captions(model, processor, image, captions, caption_saliency, title, "of the cosine", SIGNED)


@own_arithmetic()
def draw_caption_relevance(
    model: Aimv2Model, processor: Aimv2Processor, image: Any, captions: Sequence[str]
) -> Drawing:
    """The picture, and for each caption the relevance of patches; (L, rows, columns). All maps share one scale."""
    title = "relevance of the match with"
    return draw_of_captions(model, processor, image, captions, caption_relevance, title, "relevance", MAP)
