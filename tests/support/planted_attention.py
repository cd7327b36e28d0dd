"""Faults of attention that one layer can have, or all: as in `planted_in_layers`, but for attention and its masks."""

import numpy as np

from tests.support.faulty import looking, of_mask, of_tokens, reading, sharing, softmax

# fmt: off
ATTENTIONS = {
    "no denominator": ("wrong_softmax", {"softmax": lambda self, s: np.exp(s - s.max(-1, keepdims=True))}),
    "exponential": ("wrong_softmax", {"softmax": lambda self, s: np.exp(s)}),
    "transposed scores": ("qkv_order", {
        "scores": lambda self, q, k: np.einsum(f"bqd,bkd->b{'kq' if q.shape == k.shape else 'qk'}", q, k)
    }),
    "negated query": ("weight_sign", {"scores": lambda self, q, k: np.einsum("bqd,bkd->bqk", -q, k)}),
    "queries reversed": ("tokens_reversed", of_tokens(lambda q, k, v: (q[:, ::-1], k, v))),
    "one head of keys and values": ("wrong_heads", sharing(lambda heads: [0] * heads, "kv")),
    "one head of values": ("wrong_heads", sharing(lambda heads: [0] * heads, "v")),
    "(B, N, 3, D) for (3, B, N, D)": ("qkv_order", reading(lambda three, shape: three.reshape(3, *shape))),
    "(B, N, 3, D) for (B, 3, N, D)": ("qkv_order", reading(
        lambda three, shape: three.reshape(shape[0], 3, *shape[1:]).swapaxes(0, 1)
    )),
}
WINDOWS = {
    "window of 3": ("sliding_window", {"softmax": lambda self, s: softmax(np.where(
        abs(np.arange(s.shape[1])[:, None] - np.arange(s.shape[1])) <= 1, s, -np.inf
    ))}),
    "prefix of 3": ("vision_causal", {"softmax": lambda self, s: softmax(np.where(
        np.tril(np.ones(s.shape[1:], bool)) | (np.arange(s.shape[1]) < 3), s, -np.inf
    ))}),
}
LOOKS = {
    "window of 3": ("sliding_window", looking(lambda i, j: (j <= i) & (i - j < 3))),
    "only itself": ("sliding_window", looking(lambda i, j: (j <= i) & (i - j < 1))),
    "prefix of 3": ("text_not_causal", looking(lambda i, j: (j <= i) | (j < 3))),
}
RAISED = {
    "-1 added": ("wrong_mask_value", of_mask(lambda s, allowed: np.where(allowed, s, s - 1))),
    "1 added": ("wrong_mask_value", of_mask(lambda s, allowed: np.where(allowed, s, s + 1))),
    "1e9 added": ("wrong_mask_value", of_mask(lambda s, allowed: np.where(allowed, s, s + np.float32(1e9)))),
    "1e-9 added": ("text_not_causal", of_mask(lambda s, allowed: np.where(allowed, s, s + np.float32(1e-9)))),
}
PADDINGS = {
    "of queries": ("padding_of_queries", looking(lambda i, j: j <= i, lambda mask: mask[:, :, None])),
    "of both": ("padding_of_queries", looking(lambda i, j: j <= i, lambda mask: mask[:, :, None] & mask[:, None])),
    "of -1": ("wrong_mask_value", {
        "mask": lambda self, s, allowed: np.where(
            np.tril(np.ones(s.shape[1:], bool)), np.where(allowed, s, s - 1), np.finfo(s.dtype).min
        )
    }),
}
# fmt: on
