"""Pictures of what a model does, one kind per file.

A function named after what it computes returns an array and needs NumPy only. Its `draw_…` partner takes a processor
and pictures, and returns a `Drawing`: the array and a figure. Drawing needs matplotlib, the extra `viz`; what all
drawings share is in `drawing`, which parts of a model they look at in `towers`. Nothing here changes what a model
computes, and no other room but `cli` needs this one.
"""

from aimv2_np.viz.attention import draw_patch_attention, patch_attention
from aimv2_np.viz.captions import (
    caption_contributions,
    caption_similarity,
    draw_caption_contributions,
    draw_caption_similarity,
    project_patches,
)
from aimv2_np.viz.confusion import draw_confusion
from aimv2_np.viz.drawing import Drawing, save_png
from aimv2_np.viz.explanation import Explanation, explain
from aimv2_np.viz.features import (
    draw_patch_colors,
    draw_patch_similarity,
    patch_colors,
    patch_similarity,
    principal_components,
)
from aimv2_np.viz.lens import draw_lens, feature_lens, similarity_lens
from aimv2_np.viz.overview import draw_explanation
from aimv2_np.viz.page import explanation_page
from aimv2_np.viz.pooling import draw_pooling_attention, pooling_attention, pooling_weights
from aimv2_np.viz.positions import draw_position_similarity, draw_position_waves, position_similarity, position_vectors
from aimv2_np.viz.relevance import (
    caption_relevance,
    caption_saliency,
    draw_caption_relevance,
    draw_caption_saliency,
)
from aimv2_np.viz.residual import ResidualStream, draw_residual_stream, residual_stream
from aimv2_np.viz.rollout import attention_rollout, draw_attention_rollout
from aimv2_np.viz.text import draw_text_attention, text_attention

__all__ = [
    "Drawing",
    "Explanation",
    "ResidualStream",
    "attention_rollout",
    "caption_contributions",
    "caption_relevance",
    "caption_saliency",
    "caption_similarity",
    "draw_attention_rollout",
    "draw_caption_contributions",
    "draw_caption_relevance",
    "draw_caption_saliency",
    "draw_caption_similarity",
    "draw_confusion",
    "draw_explanation",
    "draw_lens",
    "draw_patch_attention",
    "draw_patch_colors",
    "draw_patch_similarity",
    "draw_pooling_attention",
    "draw_position_similarity",
    "draw_position_waves",
    "draw_residual_stream",
    "draw_text_attention",
    "explain",
    "explanation_page",
    "feature_lens",
    "patch_attention",
    "patch_colors",
    "patch_similarity",
    "pooling_attention",
    "pooling_weights",
    "position_similarity",
    "position_vectors",
    "principal_components",
    "project_patches",
    "residual_stream",
    "save_png",
    "similarity_lens",
    "text_attention",
]
