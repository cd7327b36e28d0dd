"""NumPy arrays handed to the C kernels. What these do not take (other dtypes) is left to kernels/numpy.

A call releases Python's lock and has threads of its own, which end with it; several calls at once share the cores.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, Final

import numpy as np

from aimv2_np.backends import parallel
from aimv2_np.backends.narrow import read_by
from aimv2_np.backends.operation import Operation
from aimv2_np.kernels.native.library import Kernels, kernels
from aimv2_np.kernels.native.structures import (
    ACTIVATIONS,
    HEADS,
    MATRIX,
    NORM,
    PIXELS,
    address_of,
    is_dense,
    is_vector,
    is_whole,
    layers_of,
    matrix_of,
    packed,
    rows_of,
    sequences_of,
    strided,
)
from aimv2_np.network.attention import attention
from aimv2_np.network.encoder import EncoderLayer, run_layers
from aimv2_np.network.linear import linear
from aimv2_np.network.patches import patch_embed
from aimv2_np.network.rms_norm import rms_norm
from aimv2_np.network.swiglu import gated
from aimv2_np.network.view import EVERYONE, Packed, View
from aimv2_np.shapes import NDArray

Body = Callable[..., Any]  # an array, or several; None for what the kernels do not take
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


def call(function: Callable[..., int], multiplications: int, *arguments: Any) -> None:
    """Call one of the kernels with the threads that so many multiplications are worth; MemoryError if it has none."""
    with _sharing.threads(multiplications) as threads:
        if function(*arguments, threads):
            raise MemoryError(
                "there is no memory for what the kernels keep between two steps; take fewer images at once"
            )


otherwise: dict[Operation[..., Any], Callable[..., Any]] = {}  # operation → NumPy's body, or the textbook's


def serves(operation: Operation[..., Any], hides: bool = False) -> Callable[[Body], Body]:
    """Decorator: a body that gets the kernels first, and returns None for what they do not take."""
    otherwise[operation] = operation.bodies.get(np.ndarray, operation.textbook)
    skip = operation.skipped.get(np.ndarray, ())

    def add(body: Body) -> Body:
        @operation.register(np.ndarray, skip=skip, hides=hides)
        def serve(*args: Any, **kwargs: Any) -> Any:
            found = kernels()
            result = None if found is None or args[0].dtype != np.float32 else body(found, *args, **kwargs)
            return otherwise[operation](*args, **kwargs) if result is None else result

        return body

    return add


@serves(linear)
def linear_packed(c: Kernels, x: NDArray, weight: NDArray, bias: NDArray | None = None) -> NDArray | None:
    """Weights are packed on the way, for all rows of all batch items: product.c."""
    matrix = matrix_of(weight, bias, x.shape[-1:])
    if matrix is None or not x.size:
        return None
    rows = rows_of(x)
    y = np.empty((len(rows), len(weight)), np.float32)
    fields = np.array([matrix], MATRIX)
    call(c.linear, y.size * x.shape[-1], *strided(rows), address_of(fields), *strided(y)[::2])
    return y.reshape(*x.shape[:-1], len(weight))


@serves(patch_embed)
def patch_embed_pixels(c: Kernels, pixels: NDArray, weight: NDArray, bias: NDArray) -> NDArray | None:
    """From the pixels where they lie, whatever their strides: patches.c."""
    if pixels.ndim != 4 or len(weight.shape) != 4 or weight.shape[1] != pixels.shape[1]:
        return None
    (batch, channels, height, width), (outputs, _, ph, pw) = pixels.shape, weight.shape
    rows, columns, inputs = height // ph, width // pw, channels * ph * pw
    flat = weight.reshape(outputs, inputs)
    matrix, y = matrix_of(flat, bias, (inputs,)), np.empty((batch, rows * columns, outputs), np.float32)
    if matrix is None or not y.size:
        return None
    pixels, fields = pixels if is_whole(pixels) else packed(pixels), np.array([matrix], MATRIX)
    strides = tuple(stride // 4 for stride in pixels.strides)
    places = np.array([(address_of(pixels), batch, channels, rows, columns, ph, pw, strides)], PIXELS)
    call(c.patches, y.size * inputs, address_of(places), address_of(fields), address_of(y))
    return y


@serves(rms_norm)
def rms_norm_rows(c: Kernels, x: NDArray, weight: NDArray, eps: float) -> NDArray | None:
    """Row by row: rms_norm.c."""
    if not is_vector(weight, x.shape[-1:]) or not x.size:
        return None
    rows, norm = rows_of(x), np.array([(address_of(weight), eps)], NORM)
    y = np.empty(rows.shape, np.float32)
    address, count, stride = strided(rows)
    call(c.rms_norm, rows.size, address, count, rows.shape[1], stride, address_of(norm), *strided(y)[::2])
    return y.reshape(x.shape)


@serves(gated)
def gated_numbers(c: Kernels, gate: NDArray, up: NDArray, hidden_act: str) -> NDArray | None:
    """Number by number."""
    if hidden_act not in ACTIVATIONS or up.dtype != np.float32 or up.shape != gate.shape:
        return None
    gate, up = packed(gate), packed(up)
    y = np.empty_like(gate)
    call(c.gated, 8 * y.size, address_of(gate), address_of(up), y.size, ACTIVATIONS[hidden_act], address_of(y))
    return y


@serves(attention)
def attention_tiles(
    c: Kernels, q: NDArray, k: NDArray, v: NDArray, scale: float, view: View = EVERYONE
) -> NDArray | None:
    """In tiles of scores, into an array whose heads merge without a copy: attention.c."""
    batch, heads, queries, width = q.shape
    keys = (batch, heads, k.shape[-2], width)
    sequences, mask = sequences_of(view, batch, queries, keys[2])
    if sequences is None or scale <= 0 or not (q.size and k.size) or k.shape != keys or v.shape != keys:
        return None
    if k.dtype != np.float32 or v.dtype != np.float32:
        return None
    out = np.empty((batch, queries, heads, width), np.float32).swapaxes(1, 2)
    q, k, v = (x if is_dense(x) else packed(x) for x in (q, k, v))
    places = np.array([(address_of(x), *(stride // 4 for stride in x.strides[:3])) for x in (q, k, v, out)], HEADS)
    at = [address_of(places[i:]) for i in range(4)]
    call(c.attention, 2 * q.size * keys[2], *at[:3], heads, width, scale, address_of(sequences), len(sequences), at[3])
    del mask  # which had to stay in place until now
    return out


@serves(run_layers, hides=True)
def run_layers_at_once(c: Kernels, x: NDArray, layers: list[EncoderLayer], view: View = EVERYONE) -> NDArray | None:
    """All layers in one call, whose threads meet after every step: layers.c."""
    if isinstance(view, Packed) and view.queries is not None:  # others than the keys: no rows of x
        return None
    batch, tokens, width = x.shape
    table, (sequences, mask) = layers_of(layers, width), sequences_of(view, batch, tokens, tokens)
    if table is None or sequences is None or not x.size:
        return None
    for name in ("query", "key"):  # rows of all images
        sequences[name] += sequences["batch"] * tokens
    sequences["batch"] = 0
    y, first = np.array(x, order="C"), layers[0]
    activation = ACTIVATIONS[first.ffn.hidden_act]
    work = y.size * (4 * width + 3 * len(first.ffn.gate_proj.weight)) * len(layers)
    heads = first.attention.heads
    call(c.layers, work, address_of(y), batch * tokens, width, address_of(table), len(table), heads, activation,
         address_of(sequences), len(sequences))  # fmt: skip
    del mask
    return y
