"""Mistakes in who may look at whom: the causal mask, padding, and the numbers that blocked scores get."""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from aimv2_np.comparison.diagnosis.attentions import attend, blocked_by
from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.fault import Plant, Table, varying
from aimv2_np.network.attention import Attention
from aimv2_np.network.view import CAUSAL, EVERYONE, Padded, View
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


def _blocking(**options: Any) -> Plant:
    """Text whose blocked scores get other numbers."""
    vary = varying(attend, **options)
    return lambda m, path, context: vary(m, path, context) if context.is_text(path) else None


def _not_causal_nor_padded(m: Any, path: str, context: Context) -> Module | None:
    causal = context.is_text(path) and context.causal and _padding(context) is not None
    return varying(attend, looking=EVERYONE)(m, path, context) if causal else None


def _causal_patches(m: Any, path: str, context: Context) -> Module | None:
    return None if context.is_text(path) else varying(attend, looking=CAUSAL)(m, path, context)


def _mask_added(scores: Array, allowed: Array) -> Array:
    return scores + allowed.astype(scores.dtype)


NOT_CAUSAL = (
    "{path} lets text look at later tokens; AIMv2's text tower is causal (Transformers' sdpa attention drops "
    "causality without a mask, or with one of all ones)"
)
NUMBERS = (-1.0, -10.0, -100.0, -1000.0)
FAULTS: Table = {
    ("text_not_causal", Attention): {
        NOT_CAUSAL: _causal_as(EVERYONE),
        f"{NOT_CAUSAL}, and padding is ignored": _not_causal_nor_padded,
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
        "{path} ignores attention_mask: tokens look at padding": _padded_as(lambda mask: None)
    },
    ("padding_inverted", Attention): {
        "{path} lets tokens look at padding and at nothing else: attention_mask is 1 for tokens": _padded_as(
            lambda mask: Padded((mask == 0).astype(mask.dtype))
        ),
    },
    ("wrong_mask_value", Attention): {
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
    },
}
