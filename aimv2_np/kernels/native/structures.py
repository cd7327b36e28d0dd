"""NumPy arrays as the structures of kernels.h, which has the same fields; None for what the kernels do not take.

Addresses are whole numbers, which keep no array alive: whoever has them keeps it.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from aimv2_np.backends.narrow import Narrow
from aimv2_np.network.encoder import EncoderLayer
from aimv2_np.network.rms_norm import RMSNorm
from aimv2_np.network.view import Causal, Packed, Prefix, View
from aimv2_np.shapes import NDArray

MATRIX: Final = np.dtype([(name, "i8") for name in ("data", "bias", "scale", "outputs", "inputs", "stride", "kind")])
NORM: Final = np.dtype([("weight", "u8"), ("eps", "f8")])
LAYER: Final = np.dtype(
    [(name, NORM) for name in ("norm1", "norm2")]
    + [(name, MATRIX) for name in ("q", "k", "v", "out", "gate", "up", "down")]
)
SEQUENCE: Final = np.dtype(
    [(name, "i8") for name in ("batch", "query", "queries", "key", "keys", "prefix")]
    + [("mask", "u8"), ("mask_stride", "i8")]
)
HEADS: Final = np.dtype([("data", "u8"), ("batch", "i8"), ("head", "i8"), ("row", "i8")])
PIXELS: Final = np.dtype(
    [(name, "i8") for name in ("data", "batch", "channels", "rows", "columns", "ph", "pw")] + [("strides", "i8", 4)]
)
ACTIVATIONS: Final = {
    name: i
    for i, names in enumerate((
        ("silu", "swish"),
        ("quick_gelu",),
        ("gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_accurate"),
        ("relu",),
    ))
    for name in names
}  # fmt: skip
KINDS: Final = {"float32": 0, "bfloat16": 1, "int8": 2, "rounded": 3, "across": 4, "float16": 5}


def layers_of(layers: Sequence[EncoderLayer], width: int) -> NDArray | None:
    """The layers as LAYER's fields; None where there are none, or one that the kernels cannot take."""
    rows = []
    for layer in layers:
        attention, mlp = layer.attention, layer.ffn
        inner = mlp.gate_proj.weight.shape[:1]
        norms = [norm_of(norm, width) for norm in (layer.rms_norm1, layer.rms_norm2)]
        square = (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj)
        matrices = [matrix_of(each.weight, each.bias, (width,), (width,)) for each in square]
        matrices += [matrix_of(each.weight, each.bias, (width,), inner) for each in (mlp.gate_proj, mlp.up_proj)]
        matrices += [matrix_of(mlp.down_proj.weight, mlp.down_proj.bias, inner, (width,))]
        alike = (attention.heads, mlp.hidden_act) == (layers[0].attention.heads, layers[0].ffn.hidden_act)
        if not alike or mlp.hidden_act not in ACTIVATIONS or width % attention.heads or None in (*norms, *matrices):
            return None
        rows.append((*norms, *matrices))
    return np.array(rows, LAYER) if rows else None


def norm_of(norm: RMSNorm, width: int) -> tuple[int, float] | None:
    return (address_of(norm.weight), norm.eps) if is_vector(norm.weight, (width,)) else None


def sequences_of(view: View, batch: int, queries: int, keys: int) -> tuple[NDArray | None, NDArray | None]:
    """Who sees whom as SEQUENCE's fields, None where the view is not of these sizes; a mask that they point to."""
    if isinstance(view, Packed):
        if (batch, sum(view.queries or view.lengths), sum(view.lengths)) != (1, queries, keys):
            return None, None
        parts = [(0, n.start, n.stop - n.start, m.start, m.stop - m.start) for n, m in view.slices()]
        return np.array([(*part, part[-1], 0, 0) for part in parts], SEQUENCE), None
    sequences = np.zeros(batch, SEQUENCE)
    sequences["batch"], sequences["queries"], sequences["keys"] = np.arange(batch), queries, keys
    sequences["prefix"], mask = keys, None
    if isinstance(view, Causal):
        sequences["prefix"] = 0
    elif isinstance(view, Prefix):
        sequences["prefix"] = view.lengths
    elif (mask := view.allowed(np, queries, keys)) is not None:
        if mask.shape[0] not in (1, batch) or mask.shape[1:] not in ((1, 1, keys), (1, queries, keys)):
            return None, None
        mask = np.ascontiguousarray(mask, bool)
        sequences["mask"] = address_of(mask) + (np.arange(batch) * mask[0].size if len(mask) > 1 else 0)
        sequences["mask_stride"] = keys if mask.shape[2] > 1 else 0
    return sequences, mask


def address_of(array: NDArray) -> int:
    return array.__array_interface__["data"][0]  # type: ignore[no-any-return]


def matrix_of(
    weight: NDArray | Narrow, bias: NDArray | None, inputs: tuple[int, ...], outputs: tuple[int, ...] | None = None
) -> tuple[int, ...] | None:
    """The fields of MATRIX; None for what the kernels cannot read, or what has another shape."""
    if isinstance(weight, Narrow):
        numbers, scale, stored = weight.numbers, weight.scale, "rounded" if weight.rounds else weight.stored
    else:
        numbers, scale, stored = weight, None, "float32"
    if weight.dtype != np.float32 or numbers.ndim != 2 or numbers.shape[1:] != inputs:
        return None
    lying = numbers
    if stored == "float32" and not is_dense(numbers):
        lying, stored = numbers.T, "across"
    if not is_dense(lying):
        return None
    if (outputs or numbers.shape[:1]) != numbers.shape[:1]:
        return None
    if not all(vector is None or is_vector(vector, numbers.shape[:1]) for vector in (bias, scale)):
        return None
    addresses = (0 if array is None else address_of(array) for array in (numbers, bias, scale))
    return (*addresses, *numbers.shape, lying.strides[0] // numbers.itemsize, KINDS[stored])


def is_vector(array: NDArray, shape: tuple[int, ...]) -> bool:
    return array.dtype == np.float32 and array.shape == shape and array.flags.c_contiguous and array.flags.aligned


def is_dense(array: NDArray) -> bool:
    """Whether the numbers of a row follow one another, and all strides are whole numbers."""
    return array.strides[-1] == array.itemsize and is_whole(array)


def is_whole(array: NDArray) -> bool:
    """Whether all strides are whole numbers."""
    return array.flags.aligned and not any(stride % array.itemsize for stride in array.strides)


def packed(array: NDArray) -> NDArray:
    """The array in C's order, and aligned."""
    return np.require(array, requirements=["C", "A"])


def rows_of(x: NDArray) -> NDArray:
    """x (…, D) as rows of which the numbers follow one another."""
    rows = x.reshape(-1, x.shape[-1])
    return rows if is_dense(rows) else packed(rows)


def strided(rows: NDArray) -> tuple[int, int, int]:
    """Where the rows begin, how many there are, and how many numbers lie from one to the next."""
    return address_of(rows), len(rows), rows.strides[0] // 4
