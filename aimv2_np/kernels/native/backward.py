"""Derivatives in C, for float32 on a CPU; what kernels/native does not take is left to the derivative as written."""

import numpy as np

from aimv2_np.gradients.attention import backward as attention_backward
from aimv2_np.gradients.half import product
from aimv2_np.gradients.rms_norm import backward as rms_norm_backward
from aimv2_np.gradients.swiglu import backward as gated_backward
from aimv2_np.kernels.native.bodies import call, serves
from aimv2_np.kernels.native.library import Kernels
from aimv2_np.kernels.native.structures import (
    ACTIVATIONS,
    HEADS,
    NORM,
    address_of,
    is_dense,
    is_vector,
    packed,
    rows_of,
    sequences_of,
    strided,
)
from aimv2_np.network.view import View
from aimv2_np.shapes import NDArray


def _float32(*arrays: NDArray) -> bool:
    return all(type(array) is np.ndarray and array.dtype == np.float32 for array in arrays)


@serves(product)
def product_of_columns(c: Kernels, a: NDArray, b: NDArray) -> NDArray | None:
    """Of two transposed matrices, gᵀ x, both of which are read where they lie: product.c."""
    if not _float32(a, b) or not (a.size and b.size) or any(x.strides[0] != x.itemsize for x in (a, b)):
        return None
    g, x = rows_of(a.T), rows_of(b.T)
    y = np.empty((g.shape[1], x.shape[1]), np.float32)
    (left, count, left_stride), (right, _, right_stride) = strided(g), strided(x)
    call(c.transposed, y.size * count, left, left_stride, right, right_stride, count, *y.shape, address_of(y))
    return y


@serves(gated_backward)
def gated_back_numbers(
    c: Kernels, gate: NDArray, up: NDArray, g: NDArray, hidden_act: str
) -> tuple[NDArray, NDArray] | None:
    """Value and slope of the activation from one sigmoid: backward.c."""
    if hidden_act not in ACTIVATIONS or not _float32(up, g) or not gate.shape == up.shape == g.shape:
        return None
    gate, up, g = packed(gate), packed(up), packed(g)
    by_gate, by_up = np.empty_like(gate), np.empty_like(gate)
    places = [address_of(x) for x in (gate, up, g)]
    call(c.gated_back, 16 * g.size, *places, g.size, ACTIVATIONS[hidden_act], address_of(by_gate), address_of(by_up))
    return by_gate, by_up


@serves(rms_norm_backward)
def rms_norm_back_rows(
    c: Kernels, x: NDArray, weight: NDArray, g: NDArray, eps: float
) -> tuple[NDArray, NDArray] | None:
    """Row by row: backward.c."""
    if not _float32(g) or not is_vector(weight, x.shape[-1:]) or x.shape != g.shape or not x.size:
        return None
    x, g, norm = packed(x), packed(g), np.array([(address_of(weight), eps)], NORM)
    by_x, by_weight = np.empty_like(x), np.empty_like(weight)
    rows = x.size // x.shape[-1]
    call(c.rms_norm_back, 8 * x.size, address_of(x), address_of(g), rows, x.shape[-1], address_of(norm),
         address_of(by_x), address_of(by_weight))  # fmt: skip
    return by_x, by_weight


@serves(attention_backward)
def attention_back_heads(
    c: Kernels, q: NDArray, k: NDArray, v: NDArray, output: NDArray, g: NDArray, scale: float, view: View
) -> tuple[NDArray, NDArray, NDArray] | None:
    """Head by head, in tiles of scores; heads split again without a copy: attention_back.c."""
    batch, heads, queries, width = q.shape
    keys = (batch, heads, k.shape[-2], width)
    sequences, mask = sequences_of(view, batch, queries, keys[2])
    if sequences is None or scale <= 0 or not (q.size and k.size) or k.shape != keys or v.shape != keys:
        return None
    if not _float32(k, v, output, g) or not q.shape == output.shape == g.shape:
        return None
    inputs = [x if is_dense(x) else packed(x) for x in (q, k, v, output, g)]
    found = [np.empty((batch, n, heads, width), np.float32).swapaxes(1, 2) for n in (queries, keys[2], keys[2])]
    places = np.array([(address_of(x), *(stride // 4 for stride in x.strides[:3])) for x in (*inputs, *found)], HEADS)
    call(c.attention_back, 5 * q.size * keys[2], address_of(places), heads, width, scale, address_of(sequences),
         len(sequences), address_of(places[5:]))  # fmt: skip
    del mask  # which had to stay in place until now
    return found[0], found[1], found[2]
