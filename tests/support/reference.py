"""The whole network once more, in float64 and in the plainest NumPy, from the paper's equations and the stored names.

It shares no code with the package: a state dictionary and numbers go in, numbers come out. SiLU only.
"""

from math import sqrt
from typing import Any

import numpy as np

State = dict[str, np.ndarray]


class Reference:
    """One tower's parameters, looked up under a prefix and widened to float64."""

    def __init__(self, state: State, prefix: str = "") -> None:
        self.state = {name.removeprefix(prefix): np.asarray(array, np.float64) for name, array in state.items()
                      if name.startswith(prefix)}  # fmt: skip

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return np.einsum("...i,oi->...o", x, self.state[f"{name}.weight"]) + self.state.get(f"{name}.bias", 0.0)

    def norm(self, name: str, x: np.ndarray, eps: float) -> np.ndarray:
        return self.state[f"{name}.weight"] * x / np.sqrt((x**2).mean(-1, keepdims=True) + eps)

    def attend(self, q: np.ndarray, k: np.ndarray, v: np.ndarray, heads: int, seen: np.ndarray | None) -> np.ndarray:
        """q (B, N, D), k and v (B, M, D); `seen` (B, N, M) of booleans."""
        out = np.zeros(q.shape)
        d = q.shape[-1] // heads
        for h in range(heads):
            part = slice(h * d, (h + 1) * d)
            scores = np.einsum("bnd,bmd->bnm", q[..., part], k[..., part]) / sqrt(d)
            weights = np.exp(scores) if seen is None else np.where(seen, np.exp(scores), 0.0)
            total = weights.sum(-1, keepdims=True)
            weights = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
            out[..., part] = np.einsum("bnm,bmd->bnd", weights, v[..., part])
        return out

    def block(self, i: int, x: np.ndarray, config: Any, seen: np.ndarray | None) -> np.ndarray:
        at, eps = f"encoder.layers.{i}.", config.rms_norm_eps
        y = self.norm(f"{at}rms_norm1", x, eps)
        q, k, v = (self.linear(f"{at}attention.{letter}_proj", y) for letter in "qkv")
        x = x + self.linear(f"{at}attention.out_proj", self.attend(q, k, v, config.num_attention_heads, seen))
        y = self.norm(f"{at}rms_norm2", x, eps)
        gate = self.linear(f"{at}ffn.gate_proj", y)
        return x + self.linear(f"{at}ffn.down_proj", gate / (1 + np.exp(-gate)) * self.linear(f"{at}ffn.up_proj", y))

    def trunk(self, x: np.ndarray, config: Any, seen: np.ndarray | None) -> tuple[list[np.ndarray], np.ndarray]:
        states = [x]
        for i in range(config.num_hidden_layers):
            states.append(self.block(i, states[-1], config, seen))
        return states, self.norm("rms_norm", states[-1], config.rms_norm_eps)


def vision(state: State, config: Any, pixels: np.ndarray, prefix: str = "") -> tuple[Any, Any, Any]:
    """(hidden states, last hidden state, pooled or None)."""
    at = Reference(state, prefix)
    weight = at.state["embeddings.patch_embed.weight"]
    ph, pw = weight.shape[2:]
    rows, columns = pixels.shape[2] // ph, pixels.shape[3] // pw
    patches = [pixels[:, :, r * ph : (r + 1) * ph, c * pw : (c + 1) * pw] for r in range(rows) for c in range(columns)]
    x = np.stack([np.einsum("bcyx,dcyx->bd", patch.astype(np.float64), weight) for patch in patches], axis=1)
    x = at.norm("embeddings.rms_norm", x + at.state["embeddings.patch_embed.bias"], config.rms_norm_eps)
    if config.is_native:
        omega = 10000.0 ** (-np.arange(config.hidden_size // 4) / (config.hidden_size // 4))
        x = x + np.array([
            [*np.sin(c * omega), *np.cos(c * omega), *np.sin(r * omega), *np.cos(r * omega)]
            for r in range(rows) for c in range(columns)
        ])  # fmt: skip
    else:
        x = x + at.state["embeddings.position_embedding.weight"]
    states, last = at.trunk(x, config, None)
    if not config.use_head:
        return states, last, None
    query = np.broadcast_to(at.state["head.cls_token"], (len(pixels), 1, config.hidden_size))
    k, v = at.linear("head.k_proj", last), at.linear("head.v_proj", last)
    pooled = at.attend(query, k, v, config.num_attention_heads, None)[:, 0]
    return states, last, at.linear("head.output_proj", pooled)


def text(
    state: State, config: Any, ids: np.ndarray, mask: np.ndarray | None = None, causal: bool = True, prefix: str = ""
) -> tuple[Any, Any, Any]:
    """(hidden states, last hidden state, pooled)."""
    at = Reference(state, prefix)
    length = ids.shape[1]
    x = at.state["embeddings.token_embedding.weight"][ids] + at.state["embeddings.position_embedding.weight"][:length]
    seen = np.ones((len(ids), length, length), bool)
    for b, i, j in np.ndindex(seen.shape):
        seen[b, i, j] = (j <= i or not causal) and (mask is None or mask[b, j] == 1)
    states, last = at.trunk(x, config, seen)
    ends = [next((t for t, token in enumerate(row) if token == config.eos_token_id), 0) for row in ids]
    return states, last, np.stack([last[b, end] for b, end in enumerate(ends)])
