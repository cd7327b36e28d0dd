"""Numbers for kernels, memory layouts to put them in, and how far off a result may be."""

from pathlib import Path
from typing import Any, TypeVar

import ml_dtypes
import numpy as np
from hypothesis import strategies as st

from aimv2_np.backends.stacking import Stacker
from aimv2_np.tree.module import Module

M = TypeVar("M", bound=Module)
DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
dtypes = st.sampled_from(sorted(DTYPES))
EPS32 = 2.0**-23


def eps(dtype: str) -> float:
    """From 1 to the next number: one rounding is off by at most half of it, relatively."""
    return float(ml_dtypes.finfo(DTYPES[dtype]).eps)


def normal(seed: int, dtype: str, *shapes: Any, scale: float = 1.0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [(scale * rng.standard_normal(shape)).astype(DTYPES[dtype]) for shape in shapes]


def contiguous(cupy: Any, x: np.ndarray) -> Any:
    return cupy.asarray(x)


def shifted(cupy: Any, x: np.ndarray) -> Any:
    """Without gaps, but beginning one element behind a multiple of 16 bytes."""
    memory = cupy.empty(x.size + 1, x.dtype)[1:].reshape(x.shape)
    memory[...] = cupy.asarray(x)
    return memory


def part_of_rows(cupy: Any, x: np.ndarray) -> Any:
    """The last axis lies within a longer one, as q, k and v do in one product."""
    memory = cupy.empty((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)[..., x.shape[-1] :]
    memory[...] = cupy.asarray(x)
    return memory


def reversed_axes(cupy: Any, x: np.ndarray) -> Any:
    """The first axis is the fastest."""
    return cupy.asarray(np.ascontiguousarray(x.T)).T


def heads_inside(cupy: Any, x: np.ndarray) -> Any:
    """(B, H, N, d) whose memory runs (B, N, H, d), as heads come from a product."""
    return cupy.asarray(np.ascontiguousarray(x.swapaxes(1, 2))).swapaxes(1, 2) if x.ndim == 4 else cupy.asarray(x)


LAYOUTS = st.sampled_from([contiguous, shifted, part_of_rows, reversed_axes, heads_inside])


def sparse_rows(path: Path, seed: int, shape: tuple[int, int], stride: int) -> np.ndarray:
    """float16 rows that begin `stride` elements apart in a file, which takes no room for what lies between."""
    rows = np.memmap(path, np.float16, "w+", shape=(shape[0], stride))
    rows[:, : shape[1]] = normal(seed, "float16", shape)[0]
    return rows


def on_device(cupy: Any, tree: M, dtype: str = "float32", *, stack: bool = True) -> M:
    """The tree on the device, its weights rounded to `dtype`, those of one product in one stack."""
    stacker = Stacker({path: array.shape for path, array in tree.state_dict().items()})
    moved = tree.map(lambda path, array: cupy.asarray(array.astype(DTYPES[dtype])))
    return moved.map(stacker) if stack else moved


def exact(x: Any) -> np.ndarray:
    """float64, on the host."""
    return (x if isinstance(x, np.ndarray) else x.get()).astype(np.float64)


def assert_within(actual: Any, expected: np.ndarray, limit: Any) -> None:
    """Every element is finite and off by no more than `limit` (a number, or one for each element)."""
    actual = exact(actual)
    assert actual.shape == expected.shape
    assert np.isfinite(actual).all()
    worst = np.max(np.abs(actual - expected) - limit, initial=-np.inf)
    assert worst <= 0, f"off by {worst:.3g} more than allowed"
