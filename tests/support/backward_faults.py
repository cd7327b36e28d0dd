"""Derivatives with a mistake in them, written out, to be planted while a recording is made: name → what plants it.

Each takes the place of an operation's derivative, or of a module's, in the modules whose paths end in some name.
They share nothing with what looks for them.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np

from aimv2_np.gradients.activations import DERIVATIVES
from aimv2_np.gradients.variable import Variable, computed, value_of
from aimv2_np.network import aimv2
from aimv2_np.network.activations import ACTIVATIONS
from aimv2_np.network.attention import attention
from aimv2_np.network.contrastive import contrastive_logits, l2_normalize
from aimv2_np.network.embedding import Embedding
from aimv2_np.network.encoder import EncoderLayer
from aimv2_np.network.linear import linear
from aimv2_np.network.rms_norm import rms_norm
from aimv2_np.network.swiglu import gated
from aimv2_np.network.text import TextEmbeddings
from aimv2_np.network.vision import VisionEmbeddings
from aimv2_np.tree.recorder import RECORDERS

Where = Callable[[str], bool]  # whether the module at a path has the fault


def running() -> str:
    return RECORDERS.get()[-1].running[-1]


@contextmanager
def instead(operation: Any, faulty: Callable[..., Any], where: Where) -> Iterator[None]:
    """Within the block `faulty(right, *arguments)` is called for the derivative of an operation, where it is so."""
    right = operation.bodies[Variable]

    def body(*args: Any) -> Any:
        return faulty(right, *args) if where(running()) else right(*args)

    with patch.dict(operation.bodies, {Variable: body}):
        yield


def of_norm(by_x: Callable[..., Any] | None = None, by_gain: Callable[..., Any] | None = None) -> Callable[..., Any]:
    def faulty(right: Any, x: Any, weight: Any, eps: float) -> Variable:
        value, gain = value_of(x), value_of(weight)
        r = 1 / np.sqrt((value * value).mean(-1, keepdims=True) + eps)

        def back(g: Any) -> list[Any]:
            u = g * gain
            along = (u * value).mean(-1, keepdims=True)
            dx = r * u - r**3 * along * value
            dg = (g * r * value).reshape(-1, value.shape[-1]).sum(0)
            if by_x:
                dx = by_x(g, u, r, value, along)
            if by_gain:
                dg = by_gain(g, r, value, gain).astype(g.dtype)
            return [dx, dg]

        return computed(rms_norm(value, gain, eps), (x, weight), back)

    return lambda where: instead(rms_norm, faulty, where)


def rows(x: Any) -> Any:
    return x.reshape(-1, x.shape[-1])


def of_attention(change: Callable[..., Any]) -> Callable[..., Any]:
    """`change(q, k, v, probs, g, scale, allowed)` gives all three gradients."""

    def faulty(right: Any, q: Any, k: Any, v: Any, scale: float, view: Any) -> Variable:
        a, b, c = (value_of(x) for x in (q, k, v))
        allowed = view.allowed(np, a.shape[2], b.shape[2])
        scores = scale * (a @ b.swapaxes(-1, -2))
        scores = scores if allowed is None else np.where(allowed, scores, -np.inf)
        e = np.exp(scores - scores.max(-1, keepdims=True))
        probs = e / e.sum(-1, keepdims=True)
        return computed(
            attention(a, b, c, scale, view), (q, k, v), lambda g: change(a, b, c, probs.astype(g.dtype), g, scale)
        )

    return lambda where: instead(attention, faulty, where)


def attended(
    q: Any, k: Any, v: Any, p: Any, g: Any, scale: float, *, minus: Any = None, by_q: float = 1, by_k: float = 1,
    transposed: bool = True,
) -> list[Any]:  # fmt: skip
    dp = g @ v.swapaxes(-1, -2)
    ds = p * (dp - (p * dp).sum(-1, keepdims=True)) if minus is None else minus(p, dp)
    dv = (p.swapaxes(-1, -2) if transposed else p) @ g
    return [by_q * scale * ds @ k, by_k * scale * ds.swapaxes(-1, -2) @ q, dv]


def unmasked(q: Any, k: Any, v: Any, p: Any, g: Any, scale: float) -> list[Any]:
    scores = scale * (q @ k.swapaxes(-1, -2))
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return attended(q, k, v, e / e.sum(-1, keepdims=True), g, scale)


def of_gate(change: Callable[..., Any]) -> Callable[..., Any]:
    """`change(gate, up, g, act, act')` gives both gradients."""

    def faulty(right: Any, gate: Any, up: Any, name: str) -> Variable:
        a, b, act = value_of(gate), value_of(up), ACTIVATIONS[name]
        return computed(gated(a, b, name), (gate, up), lambda g: change(a, b, g, act(a), DERIVATIVES[act](a)))

    return lambda where: instead(gated, faulty, where)


def of_product(change: Callable[..., Any]) -> Callable[..., Any]:
    """`change([∂L/∂x, ∂L/∂W, ∂L/∂b], g, x, W)` gives all of them."""

    def faulty(right: Any, x: Any, weight: Any, bias: Any = None) -> Variable:
        y = right(x, weight, bias)
        back, isvar = y.back, [isinstance(each, Variable) for each in (x, weight, bias)]

        def bent(g: Any) -> list[Any]:
            found = iter(back(g))
            whole = [next(found) if there else None for there in isvar]
            changed = change(whole, g, value_of(x), value_of(weight))
            return [each for each, there in zip(changed, isvar, strict=True) if there]

        return Variable(y.value, y.parents, bent)

    return lambda where: instead(linear, faulty, where)


def method(kind: type[Any], faulty: Callable[..., Any]) -> Callable[..., Any]:
    """`faulty(module, *arguments)` for a class's forward, where it is so."""

    @contextmanager
    def planting(where: Where) -> Iterator[None]:
        right = kind.forward

        def forward(self: Any, *args: Any) -> Any:
            return (faulty if where(running()) else right)(self, *args)

        with patch.object(kind, "forward", forward):
            yield

    return planting


def through(x: Any, factor: float) -> Variable:
    return computed(value_of(x), (x,), lambda g: (g * g.dtype.type(factor),))


def layer(skip: float = 1, branch: float = 1, second: bool = False, whole: float = 1) -> Callable[..., Any]:
    def forward(m: Any, x: Any, view: Any) -> Any:
        x = through(x, whole)
        a, b = (1, 1) if second else (skip, branch)
        c, d = (skip, branch) if second else (1, 1)
        x = through(x, a) + m.attention(m.rms_norm1(through(x, b)), view)
        return through(x, c) + m.ffn(m.rms_norm2(through(x, d)))

    return method(EncoderLayer, forward)


def overwritten(m: Any, ids: Any) -> Variable:
    def back(g: Any) -> tuple[Any]:
        table = np.zeros(m.weight.shape, g.dtype)
        for row, number in zip(g.reshape(-1, g.shape[-1]), np.asarray(ids).reshape(-1), strict=True):
            table[number] = row
        return (table,)

    return computed(m.weight.value[ids], (m.weight,), back)


def positions_of(item: int | None) -> Callable[..., Any]:
    """Positions have the gradient of one item of the batch, or the mean over all."""

    def forward(self: Any, x: Any) -> Any:
        y = RIGHT[type(self)](self, x)
        back = y.back

        def bent(g: Any) -> list[Any]:
            found = list(back(g))
            found[1] = g.mean(0) if item is None else g[item]
            return found

        return Variable(y.value, y.parents, bent)

    @contextmanager
    def planting(where: Where) -> Iterator[None]:
        with method(VisionEmbeddings, forward)(where), method(TextEmbeddings, forward)(where):
            yield

    return planting


RIGHT = {kind: kind.forward for kind in (VisionEmbeddings, TextEmbeddings)}


def unit(x: Any) -> Variable:
    """Unit vectors whose length is a constant on the way back."""
    value = value_of(x)
    length = np.sqrt((value * value).sum(-1, keepdims=True))
    return computed(l2_normalize(value), (x,), lambda g: (g / length,))


def scored(change: Callable[..., Any]) -> Callable[..., Any]:
    """`change([by text, by image, by s], g, text, image, s)` gives the three gradients of logits."""

    def logits(text: Any, image: Any, s: Any, most: float) -> Variable:
        y = contrastive_logits(value_of(text), value_of(image), value_of(s), most)
        e = np.exp(np.clip(value_of(s), 0, np.log(most)))
        cosines = value_of(text) @ value_of(image).T

        def back(g: Any) -> list[Any]:
            inside = 0 <= value_of(s) <= np.log(most)
            right = [e * g @ value_of(image), e * g.T @ value_of(text), e * (g * cosines).sum() * inside]
            found = change(right, g, cosines, e)
            return [each.astype(g.dtype) for each in found]

        return computed(y, (text, image, s), back)

    @contextmanager
    def planting(where: Where) -> Iterator[None]:
        with patch.object(aimv2, "contrastive_logits", logits):
            yield

    return planting


@contextmanager
def unclamped(factor: Callable[[Any, float], Any]) -> Iterator[None]:
    """logit_scale s has the gradient Σ cos ⊙ ∂L/∂logits times a factor of (s, its largest factor)."""

    def logits(text: Any, image: Any, s: Any, most: float) -> Variable:
        y = contrastive_logits(text, image, s, most)
        cosines = value_of(text) @ value_of(image).T

        def bent(g: Any) -> list[Any]:
            return [g, (factor(s.value, most) * (g * cosines).sum()).astype(g.dtype)]

        return computed(y.value, (y, s), bent)

    with patch.object(aimv2, "contrastive_logits", logits):
        yield


def normalised(where: Where) -> Any:
    return patch.object(aimv2, "l2_normalize", unit)


def all_of(*plants: Callable[..., Any]) -> Callable[..., Any]:
    @contextmanager
    def planting(where: Where) -> Iterator[None]:
        with ExitStack() as stack:
            for each in plants:
                stack.enter_context(each(where))
            yield

    return planting


def bias_of(which: Callable[..., Any]) -> Callable[..., Any]:
    return of_product(lambda found, g, x, w: [found[0], found[1], which(g)])


def input_of(factor: float) -> Callable[..., Any]:
    return of_product(
        lambda found, g, x, w: [None if found[0] is None else found[0] * g.dtype.type(factor), *found[1:]]
    )


# (identifier, what plants it, the end of the paths of modules that have it), of a small model with biases.
PLANTED: dict[str, tuple[str, Callable[..., Any], str]] = {
    "norm, first term alone": ("norm_term_missing", of_norm(lambda g, u, r, x, along: r * u), "rms_norm2"),
    "norm, first term alone, everywhere": ("norm_term_missing", of_norm(lambda g, u, r, x, along: r * u), ""),
    "norm, sum for mean": (
        "norm_term_wrong", of_norm(lambda g, u, r, x, along: r * u - r**3 * along * x.shape[-1] * x), "1.rms_norm1",
    ),
    "norm, plus": ("norm_term_wrong", of_norm(lambda g, u, r, x, along: r * u + r**3 * along * x), "0.rms_norm1"),
    "norm, no gain": ("gain_forgotten", of_norm(
        lambda g, u, r, x, along: r * g - r**3 * (g * x).mean(-1, keepdims=True) * x
    ), "rms_norm2"),
    "gain by x": ("gain_without_x", of_norm(by_gain=lambda g, r, x, w: rows(g * x).sum(0)), "rms_norm1"),
    "gain by one": ("gain_without_x", of_norm(by_gain=lambda g, r, x, w: rows(g).sum(0)), "model.rms_norm"),
    "gain by output": ("gain_without_x", of_norm(by_gain=lambda g, r, x, w: rows(g * r * x * w).sum(0)), "0.rms_norm2"),
    "gain of one row": (
        "broadcast_not_summed", of_norm(by_gain=lambda g, r, x, w: rows(g * r * x)[-1]), "rms_norm1",
    ),
    "gain of one item": (
        "broadcast_not_summed", of_norm(by_gain=lambda g, r, x, w: rows((g * r * x)[:1]).sum(0)), "rms_norm2",
    ),
    "gain's mean": ("mean_for_sum", of_norm(by_gain=lambda g, r, x, w: rows(g * r * x).mean(0)), "rms_norm2"),
    "softmax, no sum": ("softmax_sum_missing", of_attention(
        lambda *a: attended(*a, minus=lambda p, dp: p * dp)
    ), "1.attention"),
    "softmax, no sum, everywhere": ("softmax_sum_missing", of_attention(
        lambda *a: attended(*a, minus=lambda p, dp: p * dp)
    ), ""),
    "softmax by elements": ("softmax_element_by_element", of_attention(
        lambda *a: attended(*a, minus=lambda p, dp: p * (1 - p) * dp)
    ), "0.attention"),
    "no scale": ("scale_missing_in_derivative", of_attention(
        lambda *a: attended(*a, by_q=1 / a[-1], by_k=1 / a[-1])
    ), "attention"),
    "no scale for k": ("scale_missing_in_derivative", of_attention(
        lambda *a: attended(*a, by_k=1 / a[-1])
    ), "1.attention"),
    "scale twice": ("scale_missing_in_derivative", of_attention(
        lambda *a: attended(*a, by_q=a[-1], by_k=a[-1])
    ), "head"),
    "no mask": ("mask_forgotten", of_attention(unmasked), "text_model.encoder.layers.0.attention"),
    "P G": ("probabilities_not_transposed", of_attention(lambda *a: attended(*a, transposed=False)), "0.attention"),
    "q and k": ("q_and_k_exchanged", of_attention(lambda *a: [attended(*a)[i] for i in (1, 0, 2)]), "1.attention"),
    "no activation'": ("activation_derivative_missing", of_gate(lambda a, b, g, y, d: [b * g, y * g]), "ffn"),
    "gelu'": ("activation_derivative_wrong", of_gate(
        lambda a, b, g, y, d: [DERIVATIVES[ACTIVATIONS["gelu"]](a) * b * g, y * g]
    ), "1.ffn"),
    "up by gate": ("gate_derivative_wrong", of_gate(lambda a, b, g, y, d: [d * b * g, a * g]), "0.ffn"),
    "gate without up": ("gate_derivative_wrong", of_gate(lambda a, b, g, y, d: [d * g, y * g]), "0.ffn"),
    "gate and up exchanged": ("gate_derivative_wrong", of_gate(lambda a, b, g, y, d: [y * g, d * b * g]), "ffn"),
    "bias of one row": ("broadcast_not_summed", bias_of(lambda g: rows(g)[0]), "v_proj"),
    "bias of the first item": ("broadcast_not_summed", bias_of(lambda g: rows(g[:1]).sum(0)), "down_proj"),
    "bias's mean": ("mean_for_sum", bias_of(lambda g: rows(g).mean(0)), "up_proj"),
    "weights over the batch": (
        "mean_for_sum",
        of_product(lambda f, g, x, w: [f[0], *(None if d is None else d / len(g) for d in f[1:])]), "ffn.gate_proj",
    ),
    "weight's sign": ("wrong_sign", of_product(
        lambda f, g, x, w: [f[0], -f[1], *(None if d is None else -d for d in f[2:])]
    ), "out_proj"),
    "input's sign": ("wrong_sign", input_of(-1), "1.ffn.down_proj"),
    "xᵀ g": ("transposed_weight_gradient", of_product(lambda f, g, x, w: [f[0], f[1].T, f[2]]), "q_proj"),
    "g Wᵀ": ("weight_not_transposed", of_product(lambda f, g, x, w: [g @ w.T, *f[1:]]), "0.attention.out_proj"),
    "gᵀ y": (
        "gradient_of_output",
        of_product(lambda f, g, x, w: [f[0], rows(g).T @ rows(x @ w.T), f[2]]), "text_projection",
    ),
    "not by attention": ("not_accumulated", layer(skip=0), "1"),
    "not through attention": ("not_accumulated", layer(branch=0), "0"),
    "not by the MLP": ("not_accumulated", layer(skip=0, second=True), "1"),
    "not through the MLP": ("not_accumulated", layer(branch=0, second=True), "vision_model.encoder.layers.0"),
    "by attention twice": ("accumulated_twice", layer(skip=2), "1"),
    "q's alone lost": ("not_accumulated", input_of(0), "1.attention.q_proj"),
    "v's alone lost": ("not_accumulated", input_of(0), "0.attention.v_proj"),
    "up's lost": ("not_accumulated", input_of(0), "ffn.up_proj"),
    "k's in the head lost": ("not_accumulated", input_of(0), "head.k_proj"),
    "down twice": ("accumulated_twice", input_of(2), "down_proj"),
    "detached projection": ("detached", input_of(0), "visual_projection"),
    "frozen weight": (
        "weights_detached",
        of_product(lambda f, g, x, w: [f[0], *(None if d is None else 0 * d for d in f[1:])]), "0.ffn.up_proj",
    ),
    "weights twice": (
        "weights_accumulated_twice",
        of_product(lambda f, g, x, w: [f[0], *(None if d is None else 2 * d for d in f[1:])]), "1.ffn.up_proj",
    ),
    "rows overwritten": ("rows_overwritten", method(Embedding, overwritten), "token_embedding"),
    "positions of the first": ("broadcast_not_summed", positions_of(0), "embeddings"),
    "positions' mean": ("mean_for_sum", positions_of(None), "vision_model.embeddings"),
    "length a constant": ("l2_term_missing", normalised, ""),
    "logits without scale": (
        "scale_missing_in_derivative", scored(lambda f, g, c, e: [f[0] / e, f[1] / e, f[2]]), "",
    ),
    "no logit_scale": ("logit_scale_gradient", scored(lambda f, g, c, e: [f[0], f[1], 0 * f[2]]), ""),
    "logit_scale's factor": ("logit_scale_gradient", scored(lambda f, g, c, e: [f[0], f[1], f[2] / e]), ""),
    "texts held": ("detached", scored(lambda f, g, c, e: [0 * f[0], f[1], f[2]]), ""),
}  # fmt: skip
