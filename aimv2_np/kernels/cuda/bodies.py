"""Which body computes which operation for CuPy arrays. Nothing here imports CuPy."""

from collections.abc import Callable
from typing import Any

from aimv2_np.backends import devices
from aimv2_np.backends.operation import Operation
from aimv2_np.gradients.attention import backward as attention_backward
from aimv2_np.gradients.embedding import add_rows
from aimv2_np.gradients.half import product
from aimv2_np.gradients.rms_norm import backward as rms_norm_backward
from aimv2_np.gradients.swiglu import backward as gated_backward
from aimv2_np.kernels.cuda.attention import attend
from aimv2_np.kernels.cuda.attention_back import attend_back
from aimv2_np.kernels.cuda.embedding_back import add_rows_in_order
from aimv2_np.kernels.cuda.encoder import run_layers_on_device
from aimv2_np.kernels.cuda.gated import gated_pass
from aimv2_np.kernels.cuda.gated_back import gated_back
from aimv2_np.kernels.cuda.graphs import GRAPHS
from aimv2_np.kernels.cuda.half import product_of_halves
from aimv2_np.kernels.cuda.linear import linear_rows
from aimv2_np.kernels.cuda.patches import patch_embed_rows
from aimv2_np.kernels.cuda.positions import interpolate_on_device
from aimv2_np.kernels.cuda.rms_norm import rms_norm_rows
from aimv2_np.kernels.cuda.rms_norm_back import rms_norm_back
from aimv2_np.kernels.cuda.tower import text_tower_on_device, text_vectors_on_device, vision_tower_on_device
from aimv2_np.network.attention import attention
from aimv2_np.network.encoder import run_layers
from aimv2_np.network.linear import linear
from aimv2_np.network.patches import patch_embed
from aimv2_np.network.positions import interpolate_positions
from aimv2_np.network.rms_norm import rms_norm
from aimv2_np.network.swiglu import gated
from aimv2_np.network.text import text_tower, text_vectors
from aimv2_np.network.vision import vision_tower

BODIES: dict[Operation[..., Any], Callable[..., Any]] = {
    add_rows: add_rows_in_order,
    attention: attend,
    attention_backward: attend_back,
    gated: gated_pass,
    gated_backward: gated_back,
    interpolate_positions: interpolate_on_device,
    linear: linear_rows,
    patch_embed: patch_embed_rows,
    product: product_of_halves,
    rms_norm: rms_norm_rows,
    rms_norm_backward: rms_norm_back,
    run_layers: run_layers_on_device,
    text_tower: text_tower_on_device,
    text_vectors: text_vectors_on_device,
    vision_tower: vision_tower_on_device,
}


def register(array_type: type) -> None:
    """Use these bodies for arrays of `array_type`, `cupy.ndarray`."""
    for operation, body in BODIES.items():
        operation.register(array_type, hides=operation.composite)(body)
    devices.reserves.add(GRAPHS.clear)
