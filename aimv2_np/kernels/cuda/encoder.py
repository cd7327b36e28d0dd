"""The blocks on the device: seven launches each, on one residual stream that products add to where it lies.

    h ← rms_norm1(x)          q, k, v ← h [W_q; W_k; W_v]ᵀ      a ← attention(q, k, v)      x ← a W_oᵀ + x
    h ← rms_norm2(x)          g, u ← h [W_gate; W_up]ᵀ          a ← act(g) · u              x ← a W_downᵀ + x

Biases of the two products that add to x wait for the next norm, which adds them on its way. Small inputs are recorded
as a CUDA graph when they come for the second time (`graphs`), because launching would take longer than computing.
"""

from itertools import pairwise
from typing import Any

from aimv2_np.arrays import namespace
from aimv2_np.kernels.cuda.attention import attention_on_device
from aimv2_np.kernels.cuda.gated import ACTIVATIONS, gated_pass
from aimv2_np.kernels.cuda.gemm import multiply
from aimv2_np.kernels.cuda.graphs import GRAPHS
from aimv2_np.kernels.cuda.launch import computes
from aimv2_np.kernels.cuda.linear import linear_rows
from aimv2_np.kernels.cuda.rms_norm import add_rms_norm, rms_norm_rows
from aimv2_np.layers.encoder import EncoderLayer, run_layers
from aimv2_np.layers.linear import Linear
from aimv2_np.layers.rms_norm import RMSNorm
from aimv2_np.shapes import Array, Bool, Float
from aimv2_np.stacking import stacked
from aimv2_np.tracing import tracing

GRAPH_TOKENS = 2048  # up to which a block's kernels take about as long as launching them


def run_layers_on_device(
    x: Float[Array, "B N D"], layers: list[EncoderLayer], mask: Bool[Array, "#B 1 #N N"] | None = None
) -> Float[Array, "B N D"]:
    """One block after the other, as a graph where that pays; while somebody traces, module by module."""
    if tracing() or not layers or not x.size or not all(_computed_here(x, layer) for layer in layers):
        return run_layers.textbook(x, layers, mask)
    inputs = [namespace(x).ascontiguousarray(x), *([] if mask is None else [namespace(x).ascontiguousarray(mask)])]
    if x.shape[0] * x.shape[1] > GRAPH_TOKENS:
        return run_blocks(layers, inputs[0].copy(), *inputs[1:])
    return GRAPHS.run(run_blocks, layers, inputs, [array for layer in layers for array in weights(layer)])


def weights(layer: EncoderLayer) -> list[Array]:
    """What a block computes with, in a fixed order."""
    linears = (*_projections(layer), layer.attention.out_proj, layer.ffn.down_proj)
    arrays = [layer.rms_norm1.weight, layer.rms_norm2.weight]
    return arrays + [it.weight for it in linears] + [it.bias for it in linears if it.bias is not None]


def run_blocks(layers: list[EncoderLayer], x: Float[Array, "B N D"], mask: Array | None = None) -> Array:
    """The blocks, adding to `x` in place. Launches kernels and products, and nothing that waits for the device."""
    owed = None  # the bias of the latest product that added to x
    for layer in layers:
        h, owed = _norm(layer.rms_norm1, x, owed), layer.attention.out_proj.bias
        _add_product(x, _attend(layer, h, mask), layer.attention.out_proj)
        h, owed = _norm(layer.rms_norm2, x, owed), layer.ffn.down_proj.bias
        _add_product(x, _gate(layer, h), layer.ffn.down_proj)
    if owed is not None:
        x += owed
    return x


def _computed_here(x: Array, layer: EncoderLayer) -> bool:
    return layer.ffn.hidden_act in ACTIVATIONS and computes(x, *weights(layer))


def _projections(layer: EncoderLayer) -> list[Linear]:
    attention, ffn = layer.attention, layer.ffn
    return [attention.q_proj, attention.k_proj, attention.v_proj, ffn.gate_proj, ffn.up_proj]


def _norm(norm: RMSNorm, x: Array, owed: Array | None) -> Array:
    return rms_norm_rows(x, norm.weight, norm.eps) if owed is None else add_rms_norm(x, owed, norm.weight, norm.eps)


def _add_product(x: Float[Array, "B N D"], y: Float[Array, "B N I"], linear: Linear) -> None:
    """`x += y Wᵀ`, without the bias, by letting the product's sum begin with x."""
    multiply(y.reshape(-1, y.shape[-1]), linear.weight, x.reshape(-1, x.shape[-1]), add=True)


def _attend(layer: EncoderLayer, h: Float[Array, "B N D"], mask: Array | None) -> Float[Array, "B N D"]:
    (batch, tokens, size), heads = h.shape, layer.attention.heads
    projections = _projections(layer)[:3]
    q, k, v = (it.reshape(batch, tokens, heads, -1).swapaxes(1, 2) for it in _together(h, projections))
    out = attention_on_device(q, k, v, q.shape[-1] ** -0.5, mask)  # (B, H, N, d) in the memory order (B, N, H, d)
    return out.swapaxes(1, 2).reshape(batch, tokens, size)


def _gate(layer: EncoderLayer, h: Float[Array, "B N D"]) -> Float[Array, "B N F"]:
    gate, up = _together(h, _projections(layer)[3:])
    return gated_pass(gate, up, layer.ffn.hidden_act)


def _together(h: Array, linears: list[Linear]) -> list[Any]:
    """The outputs of several linear maps: views of one product where their weights are stacked."""
    weight = stacked([it.weight for it in linears])
    biases = [it.bias for it in linears if it.bias is not None]
    bias = stacked(biases) if biases else None
    if weight is None or len(biases) not in (0, len(linears)) or (biases and bias is None):
        return [linear_rows(h, it.weight, it.bias) for it in linears]
    y = linear_rows(h, weight, bias)
    ends = [0]
    for linear in linears:
        ends.append(ends[-1] + len(linear.weight))
    return [y[..., start:stop] for start, stop in pairwise(ends)]
