"""Gradients by path: ∂loss/∂activation of every module's output, ∂loss/∂pixels, and ∂loss/∂weight.

A recorder that lets the model run on variables: when a module of the model is called, another one with variables in the
place of its weights computes in its stead (its twin), under the same path. `trace(gradients=True)` in `tree` begins and
finishes such a recording.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aimv2_np.backends.arithmetic import own_arithmetic
from aimv2_np.backends.arrays import beside, is_array, is_float, namespace
from aimv2_np.backends.narrow import Wrapped
from aimv2_np.backends.operation import looking_inside
from aimv2_np.gradients.differentiate import a_number, leaf_of
from aimv2_np.gradients.variable import Variable, value_of, walk_back, wide
from aimv2_np.network.contrastive import contrastive_loss
from aimv2_np.shapes import Array
from aimv2_np.tree.module import Module
from aimv2_np.tree.recorder import STANDS_FOR, Recorder, identity, with_number
from aimv2_np.tree.trace import GRADIENT, Loss

# What is summed up where no loss is given: the first of these that was computed.
SUMMED = ("logits_per_text", "text_embeds", "image_embeds", "pooler_output", "last_hidden_state")
PIXELS, PIXELS_NDIM = "pixel_values", 4  # what a model's input is called, and how one knows it: (B, C, height, width)


@dataclass
class GradientRecorder(Recorder):
    """A recorder that remembers how all was computed of the model's weights.

    Attributes:
        leaves: path of a weight → the variable in its place.
        twins: id of a module of the model → the one that computes with these.
        kept: path → what was computed there, in order of execution.
        given: `pixel_values` → the pixels; of a pack each image's under a number, as inputs are recorded.
    """

    leaves: dict[str, Variable] = field(default_factory=dict)
    twins: dict[int, Module] = field(default_factory=dict)
    kept: dict[str, Variable] = field(default_factory=dict)
    given: dict[str, Variable] = field(default_factory=dict)

    def around(self, path: str, function: Any, *args: Any, **kwargs: Any) -> Any:
        return super().around(path, self._twin_of(function), *map(self._given, args), **kwargs)

    def keep(self, path: str, value: Any) -> None:
        """Store the array, and remember the variable, whether it is wanted or not: a loss may be made of it."""
        if isinstance(value, Variable):
            self.kept.pop(with_number(path), None)
            self.kept[with_number(path)] = value
        super().keep(path, value_of(value))

    def _given(self, arg: Any) -> Any:
        """An argument of a module; pixels as a variable, as a GPU's array does not mix with variables."""
        if is_array(arg) and not isinstance(arg, Wrapped) and is_float(arg):
            variable = Variable(arg)
            if variable.ndim == PIXELS_NDIM:
                self.given[with_number(PIXELS)] = variable
            return variable
        return self._twin_of(arg)

    def _twin_of(self, called: Any) -> Any:
        """A module, a method of one, or what another recorder makes of a method: the twin's, where there is one."""
        if isinstance(called, partial):
            return partial(called.func, *map(self._twin_of, called.args))
        twin = self.twins.get(id(getattr(called, "__self__", called)))
        if twin is None:
            return called
        return getattr(twin, called.__name__) if hasattr(called, "__self__") else twin


def begin(model: Module, recorder: Recorder) -> GradientRecorder:
    """A recorder like `recorder` whose model computes with variables in the place of its weights.

    Raises ValueError for weights that are no arrays of floats.
    """
    leaves = {path: leaf_of(f"the weight {path}", array) for path, array in model.state_dict().items()}
    twin = model.map(lambda path, _: leaves[path.removeprefix(f"{model.transparent}.")])
    twins = {}
    for (_, one), (_, other) in zip(model.named_modules(), twin.named_modules(), strict=True):
        vars(other)[STANDS_FOR] = identity(one)
        twins[id(one)] = other
    return GradientRecorder(recorder.paths, recorder.include, recorder.store, leaves=leaves, twins=twins)


def finish(recorder: GradientRecorder, loss: Loss | None) -> None:
    """Store ∂loss/∂ each array that is wanted, from the loss to the input, then by the weights.

    Raises:
        TypeError: `loss` returns something that was not computed from the model's weights.
        ValueError: it is no finite number, or there is no `loss`, and nothing to sum up.
    """
    with looking_inside():
        output = a_number((loss or default_loss)(recorder.kept))
    names: dict[int, list[str]] = {}
    for path, variable in [*recorder.kept.items(), *recorder.given.items(), *recorder.leaves.items()]:
        if recorder.wants(path) or recorder.wants(GRADIENT + path):
            names.setdefault(variable.number, []).append(path)

    def met(variable: Variable, gradient: Array) -> Array:
        for path in names.pop(variable.number, ()):
            recorder.stored = True
            recorder.store(GRADIENT + path, namespace(gradient).asarray(gradient))  # of (), some sums give numbers
        return gradient

    with own_arithmetic(), beside(output.value):
        walk_back(output, (), met=met)
        for variable in (*recorder.kept.values(), *recorder.given.values(), *recorder.leaves.values()):
            met(variable, wide(variable.value) * 0)  # those that were not met take no part


def default_loss(activations: Mapping[str, Any]) -> Any:
    """The number that is differentiated where none is given: the contrastive loss, or the sum of what comes out last.

    Raises ValueError where nothing of `SUMMED` was recorded.
    """
    name = summed_in(activations)
    output = activations[name]
    return contrastive_loss(output) if is_contrastive(name, output.shape) else output.sum()


def summed_in(names: Collection[str]) -> str:
    """The first of `SUMMED` that is among some paths; ValueError where none is."""
    name = next((name for name in SUMMED if name in names), None)
    if name is None:
        raise ValueError(
            f"loss is None, and none of {', '.join(SUMMED)} was computed, whose sum it would be; pass a loss"
        )
    return name


def is_contrastive(name: str, shape: Sequence[int]) -> bool:
    """Whether the loss is the contrastive one: of logits (L, L), of as many texts as images."""
    return name == "logits_per_text" and shape[0] == shape[1]
