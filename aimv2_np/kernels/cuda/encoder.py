"""The layers of a tower on the device: seven launches each, on one residual stream that products add to where it lies.

    h ← rms_norm1(x)          q, k, v ← h [W_q; W_k; W_v]ᵀ      a ← attention(q, k, v)      x ← a W_oᵀ + x
    h ← rms_norm2(x)          g, u ← h [W_gate; W_up]ᵀ          a ← act(g) · u              x ← a W_downᵀ + x

Biases of the two products that add to x wait for the next norm, which adds them on its way. Small inputs are recorded
as a CUDA graph when they come for the second time (`graphs`), because launching would take longer than computing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from weakref import WeakKeyDictionary

from aimv2_np.backends.arrays import namespace
from aimv2_np.backends.stacking import stacked
from aimv2_np.kernels.cuda.attention import attend
from aimv2_np.kernels.cuda.gated import gated_pass
from aimv2_np.kernels.cuda.gemm import multiply_transposed
from aimv2_np.kernels.cuda.graphs import GRAPHS, TOKENS
from aimv2_np.kernels.cuda.launch import computes
from aimv2_np.kernels.cuda.linear import linear_rows
from aimv2_np.kernels.cuda.rms_norm import add_rms_norm, rms_norm_rows
from aimv2_np.network.encoder import EncoderLayer, run_layers
from aimv2_np.network.linear import Linear
from aimv2_np.network.rms_norm import RMSNorm
from aimv2_np.network.view import EVERYONE, Mask, Packed, View
from aimv2_np.shapes import Array, Float


def run_layers_on_device(
    x: Float[Array, "B N D"], layers: list[EncoderLayer], view: View = EVERYONE
) -> Float[Array, "B N D"]:
    """One layer after the other, as a graph where that pays."""
    if not layers or not x.size or not _computed_here(x, layers):
        return run_layers.textbook(x, layers, view)
    if isinstance(view, Packed):  # each pack has lengths of its own: a graph would hardly be used again
        return launch_layers(layers, x, view)
    allowed = view.allowed(namespace(x), x.shape[1], x.shape[1])  # once for all layers
    if x.shape[0] * x.shape[1] > TOKENS:
        return launch_layers(layers, x, _masked(allowed))
    (result,) = GRAPHS.run(_recorded, layers, (x, allowed))
    return result


@dataclass
class Maps:
    """Linear maps of one input: of the products that they are, one where weights, and biases, lie in one stack."""

    products: list[tuple[Array, Array | None]]  # weight (Σ O, I), bias (Σ O,)
    ends: list[int]  # rows of the weights before each map, and in all, where there is one product

    def __call__(self, h: Float[Array, "B N I"]) -> Iterator[Array]:
        """(B, N, O) of each."""
        outputs = [linear_rows(h, weight, bias) for weight, bias in self.products]
        if len(outputs) > 1:
            yield from outputs
        else:
            yield from (outputs[0][..., start:stop] for start, stop in pairwise(self.ends))


@dataclass
class Prepared:
    """What the host would otherwise find out about a layer in every pass: 24 times the same."""

    arrays: list[Array | None]  # of the layer, when this was found out
    computed: bool  # by the kernels: all of one type that they are written for
    attention: Maps  # q, k, v
    ffn: Maps  # gate, up


_PREPARED: WeakKeyDictionary[EncoderLayer, Prepared] = WeakKeyDictionary()


def prepare(layer: EncoderLayer) -> Prepared:
    """Found out once for each layer, and again when one of its arrays has been replaced."""
    arrays, known = weights(layer), _PREPARED.get(layer)
    if known is not None and all(a is b for a, b in zip(arrays, known.arrays, strict=True)):
        return known
    projections = _projections(layer)
    found = Prepared(arrays, computes(*arrays), _maps(projections[:3]), _maps(projections[3:]))
    _PREPARED[layer] = found
    return found


def weights(layer: EncoderLayer) -> list[Array | None]:
    """What a layer computes with, in a fixed order; None for a bias that it does not have."""
    linears = (*_projections(layer), layer.attention.out_proj, layer.ffn.down_proj)
    arrays = [layer.rms_norm1.weight, layer.rms_norm2.weight]
    return arrays + [linear.weight for linear in linears] + [linear.bias for linear in linears]


def launch_layers(layers: list[EncoderLayer], x: Float[Array, "B N D"], view: View) -> Float[Array, "B N D"]:
    """The layers, on a copy of `x` that they add to. Launches kernels and products, and nothing that waits for them."""
    x = x.copy(order="C")  # without gaps
    owed = None  # the bias of the latest product that added to x
    for layer in layers:
        maps = prepare(layer)
        h, owed = _norm(layer.rms_norm1, x, owed), layer.attention.out_proj.bias
        _add_product(x, _attend(maps.attention, layer.attention.heads, h, view), layer.attention.out_proj)
        h, owed = _norm(layer.rms_norm2, x, owed), layer.ffn.down_proj.bias
        gate, up = maps.ffn(h)
        _add_product(x, gated_pass(gate, up, layer.ffn.hidden_act), layer.ffn.down_proj)
    if owed is not None:
        x += owed
    return x


def _recorded(layers: list[EncoderLayer], x: Array, allowed: Array | None) -> tuple[Array]:
    return (launch_layers(layers, x, _masked(allowed)),)


def _masked(allowed: Array | None) -> View:
    return EVERYONE if allowed is None else Mask(allowed)


def _computed_here(x: Array, layers: list[EncoderLayer]) -> bool:
    return all(prepare(layer).computed for layer in layers) and computes(
        x, *(layer.rms_norm1.weight for layer in layers)
    )


def _projections(layer: EncoderLayer) -> list[Linear]:
    attention, ffn = layer.attention, layer.ffn
    return [attention.q_proj, attention.k_proj, attention.v_proj, ffn.gate_proj, ffn.up_proj]


def _norm(norm: RMSNorm, x: Array, owed: Array | None) -> Array:
    return rms_norm_rows(x, norm.weight, norm.eps) if owed is None else add_rms_norm(x, owed, norm.weight, norm.eps)


def _add_product(x: Float[Array, "B N D"], y: Float[Array, "B N I"], linear: Linear) -> None:
    """`x += y Wᵀ`, without the bias, by letting the product's sum begin with x."""
    multiply_transposed(y.reshape(-1, y.shape[-1]), linear.weight, x.reshape(-1, x.shape[-1]), add=True)


def _attend(project: Maps, heads: int, h: Float[Array, "B N D"], view: View) -> Float[Array, "B N D"]:
    batch, tokens, size = h.shape
    q, k, v = (y.reshape(batch, tokens, heads, -1).swapaxes(1, 2) for y in project(h))
    out = attend(q, k, v, q.shape[-1] ** -0.5, view)  # (B, H, N, d) in the memory order (B, N, H, d)
    return out.swapaxes(1, 2).reshape(batch, tokens, size)


def _maps(linears: list[Linear]) -> Maps:
    """One product, if weights and biases are stacked."""
    weight = stacked([linear.weight for linear in linears])
    biases = [linear.bias for linear in linears if linear.bias is not None]
    bias = stacked(biases) if biases else None
    if weight is None or len(biases) not in (0, len(linears)) or (biases and bias is None):
        return Maps([(linear.weight, linear.bias) for linear in linears], [])
    ends = [0]
    for linear in linears:
        ends.append(ends[-1] + len(linear.weight))
    return Maps([(weight, bias)], ends)
