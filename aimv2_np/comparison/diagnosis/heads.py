"""How heads lie in the channels, and which share their keys and values: what others make of it."""

from collections.abc import Callable
from typing import Any

import numpy as np

from aimv2_np.shapes import Array

HEADS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 32)


def _interleaved(x: Array, heads: int) -> Array:
    """(B, N, d·H) → (B, H, N, d)"""
    return x.reshape(*x.shape[:2], -1, heads).transpose(0, 3, 1, 2)


def _put_interleaved(x: Array) -> Array:
    """(B, H, N, d) → (B, N, d·H)"""
    return x.transpose(0, 2, 3, 1).reshape(x.shape[0], x.shape[2], -1)


def _split_as_it_lies(x: Array, heads: int) -> Array:
    """(B, N, H·d) reshaped to (B, H, N, d), as if no axes had to be exchanged."""
    batch, tokens, size = x.shape
    return x.reshape(batch, heads, tokens, size // heads)


def _merged_as_it_lies(x: Array) -> Array:
    """(B, H, N, d) reshaped to (B, N, H·d), as if no axes had to be exchanged."""
    return x.reshape(x.shape[0], x.shape[2], -1)


LAYOUTS: dict[str, dict[str, Any]] = {
    "{path} takes heads from interleaved channels, (d, H); it is (H, d)": {
        "split": _interleaved, "merge": _put_interleaved
    },
    "{path} splits heads from interleaved channels, (d, H); it is (H, d)": {"split": _interleaved},
    "{path} merges heads into interleaved channels, (d, H); it is (H, d)": {"merge": _put_interleaved},
    "{path} reshapes (B, N, H·d) to (B, H, N, d) without exchanging axes, and back so": {
        "split": _split_as_it_lies, "merge": _merged_as_it_lies
    },
    "{path} reshapes (B, N, H·d) to (B, H, N, d) without exchanging axes": {"split": _split_as_it_lies},
    "{path} reshapes (B, H, N, d) to (B, N, H·d) without exchanging axes": {"merge": _merged_as_it_lies},
}  # fmt: skip


def _picked(number: Callable[[int, int], Array]) -> Callable[[Array, int], Array]:
    """Keys or values (B, H, N, d) of so many groups; `number` of H and the groups is the head that each one takes."""
    return lambda x, groups: x[:, number(x.shape[1], groups)]


def _means(x: Array, groups: int) -> Array:
    """The mean of the heads of each group, for all of them."""
    means = x.reshape(x.shape[0], groups, -1, *x.shape[2:]).mean(axis=2)
    return np.repeat(means, x.shape[1] // groups, axis=1)


# What stands for the H heads of keys or values, when there are so many groups of heads that share one.
SHARED: dict[str, Callable[[Array, int], Array]] = {
    "the first of each group": _picked(lambda heads, groups: np.arange(heads) // (heads // groups) * (heads // groups)),
    "the mean of each group": _means,
    "the last of each group": _picked(
        lambda heads, groups: (np.arange(heads) // (heads // groups) + 1) * (heads // groups) - 1
    ),
    "the first heads, each for as many in a row": _picked(lambda heads, groups: np.arange(heads) // (heads // groups)),
    "the first heads, in turn": _picked(lambda heads, groups: np.arange(heads) % groups),
}
GROUPS = (1, 2, 4, 8)
# Which of keys and values are shared.
WHICH: dict[str, tuple[str, ...]] = {"keys and values": ("keys", "values"), "keys": ("keys",), "values": ("values",)}
