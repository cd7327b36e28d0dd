"""Faults that one layer can have, or all: name → what it is to be called, and the methods of `Port` it overrides."""

import numpy as np
from ml_dtypes import float8_e4m3fn, float8_e5m2

from tests.support.faulty import (
    activation,
    as_it_lies,
    bfloat16,
    block,
    hidden,
    int8,
    int8_of_all,
    interleaved,
    interleaved_gate,
    mean,
    merged_as_it_lies,
    norm_twice,
    numbered,
    of_gains,
    of_norm,
    of_norms,
    of_scale,
    of_weight,
    put_interleaved,
    renamed,
    row,
    softmax,
)
from tests.support.port import Port

# fmt: off
NORMS = {
    "eps 1e-3": ("wrong_eps", of_norm(lambda x, e: x / np.sqrt(mean(x * x) + np.float32(1e-3)))),
    "eps 0.0123": ("wrong_eps", of_norm(lambda x, e: x / np.sqrt(mean(x * x) + np.float32(0.0123)))),
    "layer norm": ("mean_centred_norm", of_norm(lambda x, e: (x - mean(x)) / np.sqrt(x.var(-1, keepdims=True) + e))),
    "sum of squares": ("wrong_norm_mean", of_norm(lambda x, e: x / np.sqrt((x * x).sum(-1, keepdims=True) + e))),
    "gain without norm": ("missing_norm", of_norm(lambda x, e: x)),
    "no gain": ("wrong_norm_gain", of_gains(np.ones_like)),
    "1 + gain": ("wrong_norm_gain", of_gains(lambda gain: 1 + gain)),
    "no norm": ("missing_norm", {"norm": lambda self, path, x, eps: self.keep(path, x)}),
    "norm twice": ("norm_twice", {"norm": norm_twice}),
    "squares by n - 1": ("wrong_norm_mean", of_norm(
        lambda x, e: x / np.sqrt((x * x).sum(-1, keepdims=True) / (x.shape[-1] - 1) + e)
    )),
    "largest": ("wrong_norm_mean", of_norm(lambda x, e: x / np.abs(x).max(-1, keepdims=True))),
    "centred only": ("mean_centred_norm", of_norm(lambda x, e: x - mean(x))),
    "variance by n - 1": ("mean_centred_norm", of_norm(
        lambda x, e: (x - mean(x)) / np.sqrt(x.var(-1, keepdims=True, ddof=1) + e)
    )),
    "eps 1e-2 outside": ("wrong_eps", of_norm(lambda x, e: x / (np.sqrt(mean(x * x)) + np.float32(1e-2)))),
    "eps 0.0321 outside": ("wrong_eps", of_norm(lambda x, e: x / (np.sqrt(mean(x * x)) + np.float32(0.0321)))),
    "gain first": ("wrong_norm_gain", {
        "norm": lambda self, p, x, e: self.keep(p, self.normalise(p, x * self.weight(p), e))
    }),
    "divided by gain": ("wrong_norm_gain", of_gains(lambda gain: 1 / gain)),
    "gain - 1": ("wrong_norm_gain", of_gains(lambda gain: gain - 1)),
    "norms exchanged": ("norms_exchanged", renamed({"rms_norm1": "rms_norm2", "rms_norm2": "rms_norm1"})),
    "norms by other names": ("norms_exchanged", block(lambda a, f, n1, n2, x: (y := x + a(n2(x))) + f(n1(y)))),
}
BLOCKS = {
    "no attention residual": ("missing_residual", block(lambda a, f, n1, n2, x: (y := a(n1(x))) + f(n2(y)))),
    "no MLP residual": ("missing_residual", block(lambda a, f, n1, n2, x: f(n2(x + a(n1(x)))))),
    "no residuals": ("missing_residual", block(lambda a, f, n1, n2, x: f(n2(a(n1(x)))))),
    "residual of norms": ("missing_residual", block(of_norms)),
    "post norm": ("post_norm", block(lambda a, f, n1, n2, x: n2((y := n1(x + a(x))) + f(y)))),
    "parallel": ("parallel_block", block(lambda a, f, n1, n2, x: x + a(n1(x)) + f(n2(x)))),
    "residual twice": ("residual_twice", block(lambda a, f, n1, n2, x: (y := 2 * x + a(n1(x))) + f(n2(y)))),
    "MLP first": ("block_order", block(lambda a, f, n1, n2, x: (y := x + f(n2(x))) + a(n1(y)))),
    "no MLP": ("missing_half", block(lambda a, f, n1, n2, x: x + a(n1(x)))),
    "half of both": ("half_scaled", block(lambda a, f, n1, n2, x: (y := x + a(n1(x)) / 2) + f(n2(y)) / 2)),
    "half of the MLP": ("half_scaled", block(lambda a, f, n1, n2, x: (y := x + a(n1(x))) + f(n2(y)) / 2)),
    "0.1 of attention": ("half_scaled", block(lambda a, f, n1, n2, x: (y := x + 0.1 * a(n1(x))) + f(n2(y)))),
    "0.3 of the MLP": ("half_scaled", block(lambda a, f, n1, n2, x: (y := x + a(n1(x))) + 0.3 * f(n2(y)))),
    "0.01 of both": ("half_scaled", block(lambda a, f, n1, n2, x: (y := x + 0.01 * a(n1(x))) + 0.01 * f(n2(y)))),
    "0.7 of attention, within": ("half_scaled", {
        "attention": lambda self, path, *args: self.keep(path, 0.7 * Port.attention(self, path, *args))
    }),
    "MLP of x": ("parallel_block", block(lambda a, f, n1, n2, x: x + a(n1(x)) + f(x))),
    "MLP of attention": ("parallel_block", block(lambda a, f, n1, n2, x: x + (y := a(n1(x))) + f(n2(y)))),
    "x added to the MLP": ("missing_residual", block(lambda a, f, n1, n2, x: x + f(n2(x + a(n1(x)))))),
    "sandwich": ("post_norm", block(lambda a, f, n1, n2, x: (y := x + n1(a(n1(x)))) + n2(f(n2(y))))),
    "passed through": ("blocks_skipped", {"block": lambda self, path, config, x, allowed: x}),
}
ORDERS = {
    "skipped": ("blocks_skipped", {"layers": lambda self, n: [i for i in range(n) if i != 1]}),
    "first skipped": ("blocks_skipped", {"layers": lambda self, n: list(range(1, n))}),
    "last skipped": ("blocks_skipped", {"layers": lambda self, n: list(range(n - 1))}),
    "last two skipped": ("blocks_skipped", {"layers": lambda self, n: list(range(n - 2))}),
    "doubled": ("blocks_doubled", {"layers": lambda self, n: [0, 1, *range(1, n)]}),
    "exchanged": ("blocks_exchanged", {"layers": lambda self, n: [1, 0, *range(2, n)]}),
    "exchanged, far": ("blocks_exchanged", {"layers": lambda self, n: [0, 3, 2, 1]}),
    "reversed": ("blocks_exchanged", {"layers": lambda self, n: list(range(n))[::-1]}),
    "weights exchanged": ("blocks_exchanged", numbered(lambda i: {1: 2, 2: 1}.get(i, i))),
    "weights of the first": ("blocks_exchanged", numbered(lambda i: 0)),
    "weights of one before": ("blocks_exchanged", numbered(lambda i: max(i - 1, 0))),
}
ATTENTIONS = {
    "qkv order": ("qkv_order", {"roles": lambda self, path: ("k_proj", "q_proj", "v_proj")}),
    "kvq order": ("qkv_order", {"roles": lambda self, path: ("k_proj", "v_proj", "q_proj")}),
    "no scale": ("missing_scale", of_scale(lambda size: 1.0)),
    "scale 1/d": ("wrong_scale", of_scale(lambda size: 1 / size)),
    "scale √d": ("wrong_scale", of_scale(lambda size: size**0.5)),
    "softmax of queries": ("softmax_axis", {"softmax": lambda self, scores: softmax(scores, -2)}),
    "no softmax": ("wrong_softmax", {"softmax": lambda self, scores: scores}),
    "uniform": ("uniform_attention", {"softmax": lambda self, scores: np.full_like(scores, 1 / scores.shape[-1])}),
    "one head": ("wrong_heads", {"heads": lambda self, count: 1}),
    "half the scale": ("wrong_scale", {"scale": lambda self, size: size**-0.5 / 2}),
    "twice the heads": ("wrong_heads", {"heads": lambda self, count: 2 * count}),
    "interleaved": ("heads_interleaved", {
        "split": lambda self, x, heads: interleaved(x, heads), "merge": lambda self, parts: put_interleaved(parts)
    }),
    "split interleaved": ("heads_interleaved", {"split": lambda self, x, heads: interleaved(x, heads)}),
    "merged interleaved": ("heads_interleaved", {"merge": lambda self, parts: put_interleaved(parts)}),
    "split as it lies": ("heads_not_transposed", {"split": lambda self, x, heads: as_it_lies(x, heads)}),
    "v and out": ("v_out_swapped", renamed({
        "attention.v_proj": "attention.out_proj", "attention.out_proj": "attention.v_proj"
    })),
}
MERGED = {"merged as it lies": ("heads_not_transposed", {"merge": lambda self, parts: merged_as_it_lies(parts)})}
MLPS = {
    "gate and up": ("gate_up_swapped", {"gate_and_up": lambda self, path: ("up_proj", "gate_proj")}),
    "gate by up's name": ("gate_up_swapped", hidden(lambda act, gate, up: gate * act(up))),
    "interleaved rows": ("gate_up_interleaved", {"weight": interleaved_gate}),
    "no up": ("wrong_gating", hidden(lambda act, gate, up: act(gate))),
    "sum": ("wrong_gating", hidden(lambda act, gate, up: act(gate) + up)),
    "act of product": ("wrong_gating", hidden(lambda act, gate, up: act(gate * up))),
    "relu": ("wrong_activation", {"activation": lambda self, name, x: np.maximum(x, 0)}),
    "leaky_relu": ("wrong_activation", activation(lambda x: np.where(x > 0, x, x / 100))),
    "mish": ("wrong_activation", activation(lambda x: x * np.tanh(np.log1p(np.exp(x))))),
    "relu²": ("wrong_activation", activation(lambda x: np.maximum(x, 0) ** 2)),
    "elu": ("wrong_activation", activation(lambda x: np.where(x > 0, x, np.exp(x) - 1))),
    "1 + up": ("wrong_gating", hidden(lambda act, gate, up: act(gate) * (1 + up))),
    "no activation": ("wrong_activation", {"activation": lambda self, name, x: x}),
}
WEIGHTS = {
    "down transposed": ("transposed_weight", of_weight(lambda w: w.ravel().reshape(w.shape[::-1]).T, "ffn.down_proj")),
    "negative": ("weight_sign", of_weight(lambda w: -w, "attention.out_proj")),
    "gate in bfloat16": ("bfloat16_weights", of_weight(bfloat16, "ffn.gate_proj")),
    "out in int8": ("int8_weights", of_weight(int8, "attention.out_proj")),
    "k in int8 of all": ("int8_weights", of_weight(int8_of_all, "attention.k_proj")),
    "out in float16": ("float16_weights", of_weight(lambda w: w.astype(np.float16).astype(w.dtype), "out_proj")),
    "up in int4": ("int4_weights", of_weight(lambda w: int8(w, 7), "ffn.up_proj")),
    "gate in e4m3": ("float8_weights", of_weight(lambda w: w.astype(float8_e4m3fn).astype(w.dtype), "gate_proj")),
    "out in e5m2": ("float8_weights", of_weight(lambda w: w.astype(float8_e5m2).astype(w.dtype), "out_proj")),
    "NaN": ("nan_weight", of_weight(row(np.nan), "ffn.down_proj")),
    "zero": ("zero_weight", of_weight(row(0.0), "attention.out_proj")),
    "Inf": ("nan_weight", of_weight(row(np.inf), "ffn.down_proj")),
    "Inf of q": ("nan_weight", of_weight(row(np.inf), "attention.q_proj")),
    "NaN in a norm": ("nan_weight", of_weight(row(np.nan), "rms_norm2")),
}
ALL_WEIGHTS = {
    "all in bfloat16": ("bfloat16_weights", {
        "weight": lambda self, path: bfloat16(self.w[f"{path}.weight"]),
    }),
    "all in int8": ("int8_weights", {"weight": lambda self, path: int8(self.w[f"{path}.weight"])}),
}
# fmt: on
