"""Methods of faulty ports: each function here gives, by name, what a subclass of `Port` overrides."""

import re

import numpy as np

from tests.support.faults import MEAN, STD
from tests.support.port import Port


def raw(pixels):
    return pixels * STD + MEAN


def again(raw):
    return (raw - MEAN) / STD


def of_pixels(change):
    return {"pixels": lambda self, pixels: change(pixels)}


def of_scale(change):
    return {"scale": lambda self, size: change(size)}


def of_positions(change):
    """Native positions, of (rows, columns, size)."""
    return {"positions": lambda self, rows, columns, size: change(rows, columns, size)}


def of_stretch(kernel):
    return {"stretch": lambda self, table, grid, r, c: self.resampled(table, grid, r, c, kernel)}


def waves(rows, columns, size, base=10000.0, first=0.0, step=1.0, unit=lambda n: 1, order="sc"):
    omega = base ** (-np.arange(size // 4) / (size // 4))

    def axis(number):
        s, c = np.sin(number * omega), np.cos(number * omega)
        if order == "turns":
            return np.stack([s, c], -1).ravel()
        return np.concatenate([c, s] if order == "cs" else [s, c])

    return np.array([
        np.concatenate([axis((c * step + first) / unit(columns)), axis((r * step + first) / unit(rows))])
        for r in range(rows) for c in range(columns)
    ])  # fmt: skip


def of_waves(**changes):
    return of_positions(lambda rows, columns, size: waves(rows, columns, size, **changes))


def keys_of_linear(table, grid, rows, columns, *, corners=False, nearest=False):
    """Bilinear with align_corners, or nearest."""
    cube = table.reshape(*grid, -1)
    result = np.zeros((rows, columns, cube.shape[2]), table.dtype)
    for r in range(rows):
        for c in range(columns):
            if nearest:
                result[r, c] = cube[r * grid[0] // rows, c * grid[1] // columns]
                continue
            y, x = r * (grid[0] - 1) / max(rows - 1, 1), c * (grid[1] - 1) / max(columns - 1, 1)
            for i in range(grid[0]):
                for j in range(grid[1]):
                    result[r, c] += max(0, 1 - abs(y - i)) * max(0, 1 - abs(x - j)) * cube[i, j]
    return result.reshape(rows * columns, -1)


def softmax(scores, axis=-1):
    e = np.exp(scores - scores.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def interleaved(x, heads):
    return [x[..., h::heads] for h in range(heads)]


def put_interleaved(parts):
    return np.stack(parts, axis=-1).reshape(*parts[0].shape[:-1], -1)


def as_it_lies(x, heads):
    return list(x.reshape(x.shape[0], heads, x.shape[1], -1).swapaxes(0, 1))


def merged_as_it_lies(parts):
    stacked = np.stack(parts, axis=1)
    return stacked.reshape(stacked.shape[0], stacked.shape[2], -1)


def block(change):
    """(attention, ffn, norm1, norm2, x) → x, of functions."""

    def method(self, path, config, x, allowed):
        return change(
            lambda y: self.attention(f"{path}.attention", config, y, allowed),
            lambda y: self.ffn(f"{path}.ffn", config, y),
            lambda y: self.norm(f"{path}.rms_norm1", y, config.rms_norm_eps),
            lambda y: self.norm(f"{path}.rms_norm2", y, config.rms_norm_eps),
            x,
        )

    return {"block": method}


def renamed(exchange):
    """Weights and biases under each other's names: (end of a path → end of a path)."""

    def other(path):
        return next((path.removesuffix(a) + b for a, b in exchange.items() if path.endswith(a)), path)

    return {
        "weight": lambda self, path: self.w[f"{other(path)}.weight"],
        "bias": lambda self, path: self.w.get(f"{other(path)}.bias"),
    }


def of_weight(change, ends=""):
    return {
        "weight": lambda self, path: (
            change(self.w[f"{path}.weight"]) if path.endswith(ends) else self.w[f"{path}.weight"]
        )
    }


def interleaved_gate(self, path):
    weight = self.w[f"{path}.weight"]
    if not path.endswith(("gate_proj", "up_proj")):
        return weight
    parent = path.rpartition(".")[0]
    both = np.concatenate([self.w[f"{parent}.gate_proj.weight"], self.w[f"{parent}.up_proj.weight"]])
    return both[0 if path.endswith("gate_proj") else 1 :: 2]


def bfloat16(x):
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    return ((bits + np.uint32(0x7FFF) + odd) & np.uint32(0xFFFF0000)).view(np.float32)


def int8(x, most=127):
    if x.ndim < 2:
        return x
    step = np.abs(x).reshape(len(x), -1).max(1).reshape(-1, *[1] * (x.ndim - 1)) / most
    return (np.rint(x / step) * step).astype(x.dtype)


def int8_of_all(x):
    step = np.abs(x).max() / 127
    return x if x.ndim < 2 else (np.rint(x / step) * step).astype(x.dtype)


def row(value):
    def change(weight):
        weight = weight.copy()
        weight[3] = value
        return weight

    return change


def look(rule):
    """Another rule for who may look at whom, (i, j) → bool; padding as it is."""

    def method(self, tokens, padding):
        i, j = np.arange(tokens)[:, None], np.arange(tokens)
        allowed = rule(i, j)[None]
        return allowed if padding is None else allowed & (padding[:, None, :] != 0)

    return {"may_look": method}


def shifted(first):
    return {"token_positions": lambda self, table, ids, padding: table[first : first + ids.shape[1]]}


def vector(change):
    return {"text_vector": lambda self, x, ids, padding, eos: change(x, ids, eos)}


def at(numbers):
    return vector(lambda x, ids, eos: x[np.arange(len(x)), numbers(ids, eos)])


def embedded(change):
    """(normed patches, positions) → embeddings"""
    return {
        "embed": lambda self, prefix, patches, positions, eps: change(
            self.norm(f"{prefix}embeddings.rms_norm", patches, eps), positions
        )
    }


def no_final_norm(self, path, x, eps):
    return x if path.rpartition("model.")[2] == "rms_norm" else Port.norm(self, path, x, eps)


def pooled(change):
    return {"pool": lambda self, prefix, config, x: change(self, prefix, x)}


def norm_twice(self, path, x, eps):
    return self.keep(path, Port.norm(self, path, Port.norm(self, path, x, eps), eps))


def end_of(ids, eos):
    return (ids == eos).argmax(1)


def numbered(order):
    """Layers with the weights of others: number of a layer → of the one whose weights it has."""

    def other(path):
        return re.sub(r"layers\.(\d+)", lambda number: f"layers.{order(int(number[1]))}", path)

    return {
        "weight": lambda self, path: self.w[f"{other(path)}.weight"],
        "bias": lambda self, path: self.w.get(f"{other(path)}.bias"),
    }


def of_norms(att, ffn, n1, n2, x):
    """Residual connections that take what the norms give."""
    x = n1(x)
    x = n2(x + att(x))
    return x + ffn(x)


def of_gains(change):
    return {"weight": lambda self, path: (change if "norm" in path else np.asarray)(self.w[f"{path}.weight"])}


def of_norm(change):
    """(x, ε) → normalised x"""
    return {"normalise": lambda self, path, x, eps: change(x, x.dtype.type(eps))}


def mean(x):
    return x.mean(-1, keepdims=True)


def hidden(change):
    return {"hidden": lambda self, act, gate, up: change(lambda x: self.activation(act, x), gate, up)}


def of_mask(change):
    return {"mask": lambda self, scores, allowed: change(scores, allowed)}


def activation(change):
    return {"activation": lambda self, name, x: change(x)}


def of_tokens(change):
    """Queries, keys and values (B, N, D), before they are split into heads."""
    return {
        "attend": lambda self, q, k, v, *rest: Port.attend(
            self, *(change(q, k, v) if q.shape == k.shape else (q, k, v)), *rest
        )
    }


def looking(rule, of_padding=lambda mask: mask[:, None]):
    """Another rule, as in `look`, in a layer: `of_padding` of a mask (B, N) says what it blocks besides."""

    def method(self, scores, allowed):
        i, j = np.arange(scores.shape[1])[:, None], np.arange(scores.shape[1])
        seen = rule(i, j) & of_padding(allowed[:, -1])  # the last token sees all but padding
        return np.where(seen, scores, np.finfo(scores.dtype).min)

    return {"mask": method}


def reading(read):
    """q, k, v in one array (B, N, 3, D), which `read(array, (B, N, D))` makes three of."""
    return of_tokens(lambda q, k, v: read(np.stack([q, k, v], axis=2), q.shape))


def sharing(numbers, which):
    """Keys or values of other heads: `numbers` of heads → the head that each one takes."""

    def method(self, q, k, v, config, allowed):
        heads = config.num_attention_heads

        def shared(x):
            parts = np.split(x, heads, axis=-1)
            return np.concatenate([parts[h] for h in numbers(heads)], axis=-1)

        k, v = shared(k) if "k" in which else k, shared(v) if "v" in which else v
        return Port.attend(self, q, k, v, config, allowed)

    return {"attend": method}
