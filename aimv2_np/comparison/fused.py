"""Projections that a port computes at once, `qkv` or `gate_up_proj`, taken apart into ours."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aimv2_np.comparison.alignment import UnlikeError, in_shape
from aimv2_np.comparison.measure import measure_arrays
from aimv2_np.comparison.naming import Naming
from aimv2_np.recording.recording import OnDemand, Recording
from aimv2_np.recording.statistics import summarize
from aimv2_np.shapes import NDArray

# The last component of a fused name, and what stands in it for each part: `attn_qkv` is of `attn_q`, `qkv` of `q_proj`.
FUSED = re.compile(r"(\w*?)(qkv|gate_up)(_proj|)")
PARTS = {"qkv": ("q", "k", "v"), "gate_up": ("gate", "up")}
# Another order than the usual one has to leave an error like this, and a quarter at most of what the usual one leaves.
ALIKE, CLEARLY = 0.05, 0.25
MOST_HEADS = 128

Split = Callable[[NDArray], list[NDArray]]


@dataclass(frozen=True)
class Fused:
    """One fused projection: the other side's name for it, which it is, and the paths of its parts in the reference."""

    theirs: str
    which: str
    ours: tuple[str, ...]

    def part(self, number: int) -> str:
        """The name that a part is given."""
        return f"{self.theirs}[{PARTS[self.which][number]}]"


def fused(naming: Naming, recording: Recording, names: Iterable[str]) -> list[Fused]:
    """The fused projections among `names` of the other side whose arrays are there."""
    found = []
    for theirs in names:
        outer, _, last = naming.plain(theirs).rpartition(".")
        match = FUSED.fullmatch(last)
        array = recording.array(theirs) if match else None
        if match is None or array is None:
            continue
        before, which, after = match.groups()
        after = after or ("" if before else "_proj")
        ours = [naming(f"{outer}.{before}{letter}{after}".lstrip(".")) for letter in PARTS[which]]
        if array.ndim > 1 and array.shape[-1] % len(ours) == 0 and None not in ours:
            found.append(Fused(theirs, which, tuple(str(path) for path in ours)))
    return found


def take_apart(
    a: Recording, b: Recording, found: Iterable[Fused], names: Mapping[str, str]
) -> tuple[Recording, dict[str, str], list[str]]:
    """The recording `b` with the parts as activations of their own; our path → name of a part; and notes.

    The parts of an array may lie one after the other, as usual, or head by head; gate and up in either order, or in
    turn. For all arrays of a kind it is the order in which the first of them is the reference's, where the module that
    it is in agrees as well (`names` has those of the other activations): else the fault is in the module.
    """
    found = list(found)
    orders: dict[str, tuple[str, Split]] = {}
    for one in found:
        if one.which not in orders and all(a.array(path) is not None for path in one.ours):
            orders[one.which] = _order(a, b, one, names)
    owners = {one.part(number): (one, number) for one in found for number in range(len(one.ours))}
    usual = {which: next(_ways(which, 0)) for which in PARTS}

    def part(name: str) -> NDArray:
        if name not in owners:
            return b.activations[name]
        one, number = owners[name]
        return (usual | orders)[one.which][1](b.activations[one.theirs])[number]

    def statistics(name: str) -> Any:
        return summarize(name, part(name)) if name in owners else b.statistics[name]

    shapes = {
        name: (*b.shapes[one.theirs][:-1], b.shapes[one.theirs][-1] // len(one.ours))
        for name, (one, _) in owners.items()
    }
    recording = replace(
        b,
        order=(*b.order, *owners),
        shapes=b.shapes | shapes,
        dtypes=b.dtypes | {name: b.dtypes[one.theirs] for name, (one, _) in owners.items()},
        activations=OnDemand((*b.activations, *owners), part),
        statistics=OnDemand((*b.statistics, *owners), statistics),
    )
    paths = {path: one.part(number) for one in found for number, path in enumerate(one.ours)}
    return (
        recording,
        paths,
        [f"{which} of the other side is read {told}" for which, (told, _) in orders.items() if told],
    )


def _order(a: Recording, b: Recording, one: Fused, names: Mapping[str, str]) -> tuple[str, Split]:
    """How the parts of an array lie, in words and as a function."""
    ours = [a.activations[path] for path in one.ours]
    ways = list(_ways(one.which, ours[0].shape[-1]))
    errors = [_error(ours, split(b.activations[one.theirs])) for _, split in ways]
    best = int(np.argmin(errors))
    module = one.ours[0].rpartition(".")[0]
    outer, theirs = a.array(module), b.array(names.get(module, ""))
    agrees = outer is None or theirs is None or _error([outer], [theirs]) <= ALIKE
    clear = errors[best] <= ALIKE and errors[best] <= CLEARLY * errors[0]
    return ways[best] if clear and agrees else ways[0]


def _ways(which: str, size: int) -> Iterator[tuple[str, Split]]:
    """The orders in which parts of `size` channels each may lie along the last axis, the usual one first."""
    count = len(PARTS[which])
    yield "", lambda array: list(np.split(array, count, axis=-1))
    if which == "gate_up":
        yield "with up before gate", lambda array: list(np.split(array, 2, axis=-1))[::-1]
        yield "with gate and up in turn", lambda array: [array[..., 0::2], array[..., 1::2]]
        return
    for heads in (heads for heads in range(2, min(size, MOST_HEADS) + 1) if size % heads == 0):

        def by_head(array: NDArray, heads: int = heads) -> list[NDArray]:
            apart = array.reshape(*array.shape[:-1], heads, count, -1)  # (..., H, 3, d)
            return [apart[..., number, :].reshape(*array.shape[:-1], -1) for number in range(count)]

        yield f"head by head, of {heads} heads", by_head


def _error(ours: list[NDArray], theirs: list[NDArray]) -> float:
    """The largest relative error of several arrays; infinite where one has another number of elements."""
    try:
        return max(measure_arrays(a, in_shape(b, a)[0], "float32").relative for a, b in zip(ours, theirs, strict=True))
    except UnlikeError:
        return float("inf")
