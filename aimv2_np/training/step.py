"""One step of a training: the gradient of a batch, clipped, and what the optimizer makes of it."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from math import isfinite
from typing import Any, TypeVar

from aimv2_np.backends.memory import keep_freed_memory
from aimv2_np.errors import a_type
from aimv2_np.gradients import value_and_grad
from aimv2_np.gradients.half import narrow_products
from aimv2_np.shapes import Array
from aimv2_np.training.diverged import DivergedError, where_it_began, where_it_came_back
from aimv2_np.training.optimizer import clip, gradient_norm
from aimv2_np.training.precision import in_precision
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
        The step's number and rate, the length of the gradient, and the means of the task's numbers; in float16 also the
        factor of the loss, `scale`, and how many steps were `skipped`. Such a step has the length 0.

    Raises DivergedError for a loss or gradient that is NaN or infinite; nothing is changed then. In float16 a gradient
    that is, is taken for one that its factor made so, until there is none.
    """
    keep_freed_memory()
    factor = state.scale.factor if state.scale else 1.0
    told, gradients = _gradients(task, network, recipe, state.step + 1, factor, batches[0])
    for batch in batches[1:]:
        numbers, more = _gradients(task, network, recipe, state.step + 1, factor, batch)
        told = {name: told[name] + numbers[name] for name in told}
        gradients = {path: gradient + more[path] for path, gradient in gradients.items()}
    if len(batches) > 1:
        told = {name: number / len(batches) for name, number in told.items()}
    if (parts := len(batches) * factor) != 1:
        gradients = {path: gradient / parts for path, gradient in gradients.items()}
    norm, rate = gradient_norm(gradients.values()), recipe.schedule.rate(state.step)
    taken = isfinite(norm) if state.scale is None else state.scale.took(norm)
    if not taken and factor <= 1:
        raise DivergedError(f"step {state.step + 1}: {where_it_came_back(gradients)}")
    state.step += 1
    told |= {} if state.scale is None else {"scale": factor, "skipped": state.scale.skipped}
    if not taken:
        return {"step": state.step, **told, "rate": rate, "norm": 0.0}
    if recipe.clip is not None:
        gradients = clip(gradients, norm, recipe.clip)
    moved = {path: state.weights[path] for path in gradients}
    updates = state.step - (state.scale.skipped if state.scale else 0)
    recipe.optimizer.update(moved, gradients, state.first, state.second, updates, rate, recipe.schedule.peak)
    _average(state, recipe.average)
    return {"step": state.step, **told, "rate": rate, "norm": norm}


def _gradients(
    task: Task[N], network: N, recipe: Recipe, step: int, factor: float, batch: Any
) -> tuple[dict[str, float], dict[str, Array]]:
    """The task's numbers of a batch, and the gradient of its loss, times a factor, by each weight that is trained."""
    told: dict[str, float] = {}

    def loss(network: N) -> Any:
        losses = task.losses(in_precision(network, recipe.precision), batch)
        if not isinstance(losses, Mapping) or "loss" not in losses:
            found = ", ".join(losses) if isinstance(losses, Mapping) else a_type(losses)
            raise TypeError(f"the task's losses are {found}; expected numbers by name, one of them 'loss'")
        told.update((name, float(number)) for name, number in losses.items())
        return losses["loss"] if factor == 1 else losses["loss"] * factor

    try:
        with narrow_products() if recipe.precision else nullcontext():
            _, gradients = value_and_grad(loss, network, weights=task.trained, recompute=recipe.recompute)
    except ValueError:
        if isfinite(told.get("loss", 0.0)):
            raise
        began = where_it_began(task, in_precision(network, recipe.precision), batch)
        raise DivergedError(f"step {step}: the loss is {told['loss']}; {began}") from None
    return told, gradients


def _average(state: State, kept: float) -> None:
    """Bring the running mean up to date; in the first steps it forgets faster, as it would else be of the beginning."""
    kept = min(kept, (1 + state.step) / (10 + state.step))
    for path, mean in state.average.items():
        mean += (1 - kept) * (state.weights[path] - mean)
