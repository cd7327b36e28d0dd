"""Every derivative against PyTorch's autograd of the same equation, in float64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy, interpolate, scaled_dot_product_attention
from transformers.activations import ACT2FN

from aimv2_np.gradients.variable import Variable, walk_back
from aimv2_np.network.activations import ACTIVATIONS
from aimv2_np.network.attention import attention
from aimv2_np.network.contrastive import contrastive_logits, contrastive_loss, l2_normalize
from aimv2_np.network.embedding import Embedding
from aimv2_np.network.linear import linear
from aimv2_np.network.patches import patch_embed
from aimv2_np.network.positions import interpolate_positions
from aimv2_np.network.rms_norm import rms_norm
from aimv2_np.network.swiglu import gated
from aimv2_np.network.view import CAUSAL, EVERYONE, Packed, Padded, Prefix
from tests.support.comparison import assert_below
from tests.support.oracle import counted

# The issue's: both sides round each sum to some 1e-16, and sizes are below a hundred.
TOLERANCE = 1e-10

sizes, seeds = st.integers(1, 6), st.integers(0, 999)


def assert_same_gradients(name: str, ours: Callable[..., Any], theirs: Callable[..., Any], *arrays: np.ndarray) -> None:
    """∂/∂array of Σ weights · f(*arrays), relative to the largest number of each gradient.

    What is zero but for rounding, as is ∂/∂q of attention to one key, is a difference of larger numbers, and taken
    relative to a thousandth of the largest of all, or of 1, the size of the weights and of probabilities.
    """
    leaves, tensors = [Variable(x) for x in arrays], [torch.tensor(x, requires_grad=True) for x in arrays]
    expected = theirs(*tensors)
    weights = np.random.default_rng(1).standard_normal(tuple(expected.shape))
    (expected * torch.from_numpy(np.asarray(weights))).sum().backward()
    found = walk_back((ours(*leaves) * weights).sum(), leaves)
    errors = {}
    largest = max(float(tensor.grad.abs().max()) for tensor in tensors if tensor.grad is not None)
    for i, (gradient, tensor) in enumerate(zip(found, tensors, strict=True)):
        reference = np.zeros(tensor.shape) if tensor.grad is None else tensor.grad.numpy()
        assert gradient.shape == reference.shape
        errors[f"{name}.{i}"] = float(
            np.abs(gradient - reference).max() / max(np.abs(reference).max(), 1e-3 * max(largest, 1))
        )
    assert_below(errors, TOLERANCE)


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


@settings(max_examples=30)
@given(batch=st.lists(sizes, max_size=2), inputs=sizes, outputs=sizes, bias=st.booleans(), seed=seeds)
@counted
def test_linear(batch: list[int], inputs: int, outputs: int, bias: bool, seed: int) -> None:
    more = (normal(seed, outputs),) if bias else ()
    assert_same_gradients(
        "linear", linear, nn.functional.linear, normal(seed, *batch, inputs), normal(seed, outputs, inputs), *more
    )


@settings(max_examples=30)
@given(batch=st.lists(sizes, max_size=2), size=sizes, eps=st.sampled_from([1e-6, 1e-3]), seed=seeds)
@counted
def test_rms_norm(batch: list[int], size: int, eps: float, seed: int) -> None:
    def theirs(x: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        return nn.functional.rms_norm(x, (size,), gain, eps)

    arrays = normal(seed, *batch, size), normal(seed + 1, size)
    assert_same_gradients("rms_norm", lambda x, gain: rms_norm(x, gain, eps), theirs, *arrays)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_gated(name: str) -> None:
    arrays = 3 * normal(0, 4, 50), normal(1, 4, 50)
    assert_same_gradients("gated", lambda a, b: gated(a, b, name), lambda a, b: ACT2FN[name](a) * b, *arrays)


VIEWS = {
    "everyone": lambda n: EVERYONE,
    "causal": lambda n: CAUSAL,
    "prefix": lambda n: Prefix(np.array([1, n])),
    "padded": lambda n: Padded(np.array([[1] * n, [1] + [0] * (n - 1)])),
    "causal and padded": lambda n: CAUSAL & Padded(np.array([[1] * n, [1] + [0] * (n - 1)])),
}


@pytest.mark.parametrize("name", VIEWS)
@settings(max_examples=15)
@given(heads=sizes, tokens=sizes, size=sizes, scale=st.sampled_from([0.1, 1.0, 3.0]), seed=seeds)
@counted
def test_attention(name: str, heads: int, tokens: int, size: int, scale: float, seed: int) -> None:
    view = VIEWS[name](tokens)
    allowed = view.allowed(np, tokens, tokens)
    mask = None if allowed is None else torch.from_numpy(np.broadcast_to(allowed, (2, 1, tokens, tokens)).copy())

    def theirs(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)

    arrays = (normal(seed + i, 2, heads, tokens, size) for i in range(3))
    assert_same_gradients(f"attention, {name}", lambda q, k, v: attention(q, k, v, scale, view), theirs, *arrays)


def test_attention_of_a_pack() -> None:
    def theirs(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        parts = (slice(0, 3), slice(3, 5))
        return torch.cat([scaled_dot_product_attention(*(x[:, :, n] for x in (q, k, v)), scale=0.5) for n in parts], 2)

    arrays = (normal(i, 1, 2, 5, 4) for i in range(3))
    assert_same_gradients("attention, packed", lambda *x: attention(*x, 0.5, Packed((3, 2))), theirs, *arrays)


def test_patches() -> None:
    """Pixels that fill no patch have the gradient 0."""

    def theirs(pixels: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv2d(pixels, weight, bias, stride=(4, 3)).flatten(2).transpose(1, 2)

    arrays = normal(0, 2, 3, 9, 7), normal(1, 5, 3, 4, 3), normal(2, 5)
    assert_same_gradients("patch_embed", patch_embed, theirs, *arrays)


def test_a_table() -> None:
    ids = np.array([[0, 3, 3], [5, 0, 3]])
    assert_same_gradients(
        "embedding", lambda table: Embedding(table)(ids), lambda t: t[torch.from_numpy(ids)], normal(0, 7, 4)
    )


@pytest.mark.parametrize("new", [(3, 4), (5, 2), (7, 9)])
def test_positions(new: tuple[int, int]) -> None:
    def theirs(table: torch.Tensor) -> torch.Tensor:
        image = table.reshape(1, 3, 4, 2).permute(0, 3, 1, 2)
        return interpolate(image, size=new, mode="bicubic").permute(0, 2, 3, 1).reshape(-1, 2)

    assert_same_gradients("positions", lambda t: interpolate_positions(t, (3, 4), new), theirs, normal(0, 12, 2))


@settings(max_examples=30)
@given(batch=st.integers(2, 5), size=st.integers(2, 6), scale=st.sampled_from([-0.5, 1.0, 2.6592, 9.0]), seed=seeds)
@counted
def test_contrastive(batch: int, size: int, scale: float, seed: int) -> None:
    """Unit vectors, logits, and the loss, from features."""

    def ours(text: Any, image: Any, temperature: Any) -> Any:
        return contrastive_loss(contrastive_logits(l2_normalize(text), l2_normalize(image), temperature, 100.0))

    def theirs(text: torch.Tensor, image: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
        units = (x / x.norm(dim=-1, keepdim=True) for x in (text, image))
        logits = temperature.clamp(0, float(np.log(100.0))).exp() * (next(units) @ next(units).T)
        diagonal = torch.arange(batch)
        return (cross_entropy(logits, diagonal) + cross_entropy(logits.T, diagonal)) / 2

    arrays = normal(seed, batch, size), normal(seed + 1, batch, size), np.array(scale)
    assert_same_gradients("contrastive", ours, theirs, *arrays)
