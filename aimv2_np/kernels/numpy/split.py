"""A few pictures on all cores at once: each core makes its own features of every layer.

    core i:    y[:, own_i] = x W[own_i]ᵀ

A core then multiplies by its own rows of each weight, so that no weight is read, or packed by BLAS, by two of them. The
cores meet where the next step needs what all have made: six times a block, four of them for the norms. Shoeybi et
al. 2019, "Megatron-LM" (arXiv:1909.08053), section 3, in memory that all of them share.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from aimv2_np.backends.parallel import parts, pieces, together
from aimv2_np.kernels.numpy.gate import gated_into
from aimv2_np.kernels.numpy.norm import rms_factor, scale_features, squares_of_tokens
from aimv2_np.kernels.numpy.scratch import empty, scratch
from aimv2_np.network.attention import attention, merge_heads, split_heads
from aimv2_np.network.encoder import EncoderLayer
from aimv2_np.network.linear import Linear, linear
from aimv2_np.network.rms_norm import RMSNorm
from aimv2_np.network.view import Mask, View
from aimv2_np.shapes import NDArray


def run_split(x: NDArray, layers: list[EncoderLayer], view: View, workers: int, step: int) -> NDArray:
    """All layers on x (B, N, D), with `workers` cores; the MLP takes `step` tokens at once.

    `view` is Everyone or a Mask.
    """
    batch, tokens, size = x.shape
    stream = _by_feature((batch, tokens, size), x.dtype)
    stream[...] = x
    shared = _Shared(layers[0], stream, workers, step)

    def work(i: int, meet: Callable[[], object]) -> None:
        with scratch():
            for layer in layers:
                _attention(layer, shared, view, i, meet)
                _mlp(layer, shared, i, meet)

    together(work, workers)
    return stream


class _Shared:
    """The arrays that every core writes its own features, heads or tokens of, and whose parts those are."""

    def __init__(self, layer: EncoderLayer, stream: NDArray, workers: int, step: int) -> None:
        batch, tokens, size = stream.shape
        inner = len(layer.ffn.gate_proj.weight)
        rows = batch * tokens
        self.stream, self.rows = stream, stream.reshape(rows, size)
        *self.qkv, self.heads = (_by_feature(stream.shape, stream.dtype) for _ in range(4))
        self.normed = _by_feature(stream.shape, stream.dtype).reshape(rows, size)
        self.squares = np.empty((workers, rows), stream.dtype)
        self.memory = empty((inner, min(step, rows)), stream.dtype)
        self.blocks = pieces(rows, step)
        self.features, self.intermediate = _parts(size, workers), _parts(inner, workers)
        self.tokens = _parts(tokens, workers)

    def inner(self, n: slice) -> NDArray:
        """The intermediate features of some tokens: one array for all blocks, which in each has no gaps."""
        width, count = len(self.memory), n.stop - n.start
        return self.memory.reshape(-1)[: width * count].reshape(width, count).T


def _attention(layer: EncoderLayer, shared: _Shared, view: View, i: int, meet: Callable[[], object]) -> None:
    """x ← x + attention(rms_norm1(x)).

    A core attends with its own heads if their features are its own; or else, after one more meeting, with all heads of
    its own tokens.
    """
    own, block, heads = shared.features[i], layer.attention, layer.attention.heads
    h = _norm(layer.rms_norm1, shared, i, meet).reshape(shared.stream.shape)
    qkv = [_features(project, h, own) for project in (block.q_proj, block.k_proj, block.v_proj)]
    if heads % len(shared.features) == 0:
        n, d, heads = slice(None), own, heads // len(shared.features)
    else:
        for y, part in zip(shared.qkv, qkv, strict=True):
            y[..., own] = part
        meet()
        n, d, qkv = shared.tokens[i], slice(None), shared.qkv
    q, k, v = (split_heads(y, heads) for y in qkv)
    if isinstance(view, Mask) and view.mask.shape[2] > 1:
        view = Mask(view.mask[:, :, n])
    shared.heads[:, n, d] = merge_heads(attention(q[:, :, n], k, v, q.shape[-1] ** -0.5, view))
    meet()
    shared.stream[..., own] += _features(block.out_proj, shared.heads, own)


def _mlp(layer: EncoderLayer, shared: _Shared, i: int, meet: Callable[[], object]) -> None:
    """x ← x + ffn(rms_norm2(x)), some tokens after the other."""
    own, between, mlp = shared.features[i], shared.intermediate[i], layer.ffn
    normed = _norm(layer.rms_norm2, shared, i, meet)
    for n in shared.blocks:
        x, h, inner = shared.rows[n], normed[n], shared.inner(n)
        gate, up = _features(mlp.gate_proj, h, between), _features(mlp.up_proj, h, between)
        gated_into(gate, up, mlp.hidden_act, inner[:, between])
        meet()
        x[:, own] += _features(mlp.down_proj, inner, own)
        if n is not shared.blocks[-1]:
            meet()  # before anybody writes the next tokens' intermediate features


def _norm(norm: RMSNorm, shared: _Shared, i: int, meet: Callable[[], object]) -> NDArray:
    """rms_norm(x) of all tokens: each core adds up the squares of its own features, and scales these."""
    own = shared.features[i]
    x = shared.rows[:, own].T
    shared.squares[i] = squares_of_tokens(x)
    meet()
    factor = rms_factor(shared.squares.sum(axis=0), shared.rows.shape[1], norm.eps)
    scale_features(x, norm.weight[own], factor, shared.normed[:, own].T)
    meet()
    return shared.normed


def _features(project: Linear, x: NDArray, own: slice) -> NDArray:
    """Some of the features that `project` makes."""
    y: NDArray = linear(x, project.weight[own], None if project.bias is None else project.bias[own])
    return y


def _parts(total: int, workers: int) -> list[slice]:
    """One for each worker, though some be empty."""
    return [*parts(total, workers), *[slice(total, total)] * (workers - total)]


def _by_feature(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray:
    """An array (…, D) of which the tokens of one feature are neighbours in memory."""
    return np.moveaxis(empty((shape[-1], *shape[:-1]), dtype), 0, -1)
