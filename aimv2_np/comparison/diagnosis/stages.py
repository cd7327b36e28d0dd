"""A model as chains of stages, each taking the output of the one before, that can run with a fault planted in them.

A fault is planted by replacing modules of a stage by others; the model that they belong to stays as it is.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from aimv2_np.backends.operation import textbook
from aimv2_np.comparison.comparison import Step
from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.ends import EndOfText, Logits, Unit
from aimv2_np.comparison.diagnosis.fault import copied
from aimv2_np.comparison.diagnosis.forced import Taken, forcing
from aimv2_np.comparison.diagnosis.known import listening
from aimv2_np.models.aimv2 import Aimv2Model
from aimv2_np.models.text import Aimv2TextModel
from aimv2_np.models.vision import Aimv2VisionModel
from aimv2_np.network.view import CAUSAL, EVERYONE, Padded, View
from aimv2_np.shapes import NDArray
from aimv2_np.tree.module import Module
from aimv2_np.tree.recorder import Recorder, join
from aimv2_np.tree.trace import trace

LOGITS = ("logits_per_text", "logits_per_image")
EMBEDS = "embeds"  # the name of what logits are made of
# Up to so many numbers in a stage's input, calling a faster body takes longer than the equation as written.
SMALL = 4096
SQUARES = ("scores", "probs")  # of as many numbers as pairs of tokens, in every head


@dataclass(frozen=True)
class Stage:
    """One step of a tower.

    Attributes:
        path: its dotted path; that of its output.
        module: what computes it.
        aliases: other paths under which the same output is recorded.
        call: (module, input) → output.
    """

    path: str
    module: Module
    aliases: tuple[str, ...] = ()
    call: Callable[[Any, NDArray], NDArray] = lambda module, x: module(x)

    def holds(self, path: str) -> bool:
        """Whether `path` is computed here."""
        inside = bool(self.path) and path.startswith(self.path + ".")
        return path in (self.path, *self.aliases) or inside

    def run(
        self,
        x: NDArray,
        replaced: Mapping[str, Module],
        *,
        inner: bool,
        wanted: Collection[str] | None = None,
        known: Recorder | None = None,
    ) -> dict[str, NDArray]:
        """Path → array of everything computed here, in order of execution, with modules replaced by path.

        Scores and probs are left out without `inner`; all but the stage's own output where nothing else is `wanted`.
        What is `known` is not computed anew.
        """
        found = {}
        module = plant(self.module, replaced, self.path)
        small = isinstance(x, np.ndarray) and x.size <= SMALL
        with listening(known), textbook() if small else nullcontext():
            if self.path and wanted is not None and not any(path.startswith(f"{self.path}.") for path in wanted):
                output = self.call(module, x)
                if np.isfinite(output).all():
                    return dict.fromkeys((self.path, *self.aliases), output)
            with trace(module, inner=inner) as traced:
                output = self.call(module, x)
        if not small and not all(np.isfinite(array).all() for array in traced.values()):
            # Faults let numbers grow, and faster bodies may overflow before the equations do.
            with textbook(), trace(module, inner=inner) as traced:
                output = self.call(module, x)
        for name, array in traced.items():
            if inner or name.rpartition(".")[2] not in SQUARES:
                found[join(self.path, name)] = array
        return found | (dict.fromkeys((self.path, *self.aliases), output) if self.path else {})  # logits have two names

    def run_forced(
        self, x: NDArray, replaced: Mapping[str, Module], taken: Taken, look: Callable[[Step], None] = lambda step: None
    ) -> tuple[dict[str, NDArray], NDArray]:
        """The same of modules that take the other side's outputs for their inputs, and what then leaves the stage."""
        module = plant(self.module, replaced, self.path)
        with forcing(module, self.path, self.aliases, taken, look) as found:
            output = self.call(module, x)
        return found, output


@dataclass(frozen=True)
class Span:
    """Some stages of a tower, one after the other, and what goes into the first of them.

    Attributes:
        stages: the stages in order.
        x: the input of the first.
        inner: whether scores and probs of attention are kept.
        taken: the other side's outputs, where modules take them for their inputs.
        known: what some of its modules compute of what they were given before.
    """

    stages: Sequence[Stage]
    x: NDArray
    inner: bool = False
    taken: Taken | None = None
    known: Recorder | None = None

    @cached_property
    def paths(self) -> frozenset[str]:
        """The paths of everything that the stages compute."""
        return frozenset(self.run())

    def run(self, replaced: Mapping[str, Module] | None = None) -> dict[str, NDArray]:
        """Path → array of everything that the stages compute, with modules replaced by path."""
        return dict(self.steps(replaced))

    def steps(
        self, replaced: Mapping[str, Module] | None = None, wanted: Collection[str] | None = None
    ) -> Iterator[tuple[str, NDArray]]:
        """(path, array) of everything that the stages compute, each stage when it is asked for.

        With `wanted`, at least of these paths and of all stages.
        """
        x = self.x
        for i, stage in enumerate(self.stages):
            # Of a stage that runs twice, the second run was recorded.
            if self.taken and all(stage.path != other.path for other in self.stages[i + 1 :]):
                found, x = stage.run_forced(x, replaced or {}, self.taken)
            else:
                found = stage.run(x, replaced or {}, inner=self.inner, wanted=wanted, known=self.known)
                x = found.get(stage.path, x)
            yield from found.items()

    def nudged(self) -> "Span":
        """The same with another rounding of the input: each number up or down by a unit in the last place."""
        if not isinstance(self.x, np.ndarray) or self.x.dtype.kind != "f":
            return self
        signs = np.random.default_rng(0).choice([-1, 1], self.x.shape).astype(self.x.dtype)
        return replace(self, x=self.x + signs * np.finfo(self.x.dtype).eps * np.abs(self.x))

    def modules(self, *kinds: type[Module]) -> Iterator[tuple[str, Module]]:
        """(path, module) of all modules of some classes."""
        for stage in self.stages:
            yield from ((path, m) for path, m in stage.module.named_modules(stage.path) if type(m) in kinds)


def plant(module: Module, replaced: Mapping[str, Module], prefix: str) -> Module:
    """A copy of `module`, which lies at `prefix`, with the modules at the paths `replaced` exchanged."""
    module = replaced.get(prefix, module)
    if not any(path.startswith(prefix + ".") for path in replaced):
        return module
    clone = copied(module)
    for name, value in vars(module).items():
        path = f"{prefix}.{name}"
        if isinstance(value, Module):
            setattr(clone, name, plant(value, replaced, path))
        elif isinstance(value, list):
            setattr(clone, name, [plant(item, replaced, f"{path}.{i}") for i, item in enumerate(value)])
    return clone


def towers_of(context: Context) -> dict[str, list[Stage]]:
    """Name of the input → stages, for each tower of the context's model that ran, with the faults of its base."""
    towers = _towers(context)
    if not context.base:
        return towers
    return {
        name: [replace(stage, module=plant(stage.module, context.base, stage.path)) for stage in stages]
        for name, stages in towers.items()
    }


def _towers(context: Context) -> dict[str, list[Stage]]:
    model = context.model
    if not isinstance(model, Aimv2Model):
        text = isinstance(model, Aimv2TextModel)
        return {"input_ids": _text(model, "", context)} if text else {"pixel_values": _vision(model, "")}
    vision = _vision(model.vision_model, "vision_model.")
    text_stages = _text(model.text_model, "text_model.", context)
    vision += [Stage("visual_projection", model.visual_projection), Stage("image_embeds", Unit())]
    if context.input("input_ids") is not None:
        text_stages += [Stage("text_projection", model.text_projection), Stage("text_embeds", Unit())]
    logits = Logits(np.asarray(model.network.logit_scale), float(model.network.max_logit_scale))
    return {"pixel_values": vision, "input_ids": text_stages, EMBEDS: [Stage("", logits, LOGITS)]}


def _trunk(tower: Aimv2VisionModel | Aimv2TextModel, prefix: str, view: View) -> list[Stage]:
    """Embeddings, layers and the last norm."""
    layers = [
        Stage(
            f"{prefix}encoder.layers.{i}",
            layer,
            (f"{prefix}encoder",) if layer is tower.encoder.layers[-1] else (),
            lambda module, x: module(x, view),
        )
        for i, layer in enumerate(tower.encoder.layers)
    ]
    norm = Stage(f"{prefix}rms_norm", tower.rms_norm, (f"{prefix}last_hidden_state",))
    return [Stage(f"{prefix}embeddings", tower.embeddings), *layers, norm]


def _vision(tower: Aimv2VisionModel, prefix: str) -> list[Stage]:
    head = [Stage(f"{prefix}head", tower.head, (f"{prefix}pooler_output",))] if tower.head else []
    return [*_trunk(tower, prefix, EVERYONE), *head]


def _text(tower: Aimv2TextModel, prefix: str, context: Context) -> list[Stage]:
    ids, padding = context.input("input_ids"), context.input("attention_mask")
    view: View = CAUSAL if context.causal else EVERYONE
    if padding is not None:
        view = view & Padded(padding)
    trunk = _trunk(tower, prefix, view)
    if ids is None:  # nobody knows where the texts end
        return trunk
    return [
        *trunk,
        Stage(
            f"{prefix}pooler_output", EndOfText(ids, padding, tower.network.ends(ids, view), tower.network.eos_token_id)
        ),
    ]
