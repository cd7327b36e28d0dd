"""The factor with which somebody multiplies what attention or the MLP gives, read from what both sides recorded.

LayerScale (Touvron et al. 2021, arXiv:2103.17239) is such a factor; any other may be. It is read from the arrays at the
first divergence, before the network runs.
"""

import re
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.shapes import Array, NDArray

GATE = 1e-3  # of a difference, what a factor may leave: whether it fits to rounding is judged where it is planted
KNOWN = (-1.0, 0.0, 0.5, 1.0, 2.0)  # these have their own sentences, or are no fault
TOKENS, STEPS, STARTS = 64, 12, (1.0, 0.1)
ROUNDING = 1e-5  # of an output
EXACT = 1e-6  # a number of few digits is meant where it changes no more than this part of the output

# context → halves → the factor found. Faults are planted in many groups of modules, and all have the one factor.
_found: WeakKeyDictionary[Context, dict[tuple[str, ...], float | None]] = WeakKeyDictionary()


def ratio_of(context: Context) -> float | None:
    """The factor between the two sides at the first divergence, where there is one for all numbers."""
    return _once(context, (), lambda: _ratio(context))


def factor_of(context: Context, halves: tuple[str, ...]) -> float | None:
    """What the halves of the layer of the first divergence, "attention", "ffn" or both, are multiplied with."""
    return _once(context, halves, lambda: _factor(context, halves))


def _once(context: Context, key: tuple[str, ...], find: Callable[[], float | None]) -> float | None:
    found = _found.setdefault(context, {})
    if key not in found:
        with np.errstate(all="ignore"):
            factor = find()
        usable = (
            factor is not None and np.isfinite(factor) and not np.isclose(factor, KNOWN, rtol=1e-4, atol=1e-9).any()
        )
        found[key] = factor if usable else None
    return found[key]


def _ratio(context: Context) -> float | None:
    first = context.result.first
    if first is None:
        return None
    ours, theirs = context.reference.array(first.path), context.theirs(first.path)
    return None if ours is None or theirs is None or ours.shape != theirs.shape else _fitted(ours, theirs, theirs)


def _factor(context: Context, halves: tuple[str, ...]) -> float | None:
    first = context.result.first
    layer = re.match(r"(.*layers\.)(\d+)", first.path) if first is not None else None
    if layer is None:
        return None
    path, number = layer[0], int(layer[2])
    before = f"{layer[1]}{number - 1}" if number else f"{layer[1].removesuffix('encoder.layers.')}embeddings"
    x = context.theirs(before) if context.taken else context.reference.array(before)
    attention, mlp = (context.reference.array(f"{path}.{name}") for name in ("attention", "ffn"))
    theirs, normed = context.theirs(path), context.theirs(f"{path}.rms_norm2")
    module: Any = context.base.get(path, context.modules.get(path))
    if x is None or attention is None or module is None or x.shape != attention.shape:
        return None
    if halves == ("ffn",):
        alike = mlp is not None and theirs is not None and mlp.shape == theirs.shape == x.shape
        return _fitted(mlp, theirs - (x + attention), theirs) if alike else None  # type: ignore[arg-type]
    if normed is not None and normed.shape == x.shape:
        return _of_normed(module.rms_norm2.weight * x, module.rms_norm2.weight * attention, normed)
    if theirs is None or theirs.shape != x.shape:
        return None
    some = [array.reshape(-1, x.shape[-1])[:TOKENS] for array in (x, attention, theirs)]
    return _of_layer(module, *some, both="ffn" in halves)


def _fitted(part: NDArray, target: NDArray, whole: NDArray) -> float | None:
    """c of c · part = target, where that holds; `whole` is what rounding is a part of."""
    factor = float(np.vdot(part, target) / np.vdot(part, part))
    size = np.linalg.norm(whole)
    if not np.linalg.norm(target - factor * part) <= GATE * np.linalg.norm(target) + ROUNDING * size:
        return None
    return _round(factor, EXACT * float(size / np.linalg.norm(part)))


def _of_normed(x: Array, part: Array, normed: Array) -> float | None:
    """c of a norm that gave `normed` (…, D) of x + c · part: what lies across its direction is zero."""

    def across(array: Array) -> Array:
        size = (normed * normed).sum(axis=-1, keepdims=True)
        return array - normed * ((array * normed).sum(axis=-1, keepdims=True) / size)

    return _fitted(across(part), -across(x), x)


def _of_layer(module: Any, x: Array, attention: Array, theirs: Array, *, both: bool) -> float | None:
    """c of a layer that gave `theirs` (N, D), by Gauss and Newton's steps: the MLP is given a sum with c in it."""

    def error(factor: float) -> Array:
        c = x.dtype.type(factor)
        y = x + c * attention
        result: Array = y + (c if both else 1) * module.ffn(module.rms_norm2(y)) - theirs
        return result

    for factor in STARTS:
        for _ in range(STEPS):
            left, step = error(factor), 0.01 * max(abs(factor), 0.1)
            slope = (error(factor + step) - left) / step
            change = float(np.vdot(left, slope) / np.vdot(slope, slope))
            factor -= change
            if not abs(change) > EXACT * abs(factor):
                break
        if np.linalg.norm(error(factor)) <= GATE * np.linalg.norm(error(1.0)):
            return _round(factor, EXACT * float(np.linalg.norm(theirs) / np.linalg.norm(attention)))
    return None


def _round(value: float, within: float) -> float:
    """The number of fewest digits that is as near as that, or the number itself."""
    several = (float(f"{value:.{digits}g}") for digits in range(1, 7))
    return next((near for near in several if abs(near - value) <= within), value)
