"""What a fault is: an identifier, a sentence, and how a module that has it computes."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.shapes import NDArray
from aimv2_np.tree.module import Module

# (module, its path, context) → a copy of the module with the fault, or None where it cannot have it
Plant = Callable[[Any, str, Context], Module | None]
# (identifier, class of modules) → sentence → plant: the ways to make one mistake in modules of one kind
Table = Mapping[tuple[str, type[Module]], Mapping[str, Plant]]


@dataclass(frozen=True)
class Fault:
    """One way in which a module of a kind may be wrong. Several ways to make the same mistake share an identifier.

    Attributes:
        identifier: the short name that `--json` gives.
        kind: the class of the modules that can have it.
        sentence: what is wrong, and what is right; `{path}` in it is the module's path, `{m}` the module
            itself, and `{d}` the size of its heads.
        plant: gives a module the fault.
    """

    identifier: str
    kind: type[Module]
    sentence: str
    plant: Plant

    def sentence_for(self, modules: Mapping[str, Any]) -> str:
        """The sentence for the first of the modules that have the fault, by path, and how many more there are."""
        path, module = next(iter(modules.items()))
        size = module.k_proj.weight.shape[0] // module.heads if hasattr(module, "heads") else None
        also = f" (and so do {len(modules) - 1} more like it)" if len(modules) > 1 else ""
        return self.sentence.format(path=path, m=module, d=size) + also


@dataclass(frozen=True)
class Hypothesis:
    """One explanation of the first divergence.

    Attributes:
        identifier, sentence: of the fault.
        predicted: path → what the other side must have recorded there.
        extent: says how far it explains what follows.
    """

    identifier: str
    sentence: str
    predicted: Mapping[str, NDArray]
    extent: Callable[[], str] = str


def with_forward(module: Module, forward: Callable[..., Any]) -> Module:
    """A copy of `module` that computes `forward(module, *its arguments)` and is recorded under the same path."""
    clone = copy.copy(module)
    vars(clone)["forward"] = lambda *args, **kwargs: forward(clone, *args, **kwargs)
    return clone


def with_fields(module: Module, **fields: Any) -> Module:
    """A copy of `module` with other values in some fields."""
    clone = copy.copy(module)
    vars(clone).update(fields)
    return clone


def computing(forward: Callable[..., Any]) -> Plant:
    """Gives every module of the kind another `forward(module, *its arguments)`."""
    return lambda module, *_: with_forward(module, forward)


def holding(**fields: Callable[[Any], Any]) -> Plant:
    """Gives every module of the kind other values in some fields: field → function of the module."""
    return lambda module, *_: with_fields(module, **{name: value(module) for name, value in fields.items()})
