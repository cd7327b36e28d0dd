"""Weights that are damaged: rows of NaN, infinity or zero, read from the channels that the other side recorded."""

from collections.abc import Callable
from typing import Any

import numpy as np

from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.fault import Plant, Table, computing, with_fields
from aimv2_np.network.attention import Attention
from aimv2_np.network.encoder import EncoderLayer
from aimv2_np.network.linear import Linear
from aimv2_np.network.patches import PatchEmbed
from aimv2_np.network.pooling import AttentionPoolingHead
from aimv2_np.network.rms_norm import RMSNorm
from aimv2_np.network.swiglu import SwiGLU
from aimv2_np.shapes import Array, NDArray
from aimv2_np.tree.module import Module

NAMED = 8  # damaged rows that are listed
FEW = 0.25  # a damage of more rows than this part is none of single rows


def _few_channels(m: Any, path: str, context: Context, is_so: Callable[[Any, Any, Any], Any]) -> NDArray | None:
    """The few channels of an output where `is_so(theirs, ours, module)`; None where there are none, or many."""
    theirs, ours = context.theirs(path), context.reference.array(path)
    if theirs is None or ours is None or theirs.shape != ours.shape:
        return None
    size = theirs.shape[-1]
    rows = np.flatnonzero(is_so(theirs.reshape(-1, size), ours.reshape(-1, size), m))
    return rows if 0 < len(rows) <= max(1, FEW * size) else None


def _with_rows(m: Any, rows: NDArray, value: float) -> Any:
    """A module whose weight holds `value` in some rows."""
    weight = np.array(m.weight)
    weight[rows] = value
    return with_fields(m, weight=weight)


def _with_channels(output: Array, rows: NDArray, theirs: Array) -> Array:
    """An output that holds what the other side's does in some channels."""
    result = output.copy()
    if result.shape == theirs.shape:
        result[..., rows] = theirs[..., rows]
    return result


def _listed(rows: NDArray) -> str:
    return ", ".join(map(str, rows[:NAMED])) + (", …" if len(rows) > NAMED else "")


def _damaged(value: float, is_so: Callable[[Any, Any, Any], Any]) -> Plant:
    """A module some of whose rows hold `value`, those of the few channels where `is_so`."""

    def plant(m: Any, path: str, context: Context) -> Module | None:
        rows = _few_channels(m, path, context, is_so)
        if rows is None:
            return None
        theirs, damaged = context.theirs(path), with_fields(_with_rows(m, rows, value), rows=_listed(rows))
        if theirs is None or not np.isinf(theirs[..., rows]).any():
            return damaged
        # One infinity in a row gives infinities of either sign: nobody knows which weight it is, and they stand there.
        return computing(lambda m, x: _with_channels(type(m).forward(m, x), rows, theirs))(damaged, path, context)

    return plant


def _nan(theirs: Any, ours: Any, _: Any) -> Any:
    return ~np.isfinite(theirs).any(axis=0) & np.isfinite(ours).all(axis=0)


def _bias_alone(theirs: Any, ours: Any, m: Any) -> Any:
    bias = getattr(m, "bias", None)
    constant = np.zeros(theirs.shape[1], theirs.dtype) if bias is None else np.asarray(bias)
    return np.isclose(theirs, constant, rtol=1e-6, atol=0).all(axis=0) & (theirs != ours).any(axis=0)


def _last_damaged(m: Any, path: str, context: Context) -> Module | None:
    """A layer some of whose channels are NaN, and others not: only its last weight can have made them so."""
    rows = _few_channels(m, path, context, _nan)
    if rows is None:
        return None
    ffn = with_fields(m.ffn, down_proj=_with_rows(m.ffn.down_proj, rows, np.nan))
    return with_fields(m, ffn=ffn, rows=_listed(rows))


def _damaged_within(m: Any, path: str, context: Context) -> Module | None:
    """A module that gives no finite number, and of which nothing more is recorded; no mask can have made them so."""
    first, theirs, ours = context.result.first, context.theirs(path), context.reference.array(path)
    mask = context.input("attention_mask") if context.is_text(path) else None
    if first is None or first.path != path or theirs is None or ours is None or theirs.shape != ours.shape:
        return None
    if np.isfinite(theirs).any() or not np.isfinite(ours).all() or (mask is not None and (mask == 0).any()):
        return None
    return computing(lambda m, *args: np.array(theirs))(m, path, context)


DAMAGES: dict[tuple[str, str], Plant] = {
    ("nan_weight", "row {p.rows} of {path}.weight holds NaN or infinity"): _damaged(np.nan, _nan),
    ("zero_weight", "row {p.rows} of {path}.weight is zero"): _damaged(0.0, _bias_alone),
}
DAMAGED: Table = {
    **{
        ("nan_weight", kind): {"a weight in {path} holds NaN or infinity: it gives nothing else": _damaged_within}
        for kind in (Attention, SwiGLU, AttentionPoolingHead)
    },
    ("nan_weight", EncoderLayer): {
        "row {p.rows} of {path}.ffn.down_proj.weight holds NaN or infinity": _last_damaged,
        "a weight in {path} holds NaN or infinity: it gives nothing else": _damaged_within,
    },
    **{
        (identifier, kind): {sentence: plant}
        for kind in (Linear, PatchEmbed, RMSNorm)
        for (identifier, sentence), plant in DAMAGES.items()
    },
}
