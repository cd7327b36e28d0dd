"""How well each patch fits a caption, and what it adds to how well the picture does.

A picture's vector is W_v · (W_o · concat_h(Σ_n a_hn v_hn) + b): the head mixes the patches' values, then projects. Here
the head is made to look at one patch alone, a_hn = 1 in every head, which gives that patch a vector in the space that
pictures share with texts:

    p_n = W_v · (W_o · v_n + b),    v_n = W_value · x_n,    fit_nl = cos(p_n, text_l)

If all heads had the same weights a_n, the picture's vector p would be Σ_n a_n p_n. The model was never trained to
compare single patches with texts, least of all patches that its head passes over. What the head took from each patch
adds up exactly:

    cos(p, text_l) = Σ_n c_nl,    c_nl = (W_v · Σ_h (a_hn · W_o^h v_hn + a_hn b / H)) · text_l / ‖p‖

W_o^h are the columns of W_o that belong to head h; each patch gets as much of b as it gets of the attention.
"""

from collections.abc import Callable, Sequence
from typing import Any

from aimv2_np.backends.arithmetic import own_arithmetic
from aimv2_np.backends.arrays import namespace, to_numpy, widen
from aimv2_np.models.aimv2 import Aimv2Model
from aimv2_np.network.attention import split_heads
from aimv2_np.network.contrastive import l2_normalize
from aimv2_np.processing import Aimv2Processor
from aimv2_np.shapes import Array, Float, NDArray
from aimv2_np.viz.drawing import COSINES, SIGNED, Drawing, draw_maps, look, short_title
from aimv2_np.viz.pooling import pooling_weights
from aimv2_np.viz.towers import Floats, grid_of, pooling_head_of, two_towers


def project_patches(model: Aimv2Model, tokens: Float[Array, "B N D"]) -> Float[Array, "B N E"]:
    """Each patch's vector in the space of pictures and texts, before it is scaled to length one."""
    head = pooling_head_of(model.vision_model)
    projected: Array = model.visual_projection(head.output_proj(head.v_proj(tokens)))
    return projected


@own_arithmetic()
def caption_similarity(
    model: Aimv2Model,
    pixel_values: Any,
    input_ids: Any,
    attention_mask: Any = None,
    *,
    interpolate_pos_encoding: bool = False,
) -> Floats:
    """The cosine of every patch with every caption: (B, L, rows, columns) for B pictures and L captions.

    Takes its arguments as the model does, and raises what it raises; ValueError for a model without both towers.
    """
    return _maps(fits, model, pixel_values, input_ids, attention_mask, interpolate_pos_encoding)


@own_arithmetic()
def caption_contributions(
    model: Aimv2Model,
    pixel_values: Any,
    input_ids: Any,
    attention_mask: Any = None,
    *,
    interpolate_pos_encoding: bool = False,
) -> Floats:
    """What every patch adds to the cosine of its picture with every caption: (B, L, rows, columns).

    A map sums to that cosine. Arguments and errors as for `caption_similarity`.
    """
    return _maps(contributions, model, pixel_values, input_ids, attention_mask, interpolate_pos_encoding)


def _maps(
    compute: Callable[[Aimv2Model, Array, Array], Floats],
    model: Aimv2Model,
    pixel_values: Any,
    input_ids: Any,
    attention_mask: Any,
    interpolate: bool,
) -> Floats:
    """`compute` of the model, its patches (B, N, D) and its captions (L, E), as maps."""
    tower = two_towers(model).vision_model
    tokens = tower(pixel_values, interpolate_pos_encoding=interpolate).last_hidden_state
    numbers = compute(model, tokens, model.get_text_features(input_ids, attention_mask))  # (B, L, N)
    return numbers.reshape(*numbers.shape[:2], *grid_of(tower, pixel_values))


@own_arithmetic()
def draw_caption_similarity(
    model: Aimv2Model, processor: Aimv2Processor, image: Any, captions: Sequence[str]
) -> Drawing:
    """The picture, and for each caption how well each patch fits it. The array is (L, rows, columns).

    All maps share one scale, so that they can be compared.
    """
    return draw_of_captions(
        model, processor, image, captions, caption_similarity, "each patch, compared with", "cosine", COSINES
    )


@own_arithmetic()
def draw_caption_contributions(
    model: Aimv2Model, processor: Aimv2Processor, image: Any, captions: Sequence[str]
) -> Drawing:
    """The picture, and for each caption what each patch adds to how well the picture fits it; (L, rows, columns).

    One side of the scale speaks for the caption, the other against it; all maps share it.
    """
    title, label = "what each patch adds to", "part of the cosine"
    return draw_of_captions(model, processor, image, captions, caption_contributions, title, label, SIGNED)


def fits(model: Aimv2Model, tokens: Float[Array, "B N D"], texts: Float[Array, "L E"]) -> Floats:
    """(B, L, N): the cosines of patches with texts' features."""
    patches, captions = l2_normalize(widen(project_patches(model, tokens))), l2_normalize(widen(texts))
    return to_numpy(captions @ patches.swapaxes(1, 2))


def contributions(model: Aimv2Model, tokens: Float[Array, "B N D"], texts: Float[Array, "L E"]) -> Floats:
    """(B, L, N): the parts c_nl of the patches in the cosines with texts' features."""
    tower = model.vision_model
    head = pooling_head_of(tower)
    xp = namespace(tokens)
    weights = xp.asarray(pooling_weights(tower, tokens))  # (B, H, N)
    values = widen(split_heads(head.v_proj(tokens), head.heads))  # (B, H, N, d)
    # From the text back through both projections: what each number that the head gathers is worth.
    back = widen(l2_normalize(texts)) @ widen(model.visual_projection.weight)  # (L, E) @ (E, D) -> (L, D)
    worth = (back @ widen(head.output_proj.weight)).reshape(len(back), head.heads, -1)  # (L, D) -> (L, H, d)
    parts = xp.einsum("bhn,bhnd,lhd->bln", weights, values, worth, optimize=True)
    if head.output_proj.bias is not None:
        parts = parts + (back @ widen(head.output_proj.bias))[:, None] * weights.mean(axis=1)[:, None]
    length = xp.linalg.norm(widen(model.visual_projection(head(tokens))), axis=-1)  # (B,)
    return to_numpy(parts / xp.maximum(length, xp.finfo(length.dtype).tiny)[:, None, None])


def draw_of_captions(
    model: Aimv2Model,
    processor: Aimv2Processor,
    image: Any,
    captions: Sequence[str],
    compute: Callable[..., Floats],
    title: str,
    label: str,
    cmap: str,
) -> Drawing:
    """The picture, and what `compute` gives for each caption, on one scale."""
    two_towers(model)
    if not captions or isinstance(captions, str):
        raise ValueError(f"captions is {captions!r:.80}; expected a list of at least one")
    _, seen = look(model, processor, image)
    maps = compute(model, seen.pixel_values, **processor(text=list(captions), padding=True))[0]
    titled = [(short_title(caption), values) for caption, values in zip(captions, maps, strict=True)]
    return Drawing(maps, draw_maps(seen, title, titled, label, limits_of(maps, cmap), cmap=cmap))


def limits_of(maps: NDArray, cmap: str) -> tuple[float, float]:
    """The ends of a scale of colours: for one with two sides, as far from zero on both."""
    if cmap == SIGNED:
        most = float(abs(maps).max())
        return -most, most
    return float(maps.min()), float(maps.max())
