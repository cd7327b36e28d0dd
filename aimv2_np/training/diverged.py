"""A training that went wrong: where the first number that is none was, or that the loss has exploded."""

from collections.abc import Mapping
from typing import Any

from aimv2_np.backends.arrays import namespace
from aimv2_np.shapes import Array
from aimv2_np.training.task import Task
from aimv2_np.tree.module import Module
from aimv2_np.tree.trace import trace

# A loss is a surprise in nats, or a mean square of normalised numbers: so much above its beginning no batch is unlucky.
TIMES, MORE = 3.0, 10.0
ADVICE = "lower the rate's peak, take a longer warm-up, or clip shorter"


class DivergedError(RuntimeError):
    """The loss or a gradient is NaN or infinite, or the loss has exploded."""


def refuse_exploded(numbers: Mapping[str, float], first: Mapping[str, float]) -> None:
    """Raise DivergedError for a step whose loss is far above the first step's."""
    loss, before = numbers["loss"], first["loss"]
    if loss > TIMES * abs(before) + MORE:
        raise DivergedError(f"step {numbers['step']}: the loss is {loss:.4g}, at first it was {before:.4g}; {ADVICE}")


def where_it_began(task: Task[Any], network: Module, batch: Any) -> str:
    """Which module, or what else, is the first with a number that is none."""
    for path, array in network.state_dict().items():
        if not finite(array):
            return f"the weight {path} holds NaN or infinity already; {ADVICE}"
    with trace(network) as activations:
        losses = task.losses(network, batch)
    for path, array in activations.items():
        if not finite(array):
            return f"it began in {path}, with inputs and weights that are finite; {ADVICE}"
    bad = next((name for name, number in losses.items() if name != "loss" and not finite(number)), "the loss itself")
    return f"all that modules give is finite, it began in {bad}"


def where_it_came_back(gradients: Mapping[str, Array]) -> str:
    """Which gradients are NaN or infinite; the last weight's was the first to be so, on the way back."""
    bad = [path for path, gradient in gradients.items() if not finite(gradient)]
    if not bad:
        return f"the gradient is too long for a number; {ADVICE}"
    more = f" and of {len(bad) - 1} before it" if len(bad) > 1 else ""
    return f"the loss is finite, but not the gradient of {bad[-1]}{more}; {ADVICE}"


def finite(array: Array) -> bool:
    """Whether all numbers are."""
    return bool(namespace(array).isfinite(array).all())
