"""Mistakes in who may look at whom: the causal mask, padding, and the numbers that blocked scores get."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from aimv2_np.comparison.diagnosis.attentions import attend, blocked_by
from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.fault import Plant, Table, varying, with_fields
from aimv2_np.network.attention import Attention
from aimv2_np.network.view import CAUSAL, EVERYONE, Mask, Padded, View
from aimv2_np.shapes import Array
from aimv2_np.tree.module import Module


@dataclass(frozen=True)
class Rule(View):
    """Query i looks at key j where `rule(i, j)` says so."""

    rule: Callable[[Array, Array], Array]

    def allowed(self, xp: ModuleType, queries: int, keys: int) -> Array:
        return self.rule(xp.arange(queries)[:, None], xp.arange(keys))[None, None]


def _padding(context: Context) -> Array | None:
    """The attention mask where it blocks something."""
    mask = context.input("attention_mask")
    return None if mask is None or (mask != 0).all() else mask


def _causal_as(view: View) -> Plant:
    """Text with another rule than the causal one, and padding blocked as it should be."""

    def plant(m: Any, path: str, context: Context) -> Module | None:
        if not (context.is_text(path) and context.causal):
            return None
        padding = _padding(context)
        looking = view if padding is None else view & Padded(padding)
        return varying(attend, looking=looking)(m, path, context)

    return plant


def _padded_as(view: Callable[[Array], View | None]) -> Plant:
    """Text whose padding is blocked in another way, `view(mask)`; None for not at all."""

    def plant(m: Any, path: str, context: Context) -> Module | None:
        padding = _padding(context)
        if padding is None or not context.is_text(path):
            return None
        own, other = CAUSAL if context.causal else EVERYONE, view(padding)
        return varying(attend, looking=own if other is None else own & other)(m, path, context)

    return plant


def _of_queries(m: Any, path: str, context: Context) -> Module | None:
    """Padding that blocks queries alone; where it is on the left, all that tells is that keys are not blocked."""
    padding = _padding(context)
    if padding is None or (padding[:, 0] == 0).any():
        return None
    return _padded_as(lambda mask: Mask((mask != 0)[:, None, :, None]))(m, path, context)


def _blocking(**options: Any) -> Plant:
    """Text whose blocked scores get other numbers."""
    vary = varying(attend, **options)
    return lambda m, path, context: vary(m, path, context) if context.is_text(path) else None


def _not_causal_nor_padded(m: Any, path: str, context: Context) -> Module | None:
    causal = context.is_text(path) and context.causal and _padding(context) is not None
    return varying(attend, looking=EVERYONE)(m, path, context) if causal else None


def _causal_patches(m: Any, path: str, context: Context) -> Module | None:
    return None if context.is_text(path) else varying(attend, looking=CAUSAL)(m, path, context)


def _windowed(rule: Callable[[int], Rule], width: int) -> Plant:
    """Patches that look at some of those around them."""

    def plant(m: Any, path: str, context: Context) -> Module | None:
        return None if context.is_text(path) else varying(attend, looking=rule(width))(m, path, context)

    return plant


def _patches_after(prefix: int) -> Plant:
    """Causal patches, but for the first ones; the last patch then is what it should be."""

    def plant(m: Any, path: str, context: Context) -> Module | None:
        changed = _changed(context, path)
        if context.is_text(path) or (changed is not None and changed[-1]):
            return None
        return varying(attend, looking=_after(prefix))(m, path, context)

    return plant


def _tokens_within(m: Any, path: str, context: Context) -> Module | None:
    """Text that looks at so many tokens up to its own: the first one that this changes says how many."""
    changed = _changed_at_first(context)
    if changed is None or not changed.any() or not changed.argmax():
        return None
    width = int(changed.argmax())
    planted = _causal_as(Rule(lambda i, j: (j <= i) & (i - j < width)))(m, path, context)
    return None if planted is None else with_fields(planted, width=width)


def _tokens_after(m: Any, path: str, context: Context) -> Module | None:
    """Causal text whose first tokens look at each other: the last one that this changes says how many."""
    changed = _changed_at_first(context)
    if changed is None or not changed.any() or changed[-2:].any():
        return None
    width = len(changed) - int(changed[::-1].argmax()) + 1
    planted = _causal_as(_after(width))(m, path, context)
    return None if planted is None else with_fields(planted, width=width)


def _after(prefix: int) -> Rule:
    return Rule(lambda i, j: (j <= i) | (j < prefix))


def _changed(context: Context, path: str) -> Array | None:
    """`_changed_at_first`, where that is in the layer in which `path` lies; None elsewhere."""
    first, layer = context.result.first, re.match(r".*layers\.\d+\.", path)
    inside = first is not None and layer is not None and f"{first.path}.".startswith(layer[0])
    return _changed_at_first(context) if inside else None


def _changed_at_first(context: Context) -> Array | None:
    """Which tokens differ at the first divergence (T,); None where that is not known."""
    first = context.result.first
    ours = None if first is None else context.reference.array(first.path)
    theirs = None if first is None else context.theirs(first.path)
    if first is None or ours is None or theirs is None or ours.shape != theirs.shape or ours.ndim != 3:
        return None
    error, size = (np.linalg.norm(array, axis=-1) for array in (theirs - ours, ours))
    result: Array = (error > SURELY * first.tolerance * size).any(axis=0)
    return result


def _padding_getting(value: float) -> Plant:
    """Causal text where scores of padding get `value` added."""

    def blocked(scores: Array, allowed: Array) -> Array:
        tokens = np.arange(scores.shape[-1])
        raised = np.where(allowed, scores, scores + scores.dtype.type(value))
        return np.where(tokens <= tokens[:, None], raised, np.finfo(scores.dtype).min)

    def plant(m: Any, path: str, context: Context) -> Module | None:
        padded = context.is_text(path) and context.causal and _padding(context) is not None
        return varying(attend, blocked=blocked)(m, path, context) if padded else None

    return plant


def _mask_added(scores: Array, allowed: Array) -> Array:
    return scores + allowed.astype(scores.dtype)


NOT_CAUSAL = (
    "{path} lets text look at later tokens; AIMv2's text tower is causal (Transformers' sdpa attention drops "
    "causality without a mask, or with one of all ones)"
)
NUMBERS = (-1.0, -10.0, -100.0, -1000.0)
RAISING = (1.0, 10.0, 1e4, 1e9)
WIDTHS, PREFIXES = (0, 1, 2, 3, 4, 8, 16), (2, 3, 4, 5, 6, 7, 8, 16, 32, 64, 128)
SURELY = 8.0  # tokens differ whose error is so many tolerances
FAULTS: Table = {
    ("text_not_causal", Attention): {
        NOT_CAUSAL: _causal_as(EVERYONE),
        f"{NOT_CAUSAL}, and padding is ignored": _not_causal_nor_padded,
        "{path} lets the first {p.width} tokens look at each other; AIMv2's text tower is causal": _tokens_after,
    },
    ("sliding_window", Attention): {
        "{path} lets a token look at itself and the {p.width} - 1 before it; it is at all before it": _tokens_within,
        **{
            f"{{path}} lets a patch look no further than {width} before and after it; all look at each other": (
                _windowed(lambda width: Rule(lambda i, j: abs(i - j) <= width), width)
            )
            for width in WIDTHS
        },
    },
    ("causal_off_by_one", Attention): {
        "{path} lets a token look at earlier ones only, and not at itself; j ≤ i": _causal_as(Rule(lambda i, j: j < i)),
        "{path} lets a token look at the next one, too; j ≤ i": _causal_as(Rule(lambda i, j: j <= i + 1)),
    },
    ("causal_transposed", Attention): {
        "{path} lets a token look at itself and later ones; it is at earlier ones, j ≤ i": _causal_as(
            Rule(lambda i, j: j >= i)
        ),
        "{path} lets a token look at later ones only; it is at itself and earlier ones, j ≤ i": _causal_as(
            Rule(lambda i, j: j > i)
        ),
    },
    ("padding_ignored", Attention): {
        "{path} ignores attention_mask: tokens look at padding": _padded_as(lambda mask: None),
    },
    ("padding_inverted", Attention): {
        "{path} lets tokens look at padding and at nothing else: attention_mask is 1 for tokens": _padded_as(
            lambda mask: Padded((mask == 0).astype(mask.dtype))
        ),
    },
    ("padding_of_queries", Attention): {
        "{path} blocks padding as queries and not as keys": _of_queries,
        "{path} blocks padding as queries, too: these then weigh all tokens alike": _padded_as(
            lambda mask: Padded(mask) & Mask((mask != 0)[:, None, :, None]),
        ),
    },
    ("wrong_mask_value", Attention): {
        **{
            f"{{path}} adds {value:g} where a token may not look; it takes minus infinity, or the smallest number "
            "there is": _blocking(blocked=lambda s, allowed, value=value: np.where(allowed, s, s + s.dtype.type(value)))
            for value in RAISING
        },
        **{
            f"{{path}} adds {value:g} to the scores of padding; it takes minus infinity, or the smallest number there "
            "is": _padding_getting(value)
            for value in NUMBERS + RAISING
        },
        **{
            f"{{path}} {verb} {value:g} where a token may not look; it takes minus infinity, or the smallest number "
            "there is": _blocking(blocked=blocked)
            for value in NUMBERS
            for verb, blocked in (
                ("writes a score of", blocked_by(value)),
                (
                    "adds",
                    lambda scores, allowed, value=value: np.where(allowed, scores, scores + scores.dtype.type(value)),
                ),
            )
        },
        "{path} multiplies scores by the mask: a score of 0 blocks nothing; it takes minus infinity": _blocking(
            blocked=blocked_by(0.0)
        ),
        "{path} adds the mask of ones and zeros to the scores; it takes 0 and minus infinity": _blocking(
            blocked=_mask_added
        ),
        "{path} masks after the softmax, whose sums are then below one; it masks the scores": _blocking(
            blocked=lambda scores, allowed: scores, kept=lambda probs, allowed: probs * allowed
        ),
    },
    ("vision_causal", Attention): {
        "{path} lets patches look at earlier ones only; all look at each other": _causal_patches,
        **{
            f"{{path}} lets a patch look at itself and {width} before it; all look at each other": _windowed(
                lambda width: Rule(lambda i, j: (j <= i) & (i - j <= width)), width
            )
            for width in WIDTHS[1:]
        },
        **{
            f"{{path}} lets patches look at earlier ones and the first {prefix} only; all look at each other": (
                _patches_after(prefix)
            )
            for prefix in PREFIXES
        },
    },
}
