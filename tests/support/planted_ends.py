"""Faults where towers end, and products of few bits: name → what it is to be called, and the methods of `Port`."""

import numpy as np

from tests.support.faulty import at, pooled, softmax


def dynamic(x, weight):
    """PyTorch's dynamic quantisation: a symmetric factor for the weight, seven bits and a zero point for the input."""
    step = np.abs(weight).max() / np.float32(127.5)
    matrix = np.clip(np.rint(weight / step), -128, 127) * step
    low, high = min(x.min(), 0), max(x.max(), 0)
    step = (high - low) / np.float32(127)
    zero = np.rint(-low / step)
    rows = (np.clip(np.rint(x / step) + zero, 0, 127) - zero) * step
    return np.einsum("...i,oi->...o", rows, matrix).astype(x.dtype)


def log_softmax(x, axis):
    x = x - x.max(axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis, keepdims=True))


def logits(change):
    """(logits per picture) → what stands for them"""
    return {"logits": lambda self, i, t, s: change(np.exp(s) * i @ t.T)}


def cosines(change):
    return {"logits": lambda self, i, t, s: change(i @ t.T)}


# fmt: off
HEAD = {
    "sum": ("wrong_pooling", pooled(lambda self, prefix, x: x.sum(1))),
    "no query": ("uniform_attention", {"query": lambda self, token: 0 * token}),
}
TEXTS = {"end at 0": ("text_end", at(lambda ids, eos: (ids == 0).argmax(1)))}
BOTH = {
    "log-softmax": ("logits_normalised", logits(lambda x: log_softmax(x, -1))),
    "log-softmax of pictures": ("logits_normalised", logits(lambda x: log_softmax(x, 0))),
    "softmax of pictures": ("logits_normalised", logits(lambda x: softmax(x, 0))),
    "negative logits": ("logit_scale", logits(lambda x: -x)),
    "logits times 7.7": ("logit_scale", logits(lambda x: np.float32(7.7) * x)),
    "logits and a bias": ("wrong_logits", logits(lambda x: x - np.float32(10))),
    "distances": ("wrong_logits", cosines(lambda x: -np.sqrt(2 - 2 * x))),
    "squared distances": ("wrong_logits", cosines(lambda x: 2 * x - 2)),
}
PRODUCTS = {
    "dynamic int8 of PyTorch": ("int8_activations", {"product": lambda self, x, weight: dynamic(x, weight)}),
}
# fmt: on
