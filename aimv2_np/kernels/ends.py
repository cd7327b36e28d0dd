"""Vectors of texts without what cannot change them: a text's vector is the state at its end, of the last layer."""

from aimv2_np.backends.arrays import namespace
from aimv2_np.network.attention import attention, merge_heads, split_heads
from aimv2_np.network.encoder import EncoderLayer, run_layers
from aimv2_np.network.text import TextTower
from aimv2_np.network.view import Mask, View
from aimv2_np.shapes import Array, Float, Int


def vectors_of_ends(ids: Int[Array, "B T"], tower: TextTower, view: View) -> Float[Array, "B D"]:
    """What `text_vectors` computes: all layers but the last on all tokens, the last one at the ends."""
    *layers, last = tower.encoder.layers
    x = run_layers(tower.embeddings(ids), layers, view)
    return tower.rms_norm(layer_at(last, x, tower.ends(ids, view), view))


def layer_at(
    layer: EncoderLayer, x: Float[Array, "B N D"], positions: Int[Array, "B"], view: View
) -> Float[Array, "B D"]:
    """`layer(x, view)` at one position of each sequence; the other tokens are keys and values only."""
    xp, (batch, tokens, _), a = namespace(x), x.shape, layer.attention
    rows = xp.arange(batch)
    allowed = view.allowed(xp, tokens, tokens)
    if allowed is not None:
        allowed = xp.broadcast_to(allowed, (batch, 1, tokens, tokens))[rows, :, positions][:, :, None]  # (B, 1, 1, N)
    h = layer.rms_norm1(x)
    projected = a.q_proj(h[rows, positions][:, None]), a.k_proj(h), a.v_proj(h)
    q, k, v = (split_heads(y, a.heads) for y in projected)
    seen = attention(q, k, v, q.shape[-1] ** -0.5, view.pooled() if allowed is None else Mask(allowed))
    x = x[rows, positions][:, None] + a.out_proj(merge_heads(seen))  # (B, 1, D)
    return (x + layer.ffn(layer.rms_norm2(x)))[:, 0]
