"""Equations of the network with something left out or exchanged, for the live page: a module computes another thing.

Each is a class of modules and what these compute instead; names, weights and all else stay as they are.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from aimv2_np.backends.arrays import namespace
from aimv2_np.comparison.diagnosis.attentions import attend
from aimv2_np.network.attention import Attention
from aimv2_np.network.encoder import EncoderLayer
from aimv2_np.network.pooling import AttentionPoolingHead
from aimv2_np.network.rms_norm import RMSNorm
from aimv2_np.network.swiglu import SwiGLU, gated
from aimv2_np.network.view import EVERYONE
from aimv2_np.network.vision import VisionEmbeddings
from aimv2_np.tree.module import Module


@dataclass(frozen=True)
class Break:
    """One equation, broken.

    Attributes:
        name: of the file.
        equation: its number in docs/equations.md.
        words: what is done to it.
        instead: what is computed now.
        forwards: class of modules → `forward(module, *its arguments)`.
    """

    name: str
    equation: int
    words: str
    instead: str
    forwards: Mapping[type[Module], Callable[..., Any]]


def _attending(**options: Any) -> dict[type[Module], Callable[..., Any]]:
    """Both kinds of attention, as they are written but for some steps."""
    return dict.fromkeys((Attention, AttentionPoolingHead), partial(attend, **options))


def _ones(scores):
    """One for each token that may be looked at, in the place of the softmax."""
    xp = namespace(scores)
    return xp.where(scores > xp.finfo(scores.dtype).min, scores.dtype.type(1), scores.dtype.type(0))


def _not_causal(m, x, view=EVERYONE):
    """The text tower's view is "causal, and not padding": what stays is the second half."""
    return Attention.forward(m, x, getattr(view, "second", EVERYONE))


BREAKS = (
    Break("norm", 3, "Leave out the norm", "norm(x) = x", {RMSNorm: lambda m, x: x}),
    Break("positions", 6, "Leave out the positions", "x = norm(y), without + p: patches do not know where they are",
          {VisionEmbeddings: lambda m, pixels: m.rms_norm(m.patch_embed(pixels))}),
    Break("residual", 7, "Leave out the residual stream", "x ← ffn(norm₂(attention(norm₁(x)))), without x +",
          {EncoderLayer: lambda m, x, view=EVERYONE: m.ffn(m.rms_norm2(m.attention(m.rms_norm1(x), view)))}),
    Break("softmax", 8, "Sum instead of softmax", "every token that may be looked at weighs one: values are summed",
          _attending(normalised=_ones)),
    Break("scale", 9, "Leave out the scale", "softmax(q kᵀ), without 1/√d: scores are √d times as large",
          _attending(scale=lambda *_: 1.0)),
    Break("gate", 11, "Swap gate and up", "gate ⊙ silu(up)",
          {SwiGLU: lambda m, x: m.down_proj(gated(m.up_proj(x), m.gate_proj(x), m.hidden_act))}),
    Break("causal", 16, "Let words see later ones", "allowed(i, j) = j is not padding", {Attention: _not_causal}),
)  # fmt: skip


def broken(module: Module, forwards: Mapping[type[Module], Callable[..., Any]]) -> Any:
    """The same tree, arrays shared, in which modules of these classes compute something else."""
    clone = copy.copy(module)
    for field in fields(module):
        value = getattr(module, field.name)
        if isinstance(value, Module):
            setattr(clone, field.name, broken(value, forwards))
        elif isinstance(value, list):
            setattr(clone, field.name, [broken(each, forwards) for each in value])
    kind = type(module)
    if kind in forwards:
        clone.__class__ = type(kind.__name__, (kind,), {"forward": _method(forwards[kind])})
    return clone


def _method(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A partial function is no method: one that takes `self`."""
    return lambda self, *args: forward(self, *args)
