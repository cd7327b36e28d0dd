"""Mistakes where texts are embedded: positions counted otherwise, other tokens looked up."""

from collections.abc import Callable
from typing import Any

import numpy as np

from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.fault import Plant, Table, computing
from aimv2_np.network.text import TextEmbeddings
from aimv2_np.shapes import Array
from aimv2_np.tree.module import Module
from aimv2_np.tree.recorder import observe


def _texts(m: Any, ids: Array, *, number: Callable[[Array], Array], table: float = 1.0) -> Array:
    """Embedded tokens with the positions `number(ids)`, (T) or (B, T)."""
    rows = m.position_embedding.weight
    positions = rows.dtype.type(table) * rows[np.clip(number(ids), 0, len(rows) - 1)]
    observe("position_embedding", positions)
    result: Array = m.token_embedding(ids) + positions
    return result


def _counting(number: Callable[[int], Array]) -> Plant:
    return computing(lambda m, ids: _texts(m, ids, number=lambda ids: number(ids.shape[1])))


def _after_padding(m: Any, path: str, context: Context) -> Module | None:
    """Positions that count from the first token that is no padding."""
    mask = context.input("attention_mask")
    if mask is None or (mask != 0).all():
        return None
    number = np.cumsum(mask != 0, axis=1) - 1
    return computing(lambda m, ids: _texts(m, ids, number=lambda _: number))(m, path, context)


def _with_tokens(change: Callable[[Any, Array], Array]) -> Plant:
    """Other vectors for tokens: (embeddings, ids) → (B, T, D)."""

    def forward(m: Any, ids: Array) -> Array:
        positions = m.position_embedding.weight[: ids.shape[1]]
        observe("position_embedding", positions)
        return change(m, ids) + positions

    return computing(forward)


def _looked_up(m: Any, ids: Array) -> Array:
    result: Array = m.token_embedding(np.clip(ids, 0, len(m.token_embedding.weight) - 1))
    return result


def _from(first: int) -> Callable[[int], Array]:
    return lambda tokens: np.arange(tokens) + first


FAULTS: Table = {
    ("missing_positions", TextEmbeddings): {
        "{path} adds no positions": computing(lambda m, ids: m.token_embedding(ids)),
    },
    ("positions_shifted", TextEmbeddings): {
        **{f"{{path}} counts positions from {first}; it is from 0": _counting(_from(first)) for first in (1, 2, 3)},
        "{path} takes the position before for each token, and the first one twice": _counting(
            lambda tokens: np.arange(tokens) - 1
        ),
        "{path} counts positions from the end": _counting(lambda tokens: np.arange(tokens)[::-1]),
        "{path} adds the first position to all tokens": _counting(lambda tokens: np.zeros(tokens, int)),
        "{path} counts positions from the first token that is no padding; it is from the first": _after_padding,
    },
    ("positions_scaled", TextEmbeddings): {
        f"{{path}} {words}": computing(
            lambda m, ids, factor=factor: _texts(m, ids, number=lambda ids: np.arange(ids.shape[1]), table=factor)
        )
        for words, factor in {
            "adds positions twice": 2.0,
            "adds half of the positions": 0.5,
            "subtracts positions; they are added": -1.0,
        }.items()
    }
    | {
        f"{{path}} {words} positions by √D; they are added as they are": computing(
            lambda m, ids, power=power: _texts(
                m, ids, number=lambda ids: np.arange(ids.shape[1]), table=m.position_embedding.weight.shape[1] ** power
            )
        )
        for words, power in {"multiplies": 0.5, "divides": -0.5}.items()
    },
    ("tokens_scaled", TextEmbeddings): {
        "{path} multiplies the tokens' vectors by √D, as the first Transformer did; they are taken as they are": (
            _with_tokens(lambda m, ids: m.token_embedding(ids) * np.float32(m.token_embedding.weight.shape[1] ** 0.5))
        ),
    },
    ("tokens_shifted", TextEmbeddings): {
        "{path} looks up the token after for each": _with_tokens(lambda m, ids: _looked_up(m, ids + 1)),
        "{path} looks up the token before for each": _with_tokens(lambda m, ids: _looked_up(m, ids - 1)),
    },
    ("wrong_batch", TextEmbeddings): {
        "{path} takes the texts of the batch in reverse order": computing(lambda m, ids: type(m).forward(m, ids[::-1])),
        "{path} takes the first text of the batch for all": computing(
            lambda m, ids: type(m).forward(m, np.broadcast_to(ids[:1], ids.shape))
        ),
        "{path} takes the tokens of each text in reverse order": computing(
            lambda m, ids: type(m).forward(m, ids[:, ::-1])
        ),
    },
}
