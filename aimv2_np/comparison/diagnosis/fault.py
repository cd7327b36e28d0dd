"""What a fault is: an identifier, and how a module that has it computes."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.tree.module import Module

# (sentence, the module with the fault): one for each way to make the same mistake
Variants = Iterator[tuple[str, Module]]


@dataclass(frozen=True)
class Fault:
    """A mistake that a module of a kind may have.

    Attributes:
        identifier: the short name that `--json` gives.
        kind: the class of the modules that can have it.
        plant: (module, its path, context) → variants; none where the module cannot have it.
    """

    identifier: str
    kind: type[Module]
    plant: Callable[[Any, str, Context], Variants]


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
