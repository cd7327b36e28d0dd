"""Pictures of what a model does. Drawing needs matplotlib, the extra `viz`; the arrays that are drawn do not."""

from aimv2_np.viz.attention import draw_attention, pooling_attention, save_png
from aimv2_np.viz.confusion import draw_confusion

__all__ = ["draw_attention", "draw_confusion", "pooling_attention", "save_png"]
