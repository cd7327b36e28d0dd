"""Which body computes which operation for CuPy arrays. Nothing here imports CuPy."""

from collections.abc import Callable
from typing import Any

from aimv2_np import devices
from aimv2_np.kernels.cuda.attention import attention_on_device, packed_attention_on_device, pool_packed_on_device
from aimv2_np.kernels.cuda.encoder import run_layers_on_device
from aimv2_np.kernels.cuda.gated import gated_pass
from aimv2_np.kernels.cuda.graphs import GRAPHS
from aimv2_np.kernels.cuda.linear import linear_rows
from aimv2_np.kernels.cuda.patches import patch_embed_rows
from aimv2_np.kernels.cuda.positions import interpolate_on_device
from aimv2_np.kernels.cuda.rms_norm import rms_norm_rows
from aimv2_np.kernels.cuda.tower import run_tower_as_graph
from aimv2_np.layers.attention import attention, packed_attention
from aimv2_np.layers.encoder import run_layers
from aimv2_np.layers.linear import linear
from aimv2_np.layers.patch_embedding import patch_embed
from aimv2_np.layers.pooling_head import pool_packed
from aimv2_np.layers.positions import interpolate_positions
from aimv2_np.layers.rms_norm import rms_norm
from aimv2_np.layers.swiglu import gated
from aimv2_np.layers.tower import run_tower
from aimv2_np.operation import Operation

BODIES: dict[Operation[..., Any], Callable[..., Any]] = {
    attention: attention_on_device,
    gated: gated_pass,
    interpolate_positions: interpolate_on_device,
    linear: linear_rows,
    packed_attention: packed_attention_on_device,
    patch_embed: patch_embed_rows,
    pool_packed: pool_packed_on_device,
    rms_norm: rms_norm_rows,
    run_layers: run_layers_on_device,
    run_tower: run_tower_as_graph,
}


def register(array_type: type) -> None:
    """Use these bodies for arrays of `array_type`, `cupy.ndarray`."""
    for operation, body in BODIES.items():
        operation.register(array_type)(body)
    devices.reserves.add(GRAPHS.clear)
