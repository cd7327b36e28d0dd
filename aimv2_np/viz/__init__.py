"""Pictures of what a model does. Drawing needs matplotlib, the extra `viz`; the arrays that are drawn do not."""

from aimv2_np.viz.attention import draw_attention, pooling_attention, save_png

__all__ = ["draw_attention", "pooling_attention", "save_png"]
