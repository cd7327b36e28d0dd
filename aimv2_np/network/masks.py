"""Which token may look at which: masks for attention, True where looking is allowed.

    allowed(i, j) = (j ≤ i  if causal)  and  (token j is not padding)

The text tower is causal in every block; padding stands at the end, or wherever the mask of the caller says.
"""

from types import ModuleType

from aimv2_np.shapes import Array, Bool, Int


def make_mask(
    xp: ModuleType, tokens: int, padding: Int[Array, "B T"] | None, *, causal: bool
) -> Bool[Array, "#B 1 #T T"] | None:
    """The mask for `tokens` tokens, for all heads: (B, 1, T, T), with 1 for an axis along which it does not vary.

    See docs/equations.md, (16).

    Args:
        xp: the array library of the result.
        tokens: T.
        padding: (B, T), 1 for a token and 0 for padding; None when there is no padding.
        causal: whether a token may only look at itself and at earlier ones.

    Returns:
        None when every token may look at every token.
    """
    allowed = None
    if causal:
        allowed = xp.tril(xp.ones((tokens, tokens), dtype=bool))[None, None]
    if padding is not None:
        keys = (padding != 0)[:, None, None, :]
        allowed = keys if allowed is None else allowed & keys
    return allowed
