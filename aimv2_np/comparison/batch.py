"""Pictures or texts that went in, or were written, in another order on the other side."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from aimv2_np.comparison.alignment import UnlikeError, in_shape
from aimv2_np.recording.recording import OnDemand, Recording
from aimv2_np.recording.statistics import summarize
from aimv2_np.shapes import NDArray

PICTURES, TEXTS = "pictures", "texts"
INPUTS = {"pixel_values": PICTURES, "input_ids": TEXTS}
MASKS = {TEXTS: "attention_mask", PICTURES: "pixel_attention_mask"}
LARGEST = 256  # items: each is compared with each
# The relative error of what may be the same item; different pictures are apart by a good part of their size.
ALIKE = 0.05


@dataclass(frozen=True)
class Reordered:
    """The other side with its items in the reference's order.

    Attributes:
        recording: it.
        note: what was reordered.
        certain: whether the inputs alone show the order: then it is no matter of what was computed.
    """

    recording: Recording
    note: str
    certain: bool


def reordered(a: Recording, b: Recording, names: Mapping[str, str], unequal: Iterable[str]) -> Reordered | None:
    """The recording `b` with its pictures and texts in the order of `a`; None where no other order is found.

    The order is that of the inputs, where both sides have them; else of the first of the `unequal` paths of each kind.
    """
    orders: dict[str, tuple[int, ...]] = {}
    known = set()
    for name, kind in INPUTS.items():
        if name in a.inputs and name in b.inputs:
            known.add(kind)
            order = item_order(a.inputs[name], b.inputs[name])
            if order and _goes_with(order, MASKS[kind], a, b):
                orders[kind] = order
    certain = bool(orders)
    single = _single(a)
    for path in unequal:
        kinds = _kinds(path, single)
        if len(kinds) == 1 and kinds[0] not in known:
            ours, theirs = a.array(path), b.array(names.get(path, ""))
            if ours is not None and theirs is not None and ours.ndim > 1:
                known.add(kinds[0])
                if order := item_order(ours, theirs):
                    orders[kinds[0]] = order
    if not orders:
        return None
    told = " and ".join(f"{kind} {', '.join(map(str, order))}" for kind, order in orders.items())
    note = f"the other side has its items in another order, which was undone: {told} of it are ours from 0 on"
    return Reordered(_in_order(b, names, orders, single), note, certain)


def _goes_with(order: tuple[int, ...], mask: str, a: Recording, b: Recording) -> bool:
    """Whether the mask of the items is in that order too; if it stayed, items were exchanged by mistake."""
    if mask not in a.inputs or mask not in b.inputs:
        return True
    ours, theirs = a.inputs[mask], b.inputs[mask]
    return ours.shape == theirs.shape and len(ours) == len(order) and np.array_equal(ours, theirs[list(order)])


def item_order(ours: NDArray, theirs: NDArray) -> tuple[int, ...] | None:
    """The items of `theirs` (B, ...) that are those of `ours` one after the other; None if they are so already."""
    batch = len(ours) if ours.ndim else 0
    finite = np.isfinite(ours).all() and np.isfinite(theirs).all()
    try:
        theirs, _ = in_shape(theirs, ours)
    except UnlikeError:
        return None
    if not 1 < batch <= LARGEST or not finite:
        return None
    a, b = (side.reshape(batch, -1).astype(np.float64) for side in (ours, theirs))
    sizes = np.linalg.norm(a, axis=1)
    distances = np.stack([np.linalg.norm(b - row, axis=1) for row in a])  # (B ours, B theirs)
    order = distances.argmin(axis=1)
    found = distances[np.arange(batch), order]
    if (found > ALIKE * sizes).any() or sorted(order) != list(range(batch)) or (order == np.arange(batch)).all():
        return None
    return tuple(map(int, order))


def _single(a: Recording) -> str:
    """What the reference's items are, where it is of one tower."""
    if any(path.startswith(("vision_model.", "text_model.")) for path in a.order):
        return ""
    return TEXTS if "input_ids" in a.inputs or "embeddings.token_embedding" in a.order else PICTURES


def _kinds(path: str, single: str) -> tuple[str, ...]:
    """What the first axes of an activation are of."""
    last = path.rpartition(".")[2]
    if last == "position_embedding" or last == "loss":
        return ()
    if single:
        return (single,)
    if last.startswith("logits_per_"):
        return (PICTURES, TEXTS) if last == "logits_per_image" else (TEXTS, PICTURES)
    return (TEXTS,) if path.startswith("text_") else (PICTURES,)


def _in_order(b: Recording, names: Mapping[str, str], orders: Mapping[str, tuple[int, ...]], single: str) -> Recording:
    kinds = {theirs: _kinds(ours, single) for ours, theirs in names.items()}

    def moved(array: NDArray, kinds: tuple[str, ...]) -> NDArray:
        for axis, kind in enumerate(kinds):
            order = orders.get(kind)
            if order and axis < array.ndim and array.shape[axis] == len(order):
                array = np.take(array, order, axis)
        return array

    inputs = INPUTS | {"attention_mask": TEXTS}
    activations = OnDemand(b.activations, lambda name: moved(b.activations[name], kinds.get(name, ())))
    return replace(
        b,
        inputs=OnDemand(b.inputs, lambda name: moved(b.inputs[name], (inputs[name],) if name in inputs else ())),
        activations=activations,
        statistics=OnDemand(
            b.statistics,
            lambda name: summarize(name, activations[name]) if b.array(name) is not None else b.statistics[name],
        ),
    )
