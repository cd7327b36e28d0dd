"""Mistakes where the backward pass begins: the loss, the logits' scale, unit vectors."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from aimv2_np.backends.arrays import namespace
from aimv2_np.comparison.diagnosis.backward.tools import (
    ConstantSums,
    derived_from,
    forward_of,
    held,
    mixed,
    passing,
    plain,
    times,
    with_input,
    with_weight,
)
from aimv2_np.comparison.diagnosis.ends import Embeds, Logits, Scored, Unit
from aimv2_np.comparison.diagnosis.fault import Plant, Table, computing, with_fields, with_forward
from aimv2_np.gradients.variable import value_of
from aimv2_np.network.contrastive import contrastive_logits, contrastive_loss, l2_normalize, one_way_loss
from aimv2_np.shapes import Array
from aimv2_np.tree.module import Module


@dataclass(repr=False, eq=False)
class Loss(Module):
    """The number that is differentiated.

    Attributes:
        weights: of a weighted sum of what it is given; None for the contrastive loss.
    """

    weights: Array | None

    def forward(self, x: Array) -> Array:
        return contrastive_loss(x) if self.weights is None else (x * self.weights).sum()


def _contrastive(forward: Callable[[Any], Any]) -> Plant:
    """The derivative of another expression of logits (L, L), where the loss is the contrastive one."""

    def plant(m: Any, *rest: Any) -> Module | None:
        if m.weights is not None:
            return None
        return computing(lambda m, x: derived_from(forward_of(m, x), forward(x)))(m, *rest)

    return plant


def _times(factor: Callable[[tuple[int, ...]], float]) -> Plant:
    """The loss's gradient times a number, where that is none of 0 and 1."""

    def forward(m: Any, x: Any) -> Any:
        return forward_of(m, passing(x, times(factor(x.shape))))

    return computing(forward)


def _measured(m: Any, path: str, clue: Any) -> Module | None:
    """The loss's gradient times a number that the other side's shows."""
    factor = clue.factor
    if factor is None or factor <= 0:
        return None
    return with_fields(with_forward(m, lambda m, x: forward_of(m, passing(x, times(m.factor)))), factor=factor)


FACTORS: dict[str, Callable[[tuple[int, ...]], float]] = {
    "the sum over the batch; it is the mean": lambda shape: shape[0],
    "the mean over the batch once more": lambda shape: 1 / shape[0],
    "the mean of all numbers; it is their sum": lambda shape: 1 / np.prod(shape),
    "the sum of both cross-entropies; it is their mean": lambda shape: 2,
    "half of the loss": lambda shape: 0.5,
}


def _scored(change: Callable[[Any, Embeds], Any]) -> Plant:
    """Logits whose derivative is that of another expression."""

    def forward(m: Any, embeds: Embeds) -> Scored:
        right = forward_of(m, embeds)
        logits = derived_from(right.logits_per_text, change(m, embeds))
        return Scored(logits, logits.T)

    return computing(forward)


def _without_scale(m: Any, embeds: Embeds) -> Any:
    """The gradients by both embeddings without the scale; that by the scale as it is."""
    plainly = contrastive_logits(*embeds, np.zeros_like(value_of(m.logit_scale)), m.most)
    rest = contrastive_logits(held(embeds.text), held(embeds.image), m.logit_scale, m.most)
    return derived_from(plainly, plainly, rest)


def _scale_by(m: Any, embeds: Embeds, of: Callable[[Any, Array], Any]) -> Any:
    """The gradient by logit_scale of another expression of it and the cosines; those by embeddings as they are."""
    both = contrastive_logits(*embeds, value_of(m.logit_scale), m.most)
    both_held = Embeds(value_of(embeds.text), value_of(embeds.image))
    cosines = contrastive_logits(both_held.text, both_held.image, np.zeros_like(value_of(m.logit_scale)), m.most)
    return derived_from(both, both, of(m.logit_scale, value_of(cosines)))


def factor_of(m: Any) -> float:
    """The factor of the cosines."""
    return float(np.exp(np.clip(value_of(m.logit_scale), 0, np.log(m.most))))


def _one_held(m: Any, text: Any, image: Any) -> Any:
    return contrastive_logits(text, image, m.logit_scale, m.most)


FAULTS: Table = {
    ("loss_scaled", Loss): {f"the gradient is of {words}": _times(factor) for words, factor in FACTORS.items()}
    | {"the gradient is {p.factor:g} times that of the loss": _measured},
    ("loss_one_way", Loss): {
        "the gradient is of the texts' cross-entropy alone; the loss is the mean of both": _contrastive(one_way_loss),
        "the gradient is of the images' cross-entropy alone; the loss is the mean of both": _contrastive(
            lambda x: one_way_loss(x.T)
        ),
        "the gradient is half of that of the texts' cross-entropy; the loss is the mean of both": _contrastive(
            lambda x: 0.5 * one_way_loss(x)
        ),
        "the gradient is half of that of the images' cross-entropy; the loss is the mean of both": _contrastive(
            lambda x: 0.5 * one_way_loss(x.T)
        ),
    },
    ("loss_without_target", Loss): {
        "the gradient is that of the softmax's denominator alone: the target is not subtracted": _contrastive(
            lambda x: contrastive_loss(x) + namespace(x).diagonal(x).mean()
        ),
    },
    ("wrong_sign", Loss): {"the gradient is the negative of the loss's": _times(lambda shape: -1)},
    ("l2_term_missing", Unit): {
        "the normalisation that gives {path} takes the length for a constant in its derivative": computing(
            lambda m, x: plain(l2_normalize(ConstantSums.of(x)))
        ),
        "the normalisation that gives {path} passes gradients as they are": computing(
            lambda m, x: derived_from(l2_normalize(value_of(x)), x)
        ),
        "the normalisation that gives {path} has the second term of its derivative twice": computing(
            lambda m, x: mixed(forward_of(m, x), [(2, forward_of(m, x)), (-1, plain(l2_normalize(ConstantSums.of(x))))])
        ),
    },
    ("detached", Unit): {"{path} is detached: the tower behind it has no gradient": with_input(held)},
    ("detached", Logits): {
        "the logits hold the text vectors constant: the text tower has no gradient": _scored(
            lambda m, embeds: _one_held(m, held(embeds.text), embeds.image)
        ),
        "the logits hold the image vectors constant: the vision tower has no gradient": _scored(
            lambda m, embeds: _one_held(m, embeds.text, held(embeds.image))
        ),
    },
    ("scale_missing_in_derivative", Logits): {
        "the gradients by both embeddings are without the logits' scale": _scored(_without_scale),
    },
    ("logit_scale_gradient", Logits): {
        "logit_scale has no gradient": with_weight("logit_scale", times(0)),
        "logit_scale has the gradient of the factor e^s itself; it is e^s times that": _scored(
            lambda m, embeds: _scale_by(m, embeds, lambda s, cosines: s * cosines)
        ),
        "logit_scale has a gradient beyond its limits, where it is clamped": _scored(
            lambda m, embeds: _scale_by(m, embeds, lambda s, cosines: namespace(s).exp(s) * cosines)
        ),
        "logit_scale has the gradient of its limit where it is clamped; it has none there": _scored(
            lambda m, embeds: _scale_by(m, embeds, lambda s, cosines: s * (factor_of(m) * cosines))
        ),
        "logit_scale has twice its gradient": with_weight("logit_scale", times(2)),
        "logit_scale has the negative of its gradient": with_weight("logit_scale", times(-1)),
    },
}
