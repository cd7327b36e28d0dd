"""Queries, keys and values in each other's places: projections exchanged, a stacked product taken apart otherwise."""

from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np

from aimv2_np.comparison.diagnosis.fault import Plant, exchanging, holding, with_fields, with_forward
from aimv2_np.network.linear import Linear
from aimv2_np.shapes import Array
from aimv2_np.tree.module import Module

QKV = ("q_proj", "k_proj", "v_proj")


def _in_order(order: tuple[int, ...]) -> Plant:
    """The three projections in another order."""
    return holding(**{name: lambda m, part=QKV[i]: getattr(m, part) for name, i in zip(QKV, order, strict=True)})


def _used_as(order: tuple[int, ...]) -> Plant:
    """The outputs of the three projections in other roles."""
    return exchanging(**{name: lambda m, part=QKV[i]: getattr(m, part) for name, i in zip(QKV, order, strict=True)})


def _by_head(attention: Any, *_: Any) -> Module:
    """Stacked rows (3, H, d) of q, k, v taken for (H, 3, d)."""
    return _regrouped(attention, lambda rows, h: rows.reshape(h, 3, -1, *rows.shape[1:]).swapaxes(0, 1))


def _alternating(attention: Any, *_: Any) -> Module:
    """Stacked rows (3, D) of q, k, v taken for (D, 3)."""
    return _regrouped(attention, lambda rows, h: rows.reshape(-1, 3, *rows.shape[1:]).swapaxes(0, 1))


def _regrouped(attention: Any, regroup: Callable[[Array, int], Array]) -> Module:
    parts = [getattr(attention, name) for name in QKV]

    def three(arrays: list[Array | None]) -> list[Array | None]:
        if any(array is None for array in arrays):
            return [None, None, None]
        rows: Array = np.concatenate(arrays)  # type: ignore[arg-type]
        return [group.reshape(-1, *rows.shape[1:]) for group in regroup(rows, attention.heads)]

    weights, biases = three([part.weight for part in parts]), three([part.bias for part in parts])
    return with_fields(attention, **dict(zip(QKV, map(Linear, weights, biases), strict=True)))


# Outputs q, k, v (B, N, 3·D) or (3, B, N, D) in one array → the same three as others read them, (3, B, N, D).
READ: dict[str, Callable[[Array], Array]] = {
    "(B, N, 3, D) as (3, B, N, D)": lambda three: _last(three).reshape(three.shape),
    "(B, N, 3, D) as (B, 3, N, D)": lambda three: (
        _last(three).reshape(three.shape[1], 3, *three.shape[2:]).swapaxes(0, 1)
    ),
    "(3, B, N, D) as (B, N, 3, D)": lambda three: np.moveaxis(
        three.reshape(*three.shape[1:3], 3, three.shape[3]), 2, 0
    ),
    "(3, B, N, D) as (B, 3, N, D)": lambda three: three.reshape(three.shape[1], 3, *three.shape[2:]).swapaxes(0, 1),
}


def _last(three: Array) -> Array:
    """(3, B, N, D) → (B, N, 3, D)"""
    return np.ascontiguousarray(np.moveaxis(three, 0, 2))


def _read_as(read: Callable[[Array], Array], *, recorded: bool) -> Plant:
    """Outputs of a stacked product read as `read` says; `recorded` under the projections' own names, or within."""

    def part(m: Any, i: int) -> Module:
        parts = [getattr(m, name) for name in QKV]

        def forward(_: Any, x: Array) -> Array:
            # Under their own names the right outputs are not to be seen.
            three = [one.forward(x) if recorded else one(x) for one in parts]
            return read(np.stack(three))[i]

        return with_forward(parts[i], forward)

    fields = {name: lambda m, i=i: part(m, i) for i, name in enumerate(QKV)}
    return holding(**fields) if recorded else exchanging(**fields)


TRANSPOSED: dict[tuple[int, ...], str] = {(1, 0, 2): ", or transposes q kᵀ"}
ORDERS = [order for order in permutations(range(3)) if order != (0, 1, 2)]
PLANTS: dict[str, Plant] = {
    **{
        f"{{path}} takes its projections in the order {', '.join(QKV[i][0] for i in order)}; "
        "a stacked weight holds q, k, v": _in_order(order)
        for order in ORDERS
    },
    **{
        f"{{path}} uses what {', '.join(QKV[i] for i in order)} give as q, k, v{TRANSPOSED.get(order, '')}": (
            _used_as(order)
        )
        for order in ORDERS
    },
    "{path} splits a stacked weight head by head, (heads, 3, d); it holds all of q, then k, then v": _by_head,
    "{path} splits a stacked weight row by row, (D, 3); it holds all of q, then k, then v": _alternating,
    **{
        f"{{path}} reads q, k, v in one array {words}, without exchanging axes": _read_as(read, recorded=recorded)
        for recorded in (True, False)
        for words, read in READ.items()
    },
}
