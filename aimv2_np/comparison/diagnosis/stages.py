"""A model as a chain of stages, each taking the output of the one before, that can run with a fault planted in it.

A fault is planted by replacing modules of a stage by others; the tree that it belongs to stays as it is.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.models.aimv2 import Aimv2Model
from aimv2_np.models.text import Aimv2TextModel
from aimv2_np.network.contrastive import l2_normalize
from aimv2_np.network.masks import make_mask
from aimv2_np.tree.module import Module
from aimv2_np.tree.tracing import trace

NDArray = np.ndarray[Any, np.dtype[Any]]


SQUARES = ("scores", "probs")


@dataclass(frozen=True)
class Stage:
    """One step of a tower.

    Attributes:
        path: its dotted path; that of its output.
        module: what computes it, or None for a step that has no module of its own.
        call: (module, input) → output.
        aliases: other paths under which the same output is recorded.
    """

    path: str
    module: Module | None
    call: Callable[[Any, NDArray], NDArray]
    aliases: tuple[str, ...] = ()

    def holds(self, path: str) -> bool:
        """Whether `path` is computed here."""
        return path == self.path or path in self.aliases or path.startswith(self.path + ".")

    def run(self, x: NDArray, replaced: Mapping[str, Module], *, inner: bool) -> dict[str, NDArray]:
        """Path → array of everything computed here, in order of execution, with modules replaced by path.

        Without `inner`, scores and probs are left out: N² numbers a head, in every block.
        """
        if self.module is None:
            found = {}
            output = self.call(None, x)
        else:
            module = plant(self.module, replaced, self.path)
            with trace(module, inner=inner) as traced:
                output = self.call(module, x)
            kept = {path: array for path, array in traced.items() if inner or path.rpartition(".")[2] not in SQUARES}
            found = {f"{self.path}.{path}".rstrip("."): array for path, array in kept.items()}
        return found | dict.fromkeys((self.path, *self.aliases), output)


def stages_of(model: Any, context: Context) -> list[list[Stage]]:
    """The chains of stages of the towers that ran."""
    if isinstance(model, Aimv2Model):
        vision = _vision(model.vision_model, "vision_model.")
        text = _text(model.text_model, "text_model.", context)
        vision += [_leaf("visual_projection", model.visual_projection), _normalised("image_embeds")]
        if context.input("input_ids") is not None:
            text += [_leaf("text_projection", model.text_projection), _normalised("text_embeds")]
        return [vision, text]
    return [_text(model, "", context) if isinstance(model, Aimv2TextModel) else _vision(model, "")]


def first_input(chain: Sequence[Stage], context: Context) -> NDArray | None:
    """What went into the first stage of a chain; None where it was not recorded."""
    return context.input("input_ids" if "token_embedding" in dict(_children(chain[0])) else "pixel_values")


def run(
    stages: Sequence[Stage], x: NDArray, replaced: Mapping[str, Module], *, inner: bool = False
) -> dict[str, NDArray]:
    """Path → array of everything that several stages compute one after the other; `inner` as in `Stage.run`."""
    found: dict[str, NDArray] = {}
    for stage in stages:
        found |= stage.run(x, replaced, inner=inner)
        x = found[stage.path]
    return found


def plant(module: Module, replaced: Mapping[str, Module], prefix: str) -> Module:
    """A copy of `module`, which lies at `prefix`, with the modules at the paths `replaced` exchanged."""
    if prefix in replaced:
        return replaced[prefix]
    if not any(path.startswith(prefix + ".") for path in replaced):
        return module
    clone = copy.copy(module)
    for name, value in vars(module).items():
        path = f"{prefix}.{name}"
        if isinstance(value, Module):
            setattr(clone, name, plant(value, replaced, path))
        elif isinstance(value, list):
            setattr(clone, name, [plant(item, replaced, f"{path}.{i}") for i, item in enumerate(value)])
    return clone


def _children(stage: Stage) -> list[tuple[str, Module]]:
    return list(stage.module.named_modules()) if stage.module else []


def _leaf(path: str, module: Module, *aliases: str) -> Stage:
    return Stage(path, module, lambda module, x: module(x), aliases)


def _normalised(path: str) -> Stage:
    return Stage(path, None, lambda _, x: l2_normalize(x))


def _blocks(tower: Any, prefix: str, mask: Callable[[int], NDArray | None]) -> list[Stage]:
    last = len(tower.encoder.layers) - 1
    return [
        Stage(
            f"{prefix}encoder.layers.{i}",
            layer,
            lambda module, x: module(x, mask(x.shape[1])),
            (f"{prefix}encoder",) if i == last else (),
        )
        for i, layer in enumerate(tower.encoder.layers)
    ]


def _vision(tower: Any, prefix: str) -> list[Stage]:
    dtype = tower.dtype
    embed = Stage(f"{prefix}embeddings", tower.embeddings, lambda module, x: module(x.astype(dtype, copy=False)))
    norm = _leaf(f"{prefix}rms_norm", tower.rms_norm, f"{prefix}last_hidden_state")
    head = [_leaf(f"{prefix}head", tower.head, f"{prefix}pooler_output")] if tower.head else []
    return [embed, *_blocks(tower, prefix, lambda _: None), norm, *head]


def _text(tower: Any, prefix: str, context: Context) -> list[Stage]:
    ids, padding = context.input("input_ids"), context.input("attention_mask")
    # Without the ids nobody knows where the texts end.
    pool = Stage(f"{prefix}pooler_output", None, lambda _, x: tower.pool(x, ids))
    return [
        _leaf(f"{prefix}embeddings", tower.embeddings),
        *_blocks(tower, prefix, lambda tokens: make_mask(np, tokens, padding, causal=context.causal)),
        _leaf(f"{prefix}rms_norm", tower.rms_norm, f"{prefix}last_hidden_state"),
        *([] if ids is None else [pool]),
    ]
