"""Causes that the recorded arrays show without the model: exchanged outputs, tokens in another order, other inputs."""

from collections.abc import Callable, Iterator
from itertools import permutations
from math import isqrt

import numpy as np

from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.fault import Hypothesis
from aimv2_np.comparison.diagnosis.half import ADVICE, overflowed
from aimv2_np.comparison.diagnosis.pictures import by_columns, moved_by_one, pixel_faults
from aimv2_np.recording.recording import INPUTS
from aimv2_np.shapes import NDArray

EXCHANGED = (
    ("qkv_order", ("q_proj", "k_proj", "v_proj")),
    ("qkv_order", ("q", "k", "v")),
    ("gate_up_swapped", ("gate_proj", "up_proj")),
)
BATCHES: dict[str, Callable[[NDArray], NDArray]] = {
    "holds the first item of the batch for all": lambda array: np.broadcast_to(array[:1], array.shape),
    "holds the last item of the batch for all": lambda array: np.broadcast_to(array[-1:], array.shape),
    "has the batch in reverse order": lambda array: array[::-1],
    "has the batch moved on by one": lambda array: np.roll(array, 1, axis=0),
    "has the batch moved back by one": lambda array: np.roll(array, -1, axis=0),
}


def _rolled(by: int) -> Callable[[NDArray], NDArray]:
    return lambda ids: np.roll(ids, by, axis=1)


TOKENS: dict[tuple[str, str], Callable[[NDArray], NDArray]] = {
    ("tokens_shifted", "the other side's token ids are larger by one"): lambda ids: ids + 1,
    ("tokens_shifted", "the other side's token ids are smaller by one"): lambda ids: ids - 1,
    ("tokens_reversed", "the other side's texts run from the last token to the first"): lambda ids: ids[:, ::-1],
    **{
        (
            "left_padding",
            f"the other side's texts have padding on the left, {most}; it is on the right",
        ): _rolled(most)
        for most in range(1, 9)
    },
}
MASKS: dict[tuple[str, str], Callable[[NDArray], NDArray]] = {
    ("padding_inverted", "the other side's attention_mask is 1 for padding; it is 1 for tokens"): lambda m: (
        1 - (m != 0)
    ),
    ("padding_ignored", "the other side's attention_mask blocks nothing"): np.ones_like,
    ("left_padding", "the other side's attention_mask has its padding on the left; it is on the right"): (
        lambda mask: mask[:, ::-1]
    ),
}
CHANGES = {"input_ids": TOKENS, "attention_mask": MASKS}


def hypotheses(context: Context, path: str) -> Iterator[Hypothesis]:
    """All that could explain a first divergence at `path`."""
    if path.startswith(INPUTS):
        yield from _of_inputs(context, path)
        return
    array = context.reference.array(path)
    if array is None:
        return
    yield from _exchanged(context, path)
    if path.endswith("patch_embed") and array.ndim == 3:
        sentence = f"{path} gives the patches column by column; they run row by row"
        for rows, columns in _grids(array.shape[1]):
            yield Hypothesis("patches_column_order", sentence, [(path, by_columns(array, rows, columns))])
    if array.ndim > 1 and len(array) > 1 and not path.endswith("position_embedding"):
        yield from _batches(path, array)
    if array.ndim == 3:
        yield from _tokens(context, path, array)
    if (np.abs(array) > 0).any() and not np.array_equal(overflowed(array), array):
        yield Hypothesis("float16_overflow", f"the output of {path} overflows: {ADVICE}", [(path, overflowed(array))])


def _of_inputs(context: Context, path: str) -> Iterator[Hypothesis]:
    name = path.removeprefix(INPUTS)
    array = context.reference.inputs[name]
    if name == "pixel_values":
        for identifier, sentence, changed in pixel_faults(array):
            yield Hypothesis(identifier, sentence, [(path, changed)])
        for identifier, sentence, changed in moved_by_one(array, context.other.inputs[name]):
            yield Hypothesis(identifier, sentence, [(path, changed)])
        return
    for (identifier, sentence), change in CHANGES.get(name, {}).items():
        yield Hypothesis(identifier, sentence, [(path, change(array))])
    if len(array) > 1:
        yield from _batches(path, array)


def _batches(path: str, array: NDArray) -> Iterator[Hypothesis]:
    for words, change in BATCHES.items():
        changed = change(array)
        if not np.array_equal(changed, array):
            yield Hypothesis("wrong_batch", f"{path} {words}", [(path, changed)])


def _tokens(context: Context, path: str, array: NDArray) -> Iterator[Hypothesis]:
    """One token more or less, as where a CLS token is taken to be first; AIMv2 has none."""
    shape = context.other.shapes.get(context.names.get(path, ""))
    batch, tokens, size = array.shape
    if shape == (batch, tokens + 1, size):
        theirs = context.theirs(path)
        sentence = f"{path} has {tokens + 1} tokens for {tokens} patches, one more: a CLS token, which AIMv2 has not"
        if theirs is not None:
            # What stands at the first place, nobody knows; all others follow from the layers' input only.
            yield Hypothesis("cls_token_assumed", sentence, [(path, theirs)])
    if shape == (batch, tokens - 1, size):
        sentence = f"{path} lacks the first of {tokens} tokens, as if it were a CLS token; AIMv2 has none"
        yield Hypothesis("cls_token_assumed", sentence, [(path, array[:, 1:])])
        sentence = f"{path} lacks the last of {tokens} tokens"
        yield Hypothesis("token_missing", sentence, [(path, array[:, :-1])])


def _exchanged(context: Context, path: str) -> Iterator[Hypothesis]:
    """The outputs of several projections under each other's names."""
    parent, _, name = path.rpartition(".")
    for identifier, names in EXCHANGED:
        several = [f"{parent}.{part}" for part in names]
        arrays = [array for array in map(context.reference.array, several) if array is not None]
        # All of them, as two alone could not tell which order it is.
        if name not in names or len(arrays) < len(several) or not context.names.keys() >= set(several):
            continue
        for order in permutations(range(len(names))):
            if order != tuple(range(len(names))):
                found = ", ".join(names[i] for i in order)
                sentence = f"{parent} exchanges its projections: what it calls {', '.join(names)} is {found}"
                yield Hypothesis(identifier, sentence, [(several[j], arrays[i]) for j, i in enumerate(order)])


def _grids(tokens: int) -> Iterator[tuple[int, int]]:
    """All grids of so many patches, but for those of one row or column."""
    for rows in range(2, isqrt(tokens) + 1):
        if tokens % rows == 0:
            yield rows, tokens // rows
            if rows * rows != tokens:
                yield tokens // rows, rows
