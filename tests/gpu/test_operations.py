"""Every operation on the device, as written and by its faster body, against its textbook on the CPU in float64."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from aimv2_np import textbook, to_numpy
from aimv2_np.backends.arrays import dtype_of, move, to_host
from aimv2_np.backends.dtypes import EPS
from aimv2_np.network.activations import ACTIVATIONS
from aimv2_np.network.attention import attention
from aimv2_np.network.contrastive import contrastive_logits, contrastive_loss, l2_normalize
from aimv2_np.network.linear import linear
from aimv2_np.network.patches import patch_embed
from aimv2_np.network.positions import interpolate_positions, sincos_positions
from aimv2_np.network.rms_norm import rms_norm
from aimv2_np.network.swiglu import gated
from aimv2_np.network.view import CAUSAL, EVERYONE, Both, Padded, View

DTYPES = ("float32", "float16", "bfloat16", "float64")
NDArray = np.ndarray[Any, np.dtype[Any]]
# Of the largest result: the last rounding (ε/2), those of the sums in float32, and what e^x and the like add.
ULPS = 16


def normal(*shape: int, seed: int = 0) -> NDArray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def on_device(array: Any, dtype: str, cupy: ModuleType) -> Any:
    """Rounded to `dtype` where it is a float, on the device."""
    if isinstance(array, View):
        return view_on_device(array)
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        return move(array, "cupy") if isinstance(array, np.ndarray) else array
    return move(array, "cupy").astype(dtype_of(dtype))


def view_on_device(view: View) -> View:
    if isinstance(view, Both):
        return view_on_device(view.first) & view_on_device(view.second)
    return Padded(move(view.keys, "cupy")) if isinstance(view, Padded) else view


def check(cupy: ModuleType, dtype: str, function: Callable[..., Any], *args: Any, as_written: bool = False) -> None:
    """The device's result against float64 of the same, already rounded, numbers."""
    there = [on_device(arg, dtype, cupy) for arg in args]
    here = [to_host(arg).astype(np.float64) if _float(arg) else arg for arg in _back(there, args)]
    plain = getattr(function, "textbook", function)
    expected = plain(*here)
    if as_written:
        with textbook():
            got = function(*there)
    else:
        got = function(*there)
    assert isinstance(got, cupy.ndarray)
    assert got.dtype == dtype_of(dtype)
    assert got.shape == expected.shape
    values = to_numpy(got).astype(np.float64)
    assert np.isfinite(values).all()
    if values.size:
        assert np.abs(values - expected).max() <= ULPS * EPS[dtype] * max(1e-30, float(np.abs(expected).max()))


def _back(there: list[Any], args: tuple[Any, ...]) -> list[Any]:
    return [to_host(it) if isinstance(arg, np.ndarray) else arg for it, arg in zip(there, args, strict=True)]


def _float(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.name in EPS


BOTH = pytest.mark.parametrize("as_written", [False, True], ids=["fast", "as written"])
EACH = pytest.mark.parametrize("dtype", DTYPES)


@BOTH
@EACH
@pytest.mark.parametrize("shape", [(1, 1, 8), (2, 5, 7), (3, 1024), (0, 4, 8), (1, 3, 33)])
@pytest.mark.parametrize("bias", [False, True])
def test_linear(cupy: ModuleType, dtype: str, shape: tuple[int, ...], bias: bool, as_written: bool) -> None:
    weight = normal(9, shape[-1], seed=1) / np.sqrt(shape[-1])
    check(cupy, dtype, linear, normal(*shape), weight, normal(9, seed=2) if bias else None, as_written=as_written)


@BOTH
@EACH
@pytest.mark.parametrize("shape", [(1, 8), (2, 5, 12), (3, 1024), (0, 8), (2, 33), (1, 3072)])
def test_rms_norm(cupy: ModuleType, dtype: str, shape: tuple[int, ...], as_written: bool) -> None:
    check(cupy, dtype, rms_norm, normal(*shape), normal(shape[-1], seed=1), 1e-5, as_written=as_written)


@BOTH
@EACH
@pytest.mark.parametrize("hidden_act", sorted(ACTIVATIONS))
def test_gated(cupy: ModuleType, dtype: str, hidden_act: str, as_written: bool) -> None:
    check(cupy, dtype, gated, 3 * normal(2, 5, 24), normal(2, 5, 24, seed=1), hidden_act, as_written=as_written)


@BOTH
@EACH
@pytest.mark.parametrize(
    ("batch", "heads", "queries", "keys", "size"),
    [(1, 1, 1, 1, 4), (2, 3, 5, 5, 8), (1, 2, 1, 70, 16), (1, 2, 65, 65, 128), (2, 1, 3, 9, 12)],
)
def test_attention(
    cupy: ModuleType, dtype: str, batch: int, heads: int, queries: int, keys: int, size: int, as_written: bool
) -> None:
    q, k, v = (normal(batch, heads, n, size, seed=s) for s, n in enumerate((queries, keys, keys)))
    check(cupy, dtype, attention, q, k, v, size**-0.5, as_written=as_written)


@BOTH
@EACH
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_views(cupy: ModuleType, dtype: str, causal: bool, padded: bool, as_written: bool) -> None:
    q, k, v = (normal(2, 2, 9, 16, seed=s) for s in range(3))
    view = CAUSAL if causal else EVERYONE
    if padded:
        view = view & Padded(np.array([[1] * 9, [1] * 4 + [0] * 5]))
    if causal or padded:
        allowed = view_on_device(view).allowed(cupy, 9, 9)
        np.testing.assert_array_equal(to_numpy(allowed), view.allowed(np, 9, 9))
    check(cupy, dtype, attention, q, k, v, 0.25, view, as_written=as_written)


@BOTH
@EACH
@pytest.mark.parametrize(("height", "width", "patch"), [(4, 4, (4, 4)), (9, 14, (4, 3)), (28, 42, (14, 14))])
def test_patch_embed(
    cupy: ModuleType, dtype: str, height: int, width: int, patch: tuple[int, int], as_written: bool
) -> None:
    weight = normal(10, 3, *patch, seed=1) / np.sqrt(3 * patch[0] * patch[1])
    pixels = normal(2, 3, height, width)
    check(cupy, dtype, patch_embed, pixels, weight, normal(10, seed=2), as_written=as_written)


@EACH
def test_strides(cupy: ModuleType, dtype: str) -> None:
    """Views: reversed, transposed, every second number, repeated."""
    x = on_device(normal(6, 5, 16), dtype, cupy)
    weight = on_device(normal(16, seed=1), dtype, cupy)
    for view in (x[::-1], x.swapaxes(0, 1), x[:, ::2], cupy.broadcast_to(x[:1], x.shape)):
        expected = rms_norm.textbook(to_host(view).astype(np.float64), to_host(weight).astype(np.float64), 1e-5)
        got = to_numpy(rms_norm(view, weight, 1e-5)).astype(np.float64)
        assert np.abs(got - expected).max() <= ULPS * EPS[dtype] * np.abs(expected).max()


@EACH
def test_contrastive(cupy: ModuleType, dtype: str) -> None:
    check(cupy, dtype, l2_normalize, normal(5, 24))
    text, image = (row / np.linalg.norm(row, axis=1, keepdims=True) for row in (normal(4, 24), normal(4, 24, seed=1)))
    check(cupy, dtype, contrastive_logits, text, image, np.asarray(2.5), 100.0)
    check(cupy, dtype, contrastive_loss, 3 * normal(4, 4))


@EACH
def test_positions(cupy: ModuleType, dtype: str) -> None:
    check(cupy, dtype, interpolate_positions, normal(12, 8), (3, 4), (5, 2))
    table = to_numpy(sincos_positions(cupy, 3, 5, 16))
    np.testing.assert_allclose(table, sincos_positions(np, 3, 5, 16), atol=1e-15)  # two ε of the sine's largest, 1


def test_rows_of_zeros_stay_zero(cupy: ModuleType) -> None:
    zeros = cupy.zeros((2, 8), dtype=np.float32)
    assert not to_numpy(l2_normalize(zeros)).any()
    assert not to_numpy(rms_norm(zeros, cupy.ones(8, dtype=np.float32), 1e-5)).any()
