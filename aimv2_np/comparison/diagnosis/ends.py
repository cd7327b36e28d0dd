"""Where towers end, as modules: the token that stands for a text, unit vectors, logits; and the mistakes there."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.fault import Plant, Table, computing, holding, with_fields
from aimv2_np.comparison.diagnosis.logits import AXES, COSINES, SCALES, log_softmax, scale_of, softmax
from aimv2_np.comparison.diagnosis.scaled import ratio_of
from aimv2_np.network.contrastive import contrastive_logits, l2_normalize
from aimv2_np.network.pooling import AttentionPoolingHead
from aimv2_np.network.view import EVERYONE, View
from aimv2_np.shapes import Array
from aimv2_np.tree.module import Module


@dataclass(repr=False, eq=False)
class EndOfText(Module):
    """Takes the row of each text's end: (B, T, D) → (B, D).

    Attributes:
        ids: the texts (B, T).
        mask: their attention mask, or None.
        ends: where they end (B,).
        eos: the token that ends a text.
    """

    ids: Array
    mask: Array | None
    ends: Array
    eos: int

    def forward(self, x: Array) -> Array:
        return rows_of(x, self.ends)


@dataclass(repr=False, eq=False)
class Unit(Module):
    """Makes unit vectors."""

    def forward(self, x: Array) -> Array:
        return l2_normalize(x)


class Embeds(NamedTuple):
    """What is compared with what: unit vectors of texts (L, E) and of pictures (B, E)."""

    text: Array
    image: Array


class Scored(NamedTuple):
    """Logits, both ways round."""

    logits_per_text: Array
    logits_per_image: Array


@dataclass(repr=False, eq=False)
class Logits(Module):
    """Scaled cosines of texts and pictures."""

    logit_scale: Array
    most: float

    def forward(self, embeds: Embeds) -> Scored:
        logits = contrastive_logits(*embeds, self.logit_scale, self.most)
        return Scored(logits, logits.T)


def rows_of(x: Array, numbers: Array) -> Array:
    """Of each text (B, T, D) one row: (B, D)."""
    result: Array = x[np.arange(len(x)), np.clip(numbers, 0, x.shape[1] - 1)]
    return result


def _last_of(m: Any) -> Array:
    """The last token that is no padding, or the last one."""
    return _last(m.mask != 0) if m.mask is not None else np.full(len(m.ids), m.ids.shape[1] - 1)


def _last(which: Array) -> Array:
    """Number of the last true element of each row; -1 where there is none."""
    width = which.shape[1]
    return np.where(which.any(axis=1), width - 1 - which[:, ::-1].argmax(axis=1), -1)


def _mean_of_tokens(m: Any, x: Array) -> Array:
    kept = np.ones(m.ids.shape, x.dtype) if m.mask is None else (m.mask != 0).astype(x.dtype)
    result: Array = (x * kept[..., None]).sum(axis=1) / kept.sum(axis=1, keepdims=True)
    return result


def _at(numbers: Callable[[Any], Array]) -> Plant:
    """The row of another token for each text."""

    def plant(m: Any, *_: Any) -> Module | None:
        found = numbers(m)
        return None if np.array_equal(found, m.ends) else computing(lambda m, x: rows_of(x, found))(m, "", None)  # type: ignore[arg-type]

    return plant


def _scoring(scale: Callable[[Any], float]) -> Plant:
    """Logits with another scale."""

    def forward(m: Any, embeds: Embeds) -> Scored:
        logits = embeds.text.dtype.type(scale(m)) * (embeds.text @ embeds.image.T)
        return Scored(logits, logits.T)

    def plant(m: Any, *_: Any) -> Module | None:
        same = np.isclose(scale(m), scale_of(m), rtol=1e-6)
        return None if same else computing(forward)(m, "", None)  # type: ignore[arg-type]

    return plant


def _of_logits(change: Callable[[Array, int], Array], axes: tuple[int, int] = (-1, -1)) -> Plant:
    """Logits per text and per picture, of which each is changed along one of its axes."""
    return computing(lambda m, embeds: Scored(*map(change, type(m).forward(m, embeds), axes)))


def _of_cosines(change: Callable[[Array, Any], Array]) -> Plant:
    """Logits that are `change(cosines, scale)`."""

    def forward(m: Any, embeds: Embeds) -> Scored:
        logits = change(embeds.text @ embeds.image.T, embeds.text.dtype.type(scale_of(m)))
        return Scored(logits, logits.T)

    return computing(forward)


def _multiplied(m: Any, path: str, context: Context) -> Module | None:
    """Logits times a number, which the other side's show."""
    first = context.result.first
    factor = ratio_of(context) if first is not None and "logits_per" in first.path else None
    planted = computing(lambda m, embeds: Scored(*(x.dtype.type(m.factor) * x for x in type(m).forward(m, embeds))))
    module = planted(m, path, context)
    return None if factor is None or module is None else with_fields(module, factor=factor)


def _shifted(m: Any, path: str, context: Context) -> Module | None:
    """Logits plus a number, which the other side's show."""
    names = ("logits_per_text", "logits_per_image")
    pairs = [(context.reference.array(name), context.theirs(name)) for name in names]
    apart = [b - a for a, b in pairs if a is not None and b is not None and a.shape == b.shape]
    if not apart or not apart[0].any() or not np.allclose(apart[0], apart[0].mean(), rtol=1e-3, atol=1e-5):
        return None
    planted = computing(lambda m, embeds: Scored(*(x + x.dtype.type(m.factor) for x in type(m).forward(m, embeds))))
    module = planted(m, path, context)
    return None if module is None else with_fields(module, factor=float(apart[0].mean(dtype=np.float64)))


def _pooled(pool: Callable[[Array], Array], *, projected: bool) -> Plant:
    """A pooling head that gives some vector of each picture's tokens (B, N, D), as it is or projected."""

    def forward(m: Any, x: Array, view: View = EVERYONE) -> Array:
        vector = pool(x)
        return m.output_proj(vector) if projected else vector

    return computing(forward)


POOLS: dict[str, Callable[[Array], Array]] = {
    "the mean of all tokens": lambda x: x.mean(axis=1),
    "the first token": lambda x: x[:, 0],
    "the last token": lambda x: x[:, -1],
    "the largest number of all tokens": lambda x: x.max(axis=1),
    "the sum of all tokens": lambda x: x.sum(axis=1),
}
QUERIES: dict[str, Callable[[Any], Array]] = {
    "normalised to length one": lambda m: l2_normalize(m.cls_token),
    "normalised to a root mean square of one": lambda m: m.cls_token / np.sqrt(np.mean(m.cls_token**2)),
    "of ones": lambda m: np.ones_like(m.cls_token),
    "projected by k_proj": lambda m: m.k_proj(m.cls_token),
    "projected by v_proj": lambda m: m.v_proj(m.cls_token),
}
TOKENS: dict[str, tuple[str, Callable[[Any], Array]]] = {
    "the last token": ("text_end", lambda m: np.full(len(m.ids), m.ids.shape[1] - 1)),
    "the last token that is no padding": ("text_end", _last_of),
    "the last end-of-text token": ("text_end", lambda m: _last(m.ids == m.eos)),
    "the first end-of-text token, padding or not": ("text_end", lambda m: (m.ids == m.eos).argmax(axis=1)),
    "the token of the largest number": ("text_end", lambda m: m.ids.argmax(axis=1)),
    "the token before the end": ("text_end", lambda m: m.ends - 1),
    "the token after the end": ("text_end", lambda m: m.ends + 1),
    "the first token": ("text_end", lambda m: np.zeros(len(m.ids), int)),
    "the second token": ("text_end", lambda m: np.ones(len(m.ids), int)),
    "the first token of number 0": ("text_end", lambda m: (m.ids == 0).argmax(axis=1)),
    "the end of the text before": ("text_end", lambda m: np.roll(m.ends, 1)),
    "the end of the first text, for all": ("text_end", lambda m: np.full(len(m.ids), m.ends[0])),
}
LENGTHS: dict[str, tuple[str, Callable[[Array], Array]]] = {
    "is left out: vectors keep their length": ("missing_l2", lambda x: x),
    "divides by the sum of absolute values; it is the root of the sum of squares": (
        "wrong_l2",
        lambda x: x / np.abs(x).sum(axis=-1, keepdims=True),
    ),
    "divides by the largest number; it is the root of the sum of squares": (
        "wrong_l2",
        lambda x: x / np.abs(x).max(axis=-1, keepdims=True),
    ),
    "divides by the root mean square; it is the root of the sum of squares": (
        "wrong_l2",
        lambda x: x / np.sqrt((x * x).mean(axis=-1, keepdims=True)),
    ),
    "divides by the sum of squares; it is its root": ("wrong_l2", lambda x: x / (x * x).sum(axis=-1, keepdims=True)),
    "normalises each channel over the batch; it is each vector": (
        "wrong_l2",
        lambda x: x / np.sqrt((x * x).sum(axis=0, keepdims=True)),
    ),
    "divides by the length of the whole batch; it is each vector's": ("wrong_l2", lambda x: x / np.sqrt((x * x).sum())),
    "subtracts the mean first; it does not": (
        "wrong_l2",
        lambda x: l2_normalize(x - x.mean(axis=-1, keepdims=True)),
    ),
}


def _texts() -> dict[tuple[str, type[Module]], dict[str, Plant]]:
    table: dict[tuple[str, type[Module]], dict[str, Plant]] = {}
    for words, (identifier, numbers) in TOKENS.items():
        table.setdefault((identifier, EndOfText), {})[
            f"{{path}} takes the row of {words}; it is the text's own first end-of-text token"
        ] = _at(numbers)
    table["text_end", EndOfText] |= {
        "{path} is the mean of all tokens; it is the row of the text's end": computing(lambda m, x: x.mean(axis=1)),
        "{path} is the mean of the tokens that are no padding; it is the row of the text's end": computing(
            _mean_of_tokens
        ),
        "{path} is the largest number of all tokens; it is the row of the text's end": computing(
            lambda m, x: x.max(axis=1)
        ),
    }
    for words, (identifier, change) in LENGTHS.items():
        table.setdefault((identifier, Unit), {})[f"the normalisation that gives {{path}} {words}"] = computing(
            lambda m, x, change=change: change(x)
        )
    return table


FAULTS: Table = {
    **_texts(),
    ("wrong_pooling", AttentionPoolingHead): {
        f"{{path}} gives {words}{', projected' if projected else ''}; it is attention of a learned query": _pooled(
            pool, projected=projected
        )
        for words, pool in POOLS.items()
        for projected in (False, True)
    },
    ("wrong_query", AttentionPoolingHead): {
        f"the query of {{path}} is {words}; it is cls_token as it is": holding(cls_token=query)
        for words, query in QUERIES.items()
    },
    ("missing_projection", AttentionPoolingHead): {
        "{path} leaves out its last projection, output_proj": computing(lambda m, x, view=EVERYONE: m.gather(x, view)),
    },
    ("logit_scale", Logits): {f"logits {words}": _scoring(scale) for words, scale in SCALES.items()}
    | {"logits are {p.factor:g} times what they should be": _multiplied},
    ("wrong_logits", Logits): {
        f"logits are {words}; they are cosines times a scale": _of_cosines(change) for words, change in COSINES.items()
    }
    | {"logits have {p.factor:g} added; they are cosines times a scale": _shifted},
    ("logits_transposed", Logits): {
        "logits_per_text and logits_per_image are exchanged": computing(
            lambda m, embeds: Scored(*reversed(type(m).forward(m, embeds)))
        ),
    },
    ("logits_normalised", Logits): {
        **{
            f"logits are what a {name} {words} gives; they are cosines times a scale": _of_logits(change, axes)
            for name, change in {"softmax": softmax, "log-softmax": log_softmax}.items()
            for words, axes in AXES.items()
        },
        "logits are what a sigmoid gives; they are cosines times a scale": _of_logits(
            lambda x, _: 1 / (1 + np.exp(-x))
        ),
    },
}
