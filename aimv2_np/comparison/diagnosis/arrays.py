"""Causes that the recorded arrays show without the model: exchanged outputs, tokens in another order, other pixels."""

from collections.abc import Iterator
from itertools import permutations
from math import isqrt

import numpy as np

from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.embeddings import by_columns, pixel_faults
from aimv2_np.comparison.diagnosis.fault import Hypothesis
from aimv2_np.comparison.diagnosis.half import ADVICE, overflowed
from aimv2_np.recording.recording import INPUTS

EXCHANGED = (
    ("qkv_order", ("q_proj", "k_proj", "v_proj")),
    ("qkv_order", ("q", "k", "v")),
    ("gate_up_swapped", ("gate_proj", "up_proj")),
)


def hypotheses(context: Context, path: str) -> Iterator[Hypothesis]:
    """All that could explain a first divergence at `path`."""
    if path == INPUTS + "pixel_values":
        for identifier, sentence, changed in pixel_faults(context.reference.inputs["pixel_values"]):
            yield Hypothesis(identifier, sentence, {path: changed})
    array = context.reference.array(path)
    if array is None:
        return
    yield from _exchanged(context, path)
    if path.endswith("patch_embed") and array.ndim == 3:
        sentence = f"{path} gives the patches column by column; they run row by row"
        for rows, columns in _grids(array.shape[1]):
            yield Hypothesis("patches_column_order", sentence, {path: by_columns(array, rows, columns)})
    if (np.abs(array) > 0).any() and not np.array_equal(overflowed(array), array):
        yield Hypothesis("float16_overflow", f"the output of {path} overflows: {ADVICE}", {path: overflowed(array)})


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
                yield Hypothesis(identifier, sentence, {several[j]: arrays[i] for j, i in enumerate(order)})


def _grids(tokens: int) -> Iterator[tuple[int, int]]:
    """All grids of so many patches, but for those of one row or column."""
    for rows in range(2, isqrt(tokens) + 1):
        if tokens % rows == 0:
            yield rows, tokens // rows
            if rows * rows != tokens:
                yield tokens // rows, rows
