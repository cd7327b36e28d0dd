"""Rows of padding in the text tower's activations, which mean nothing and so are not compared.

A token that may look at no token at all (padding on the left) computes something unspecified, even NaN. Padding on the
right looks at the text before it; what it computes is specified, but no result depends on it.
"""

from dataclasses import dataclass

import numpy as np

from aimv2_np.recording.recording import Recording
from aimv2_np.shapes import NDArray


@dataclass(frozen=True)
class Padding:
    """Which positions of the texts are padding.

    Attributes:
        mask: (B, T), True for tokens; None when there is no padding.
        prefix: what the text tower's paths begin with.
    """

    mask: NDArray | None
    prefix: str

    @classmethod
    def of(cls, recording: Recording) -> "Padding":
        """The padding of the texts that went into a recording."""
        mask = recording.inputs.get("attention_mask")
        both = "pixel_values" in recording.inputs or any(path.startswith("text_model.") for path in recording.order)
        if mask is None or mask.ndim != 2 or (mask != 0).all():
            return cls(None, "")
        return cls(mask != 0, "text_model." if both else "")

    def without(self, path: str, a: NDArray, b: NDArray, *, strictly: bool = False) -> NDArray:
        """The other side's activation `b` at `path`, of `a`'s shape, with the rows that mean nothing taken from `a`.

        These are the rows of tokens that have no text to look at; with `strictly` the rows of all padding. `b` itself
        when `path` has no such rows.
        """
        if self.mask is None or not path.startswith(self.prefix):
            return b
        rows = self.mask if strictly else np.cumsum(self.mask, axis=1) > 0  # (B, T)
        name = path.rpartition(".")[2]
        if rows.all() or name == "position_embedding":
            return b
        batch, tokens = rows.shape
        if a.ndim == 3 and a.shape[:2] == (batch, tokens):
            return np.where(rows[:, :, None], b, a)
        if a.ndim == 4 and (a.shape[0], a.shape[2]) == (batch, tokens):
            kept = rows[:, None, :, None]  # of queries, or of the tokens of q, k, v
            if name in ("scores", "probs"):
                kept = kept & rows[:, None, None, :]
            return np.where(kept, b, a)
        return b
