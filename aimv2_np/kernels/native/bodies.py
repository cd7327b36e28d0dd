"""NumPy arrays handed to the C kernels. What these do not take (other dtypes) is left to kernels/numpy.

The structures have the fields of kernels.h. A call releases Python's lock and has threads of its own, which end
with it; several calls at once share the cores.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any, Final

import numpy as np

from aimv2_np.backends import parallel
from aimv2_np.backends.narrow import Narrow, read_by
from aimv2_np.backends.operation import Operation
from aimv2_np.kernels.native.library import Kernels, kernels
from aimv2_np.network.attention import attention
from aimv2_np.network.encoder import EncoderLayer, run_layers
from aimv2_np.network.linear import linear
from aimv2_np.network.patches import patch_embed
from aimv2_np.network.rms_norm import RMSNorm, rms_norm
from aimv2_np.network.swiglu import gated
from aimv2_np.network.view import EVERYONE, Causal, Packed, Prefix, View
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
KINDS: Final = {"float32": 0, "bfloat16": 1, "int8": 2, "rounded": 3}
Body = Callable[..., NDArray | None]
WORTH_A_THREAD: Final = 1 << 22  # multiplications for each; with fewer, starting one gains nothing


class _Sharing:
    """How many calls are running in this process, so that each takes its part of the cores."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, as a process does that was forked: the calls are its parent's."""
        self.lock, self.calls = Lock(), 0

    @contextmanager
    def threads(self, multiplications: int) -> Iterator[int]:
        """How many threads a call of that size may have."""
        with self.lock:
            self.calls += 1
            calls = self.calls
        try:
            worth = multiplications // WORTH_A_THREAD  # which is asked first: a small call does not look for cores
            yield max(1, min(parallel.threads() // calls, worth)) if worth > 1 else 1
        finally:
            with self.lock:
                self.calls -= 1


_sharing = _Sharing()
parallel.when_forked(_sharing.forget)
read_by(lambda: kernels() is not None)


def _run(function: Callable[..., int], multiplications: int, *arguments: Any) -> None:
    with _sharing.threads(multiplications) as threads:
        if function(*arguments, threads):
            raise MemoryError(
                "there is no memory for what the kernels keep between two steps; take fewer images at once"
            )


otherwise: dict[Operation[..., Any], Callable[..., NDArray]] = {}  # operation → NumPy's body, or the textbook's


def _serves(operation: Operation[..., Any], hides: bool = False) -> Callable[[Body], Body]:
    """Decorator: a body that gets the kernels first, and returns None for what they do not take."""
    otherwise[operation] = operation.bodies.get(np.ndarray, operation.textbook)
    skip = operation.skipped.get(np.ndarray, ())

    def add(body: Body) -> Body:
        @operation.register(np.ndarray, skip=skip, hides=hides)
        def serve(*args: Any, **kwargs: Any) -> NDArray:
            found = kernels()
            result = None if found is None or args[0].dtype != np.float32 else body(found, *args, **kwargs)
            return otherwise[operation](*args, **kwargs) if result is None else result

        return body

    return add


@_serves(linear)
def linear_packed(c: Kernels, x: NDArray, weight: NDArray, bias: NDArray | None = None) -> NDArray | None:
    """Weights are packed on the way, for all rows of all batch items: product.c."""
    matrix = _matrix(weight, bias, x.shape[-1:])
    if matrix is None or not x.size:
        return None
    rows = _rows(x)
    y = np.empty((len(rows), len(weight)), np.float32)
    fields = np.array([matrix], MATRIX)
    _run(c.linear, len(rows) * weight.size, *_strided(rows), _address(fields), *_strided(y)[::2])
    return y.reshape(*x.shape[:-1], len(weight))


@_serves(patch_embed)
def patch_embed_pixels(c: Kernels, pixels: NDArray, weight: NDArray, bias: NDArray) -> NDArray | None:
    """From the pixels where they lie, whatever their strides: patches.c."""
    if pixels.ndim != 4 or len(weight.shape) != 4 or weight.shape[1] != pixels.shape[1]:
        return None
    (batch, channels, height, width), (outputs, _, ph, pw) = pixels.shape, weight.shape
    rows, columns, inputs = height // ph, width // pw, channels * ph * pw
    flat = weight.reshape(outputs, inputs)
    matrix, y = _matrix(flat, bias, (inputs,)), np.empty((batch, rows * columns, outputs), np.float32)
    if matrix is None or not y.size:
        return None
    pixels, fields = pixels if _is_whole(pixels) else _packed(pixels), np.array([matrix], MATRIX)
    strides = tuple(stride // 4 for stride in pixels.strides)
    places = np.array([(_address(pixels), batch, channels, rows, columns, ph, pw, strides)], PIXELS)
    _run(c.patches, y.size * inputs, _address(places), _address(fields), _address(y))
    return y


@_serves(rms_norm)
def rms_norm_rows(c: Kernels, x: NDArray, weight: NDArray, eps: float) -> NDArray | None:
    """Row by row: rms_norm.c."""
    if not _is_vector(weight, x.shape[-1:]) or not x.size:
        return None
    rows, norm = _rows(x), np.array([(_address(weight), eps)], NORM)
    y = np.empty(rows.shape, np.float32)
    address, count, stride = _strided(rows)
    _run(c.rms_norm, rows.size, address, count, rows.shape[1], stride, _address(norm), *_strided(y)[::2])
    return y.reshape(x.shape)


@_serves(gated)
def gated_numbers(c: Kernels, gate: NDArray, up: NDArray, hidden_act: str) -> NDArray | None:
    """Number by number."""
    if hidden_act not in ACTIVATIONS or up.dtype != np.float32 or up.shape != gate.shape:
        return None
    gate, up = _packed(gate), _packed(up)
    y = np.empty_like(gate)
    _run(c.gated, 8 * y.size, _address(gate), _address(up), y.size, ACTIVATIONS[hidden_act], _address(y))
    return y


@_serves(attention)
def attention_tiles(
    c: Kernels, q: NDArray, k: NDArray, v: NDArray, scale: float, view: View = EVERYONE
) -> NDArray | None:
    """In tiles of scores, into an array whose heads merge without a copy: attention.c."""
    batch, heads, queries, width = q.shape
    keys = (batch, heads, k.shape[-2], width)
    sequences, mask = _sequences(view, batch, queries, keys[2])
    if sequences is None or scale <= 0 or not (q.size and k.size) or k.shape != keys or v.shape != keys:
        return None
    if k.dtype != np.float32 or v.dtype != np.float32:
        return None
    out = np.empty((batch, queries, heads, width), np.float32).swapaxes(1, 2)
    q, k, v = (x if _is_dense(x) else _packed(x) for x in (q, k, v))
    places = np.array([(_address(x), *(stride // 4 for stride in x.strides[:3])) for x in (q, k, v, out)], HEADS)
    at = [_address(places[i:]) for i in range(4)]
    _run(c.attention, 2 * q.size * keys[2], *at[:3], heads, width, scale, _address(sequences), len(sequences), at[3])
    del mask  # which had to stay in place until now
    return out


@_serves(run_layers, hides=True)
def run_layers_at_once(c: Kernels, x: NDArray, layers: list[EncoderLayer], view: View = EVERYONE) -> NDArray | None:
    """All layers in one call, whose threads meet after every step: layers.c."""
    if isinstance(view, Packed) and view.queries is not None:  # others than the keys: no rows of x
        return None
    batch, tokens, width = x.shape
    table, (sequences, mask) = _layers(layers, width), _sequences(view, batch, tokens, tokens)
    if table is None or sequences is None or not x.size:
        return None
    for name in ("query", "key"):  # rows of all images
        sequences[name] += sequences["batch"] * tokens
    sequences["batch"] = 0
    y, first = np.array(x, order="C"), layers[0]
    activation = ACTIVATIONS[first.ffn.hidden_act]
    work = y.size * (4 * width + 3 * len(first.ffn.gate_proj.weight)) * len(layers)
    heads = first.attention.heads
    _run(c.layers, work, _address(y), batch * tokens, width, _address(table), len(table), heads, activation,
         _address(sequences), len(sequences))  # fmt: skip
    del mask
    return y


def _layers(layers: Sequence[EncoderLayer], width: int) -> NDArray | None:
    """The layers as LAYER's fields; None where there are none, or one that the kernels cannot take."""
    rows = []
    for layer in layers:
        attention, mlp = layer.attention, layer.ffn
        inner = mlp.gate_proj.weight.shape[:1]
        norms = [_norm(norm, width) for norm in (layer.rms_norm1, layer.rms_norm2)]
        square = (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj)
        matrices = [_matrix(each.weight, each.bias, (width,), (width,)) for each in square]
        matrices += [_matrix(each.weight, each.bias, (width,), inner) for each in (mlp.gate_proj, mlp.up_proj)]
        matrices += [_matrix(mlp.down_proj.weight, mlp.down_proj.bias, inner, (width,))]
        alike = (attention.heads, mlp.hidden_act) == (layers[0].attention.heads, layers[0].ffn.hidden_act)
        if not alike or mlp.hidden_act not in ACTIVATIONS or width % attention.heads or None in (*norms, *matrices):
            return None
        rows.append((*norms, *matrices))
    return np.array(rows, LAYER) if rows else None


def _norm(norm: RMSNorm, width: int) -> tuple[int, float] | None:
    return (_address(norm.weight), norm.eps) if _is_vector(norm.weight, (width,)) else None


def _sequences(view: View, batch: int, queries: int, keys: int) -> tuple[NDArray | None, NDArray | None]:
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
        sequences["mask"] = _address(mask) + (np.arange(batch) * mask[0].size if len(mask) > 1 else 0)
        sequences["mask_stride"] = keys if mask.shape[2] > 1 else 0
    return sequences, mask


def _address(array: NDArray) -> int:
    return array.__array_interface__["data"][0]  # type: ignore[no-any-return]


def _matrix(
    weight: NDArray | Narrow, bias: NDArray | None, inputs: tuple[int, ...], outputs: tuple[int, ...] | None = None
) -> tuple[int, ...] | None:
    """The fields of MATRIX; None for what the kernels cannot read, or what has another shape."""
    if isinstance(weight, Narrow):
        numbers, scale, stored = weight.numbers, weight.scale, "rounded" if weight.rounds else weight.stored
    else:
        numbers, scale, stored = weight, None, "float32"
    if weight.dtype != np.float32 or numbers.ndim != 2 or not _is_dense(numbers) or numbers.shape[1:] != inputs:
        return None
    if (outputs or numbers.shape[:1]) != numbers.shape[:1]:
        return None
    if not all(vector is None or _is_vector(vector, numbers.shape[:1]) for vector in (bias, scale)):
        return None
    addresses = (0 if array is None else _address(array) for array in (numbers, bias, scale))
    return (*addresses, *numbers.shape, numbers.strides[0] // numbers.itemsize, KINDS[stored])


def _is_vector(array: NDArray, shape: tuple[int, ...]) -> bool:
    return array.dtype == np.float32 and array.shape == shape and array.flags.c_contiguous and array.flags.aligned


def _is_dense(array: NDArray) -> bool:
    """Whether the numbers of a row follow one another, and all strides are whole numbers."""
    return array.strides[-1] == array.itemsize and _is_whole(array)


def _is_whole(array: NDArray) -> bool:
    """Whether all strides are whole numbers."""
    return array.flags.aligned and not any(stride % array.itemsize for stride in array.strides)


def _packed(array: NDArray) -> NDArray:
    """The array in C's order, and aligned."""
    return np.require(array, requirements=["C", "A"])


def _rows(x: NDArray) -> NDArray:
    """x (…, D) as rows of which the numbers follow one another."""
    rows = x.reshape(-1, x.shape[-1])
    return rows if _is_dense(rows) else _packed(rows)


def _strided(rows: NDArray) -> tuple[int, int, int]:
    """Where the rows begin, how many there are, and how many numbers lie from one to the next."""
    return _address(rows), len(rows), rows.strides[0] // 4
