"""One step of a training: the gradient of a batch, clipped, and what the optimizer makes of it."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, TypeVar

from aimv2_np.backends.memory import keep_freed_memory
from aimv2_np.errors import a_type
from aimv2_np.gradients import value_and_grad
from aimv2_np.shapes import Array
from aimv2_np.training.diverged import DivergedError, where_it_began, where_it_came_back
from aimv2_np.training.optimizer import clip, gradient_norm
from aimv2_np.training.recipe import Recipe
from aimv2_np.training.state import State
from aimv2_np.training.task import Task
from aimv2_np.tree.module import Module

N = TypeVar("N", bound=Module)


def take_step(task: Task[N], network: N, recipe: Recipe, state: State, batches: Sequence[Any]) -> dict[str, float]:
    """Change the weights, which are `network`'s, and all else that `state` holds, by one step.

    Args:
        task, recipe: what is trained, and how.
        network: its arrays are those of `state.weights`.
        state: where the training is.
        batches: the parts of the step's batch; its gradient is the mean of theirs.

    Returns:
        The step's number and rate, the length of the gradient, and the means of the task's numbers.

    Raises DivergedError for a loss or gradient that is NaN or infinite; nothing is changed then.
    """
    keep_freed_memory()
    told, gradients = _gradients(task, network, recipe, state.step + 1, batches[0])
    for batch in batches[1:]:
        numbers, more = _gradients(task, network, recipe, state.step + 1, batch)
        told = {name: told[name] + numbers[name] for name in told}
        gradients = {path: gradient + more[path] for path, gradient in gradients.items()}
    if len(batches) > 1:
        told = {name: number / len(batches) for name, number in told.items()}
        gradients = {path: gradient / len(batches) for path, gradient in gradients.items()}
    norm = gradient_norm(gradients.values())
    if not isfinite(norm):
        raise DivergedError(f"step {state.step + 1}: {where_it_came_back(gradients)}")
    if recipe.clip is not None:
        gradients = clip(gradients, norm, recipe.clip)
    rate = recipe.schedule.rate(state.step)
    state.step += 1
    moved = {path: state.weights[path] for path in gradients}
    recipe.optimizer.update(moved, gradients, state.first, state.second, state.step, rate, recipe.schedule.peak)
    _average(state, recipe.average)
    return {"step": state.step, **told, "rate": rate, "norm": norm}


def _gradients(
    task: Task[N], network: N, recipe: Recipe, step: int, batch: Any
) -> tuple[dict[str, float], dict[str, Array]]:
    """The task's numbers of a batch, and the gradient of its loss by each weight that is trained."""
    told: dict[str, float] = {}

    def loss(network: N) -> Any:
        losses = task.losses(network, batch)
        if not isinstance(losses, Mapping) or "loss" not in losses:
            found = ", ".join(losses) if isinstance(losses, Mapping) else a_type(losses)
            raise TypeError(f"the task's losses are {found}; expected numbers by name, one of them 'loss'")
        told.update((name, float(number)) for name, number in losses.items())
        return losses["loss"]

    try:
        _, gradients = value_and_grad(loss, network, weights=task.trained, recompute=recipe.recompute)
    except ValueError:
        if isfinite(told.get("loss", 0.0)):
            raise
        raise DivergedError(
            f"step {step}: the loss is {told['loss']}; {where_it_began(task, network, batch)}"
        ) from None
    return told, gradients


def _average(state: State, kept: float) -> None:
    """Bring the running mean up to date; in the first steps it forgets faster, as it would else be of the beginning."""
    kept = min(kept, (1 + state.step) / (10 + state.step))
    for path, mean in state.average.items():
        mean += (1 - kept) * (state.weights[path] - mean)
