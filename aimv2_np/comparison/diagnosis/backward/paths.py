"""Mistakes in how gradients come together: what is used twice has the sum of both, and nothing is counted again.

A residual stream goes into a norm and into the sum behind it; what a norm gives goes into q, k and v.
"""

from collections.abc import Callable, Iterable
from typing import Any

from aimv2_np.comparison.diagnosis.backward.tools import (
    bent,
    forward_of,
    held,
    passing,
    times,
    with_input,
    with_weight,
)
from aimv2_np.comparison.diagnosis.fault import Plant, Table, computing, with_fields
from aimv2_np.gradients.variable import Variable
from aimv2_np.network.attention import Attention
from aimv2_np.network.embedding import Embedding
from aimv2_np.network.encoder import EncoderLayer
from aimv2_np.network.linear import Linear
from aimv2_np.network.patches import PatchEmbed
from aimv2_np.network.pooling import AttentionPoolingHead
from aimv2_np.network.rms_norm import RMSNorm
from aimv2_np.network.swiglu import SwiGLU
from aimv2_np.shapes import Array
from aimv2_np.tree.module import Module

WEIGHTS = {
    Linear: ("weight", "bias"), PatchEmbed: ("weight", "bias"), RMSNorm: ("weight",), Embedding: ("weight",),
    AttentionPoolingHead: ("cls_token",),
}  # fmt: skip


def _held(names: Iterable[str]) -> Plant:
    """Some of a module's modules take their input for a constant."""

    def plant(module: Any, *_: Any) -> Module:
        holding = with_input(held)
        return with_fields(module, **{name: holding(getattr(module, name), "", None) for name in names})  # type: ignore[arg-type]

    return plant


def _skip(change: Callable[[Array], Array], second: bool) -> Plant:
    """Another gradient by what is added to what attention (or the MLP, the `second` sum) gives."""

    def forward(m: Any, x: Any, *args: Any) -> Any:
        if second:
            y = forward_of(m, x, *args)
            return bent(y, y.parents[0], lambda g, right: change(right(g)))
        middle = x + m.attention(m.rms_norm1(x), *args)
        middle = bent(middle, middle.parents[0], lambda g, right: change(right(g)))
        return middle + m.ffn(m.rms_norm2(middle))

    return computing(forward)


def _detached(module: Any, path: str, *rest: Any) -> Module | None:
    """A module whose input has no gradient, where nothing else takes that input: what is lost then is all there is."""
    return None if path.rpartition(".")[2] in BESIDE_OTHERS else with_input(held)(module, path, *rest)


def by_all_weights(change: Callable[[Array], Array]) -> dict[type[Module], Plant]:
    """Kind of modules → a change of the gradients by all weights of one."""

    def of(names: tuple[str, ...]) -> Plant:
        def plant(module: Any, *rest: Any) -> Module | None:
            there = [name for name in names if isinstance(vars(module).get(name), Variable)]
            if not there:
                return None

            def forward(m: Any, *args: Any) -> Any:
                return type(m).forward(with_fields(m, **{n: passing(getattr(m, n), change) for n in there}), *args)

            return computing(forward)(module, *rest)

        return plant

    return {kind: of(names) for kind, names in WEIGHTS.items()}


def _rows(identifier: str, sentence: str, plants: dict[type[Module], Plant]) -> Table:
    return {(identifier, kind): {sentence: plant} for kind, plant in plants.items()}


LOST = {
    ("q_proj",): "q", ("k_proj",): "k", ("v_proj",): "v", ("k_proj", "v_proj"): "k and v",
    ("q_proj", "v_proj"): "q and v", ("q_proj", "k_proj"): "q and k",
}  # fmt: skip
BESIDE_OTHERS = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "rms_norm1", "rms_norm2")
MODULES = (Attention, SwiGLU, RMSNorm, Linear, AttentionPoolingHead)

FAULTS: Table = {
    ("not_accumulated", EncoderLayer): {
        "{path} loses the gradient that passes by attention: x + attention(…) has both": _skip(times(0), False),
        "{path} loses the gradient that passes by the MLP: x + ffn(…) has both": _skip(times(0), True),
        "{path} loses the gradient that goes through attention: x + attention(…) has both": _held(["rms_norm1"]),
        "{path} loses the gradient that goes through the MLP: x + ffn(…) has both": _held(["rms_norm2"]),
    },
    ("not_accumulated", Attention): {
        f"{{path}} gives its input no gradient of {words}; it is the sum of those of q, k and v": _held(names)
        for names, words in LOST.items()
    },
    ("not_accumulated", AttentionPoolingHead): {
        f"{{path}} gives its input no gradient of {name[0]}; it is the sum of those of k and v": _held([name])
        for name in ("k_proj", "v_proj")
    },
    ("not_accumulated", SwiGLU): {
        f"{{path}} gives its input no gradient of {name}; it is the sum of those of gate_proj and up_proj": _held(
            [name]
        )
        for name in ("gate_proj", "up_proj")
    },
    ("accumulated_twice", EncoderLayer): {
        "{path} has the gradient that passes by attention twice": _skip(times(2), False),
        "{path} has the gradient that passes by the MLP twice": _skip(times(2), True),
    },
    **{
        ("accumulated_twice", kind): {
            "{path} gives its input twice its gradient": with_input(lambda x: passing(x, times(2)))
        }
        for kind in MODULES
    },
    **{
        ("detached", kind): {
            "{path} gives its input no gradient: something within it is detached, or held constant": _detached
        }
        for kind in MODULES
    },
}
for identifier, sentence, change in (
    ("weights_accumulated_twice", "{path} gives its weights twice their gradient", times(2)),
    ("weights_detached", "{path} gives its weights no gradient: they are detached, or frozen", times(0)),
):
    FAULTS = {**FAULTS, **_rows(identifier, sentence, by_all_weights(change))}
for name in ("weight", "bias"):
    for key, plant in (
        (("weights_accumulated_twice", Linear), with_weight(name, times(2))),
        (("weights_detached", Linear), with_weight(name, times(0))),
    ):
        words = "twice its gradient" if "twice" in key[0] else "no gradient"
        FAULTS = {**FAULTS, key: {**FAULTS[key], f"{{path}} gives its {name} {words}": plant}}
