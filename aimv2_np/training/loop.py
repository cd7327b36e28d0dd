"""The training loop: a batch, its gradient, one step; killed at any moment, it goes on to the same bits.

In its folder lie `training.safetensors`, all that is needed to go on, written whole or not at all, and `log.jsonl`, a
line for each step.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict
from numbers import Integral
from os import PathLike
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from aimv2_np.backends.arrays import beside, check_backend, is_array, move, to_host
from aimv2_np.errors import CheckpointError, mismatch
from aimv2_np.files.atomic import make_folder
from aimv2_np.training import log
from aimv2_np.training.batches import ahead
from aimv2_np.training.diverged import DivergedError, refuse_exploded
from aimv2_np.training.precision import in_precision
from aimv2_np.training.recipe import Recipe
from aimv2_np.training.state import State, as_json, differences, remove_unfinished
from aimv2_np.training.step import take_step
from aimv2_np.training.task import Task
from aimv2_np.tree.module import Module

N = TypeVar("N", bound=Module)
LOCK = ".training.lock"


def train(
    task: Task[N],
    recipe: Recipe,
    folder: str | PathLike[str],
    *,
    save_every: int = 100,
    progress: Callable[[Mapping[str, float]], None] | None = None,
    backend: str = "numpy",
    device: int | None = None,
) -> N:
    """Train, or go on where an earlier call with the same task and recipe was cut off.

    Args:
        task: what is trained on what.
        recipe: how.
        folder: where the training is kept; it is made where missing.
        save_every: steps after which all of it is written.
        progress: called after each step with its numbers: `step`, `loss` and the task's others, `rate`, `norm`,
            `seconds`.
        backend: where it is computed, "numpy" or "cupy"; what one began, the other may go on with.
        device: the number of a GPU; None: the current one.

    Returns:
        The network with its last weights, or their running mean, in host memory.

    Raises:
        ValueError: the folder holds a training of another task or recipe, `save_every` is no number of steps, or
            a weight that is trained is in half precision.
        DivergedError: the loss or a gradient is NaN or infinite, or the loss has exploded; says where it began.
        CheckpointError: what is in the folder is damaged.
        TypeError: the task's facts hold what JSON has not.
        RuntimeError: another process trains in this folder.
        ImportError, RuntimeError: there is no CuPy, or no GPU that it can use.
    """
    check_backend(backend, recipe.precision, device)
    if isinstance(save_every, bool) or not isinstance(save_every, Integral) or save_every < 1:
        raise ValueError("save_every " + mismatch(save_every, "a whole number of steps, at least 1"))
    folder = make_folder(folder)
    try:
        with FileLock(folder / LOCK, timeout=0):
            return _train(task, recipe, folder, save_every, progress or (lambda numbers: None), backend, device)
    except Timeout:
        raise RuntimeError(f"another process trains in {folder}; wait for it, or choose another folder") from None


def _train(
    task: Task[N],
    recipe: Recipe,
    folder: Path,
    save_every: int,
    progress: Callable[[Mapping[str, float]], None],
    backend: str,
    device: int | None,
) -> N:
    remove_unfinished(folder)
    facts = as_json({"task": task.facts, "recipe": asdict(recipe)})
    weights = task.network.state_dict()
    trained = [path for path in weights if task.trained(path)]
    state = _kept(folder, facts)
    if state is not None:
        state.check(folder, weights, trained, recipe.average > 0)
        if state.step > recipe.schedule.steps:
            raise CheckpointError(
                f"{folder} holds a training after step {state.step} of {recipe.schedule.steps}; expected at most the "
                "last: remove it to begin anew, or train in another folder"
            )
    else:
        for path in trained:
            if weights[path].dtype not in ("float32", "float64"):
                raise ValueError(
                    f"the weight {path} is of {weights[path].dtype}; expected float32 or float64 "
                    "to train: call to(dtype='float32') of the model that it begins with"
                )
        state = State.new(weights, trained, recipe.average > 0, recipe.precision)
    state = state.to(backend, device)
    network = task.network.map(lambda path, _: state.weights[path])
    network = in_precision(network, recipe.precision, set(weights).difference(trained))  # the others in each step
    steps, kept = recipe.schedule.steps, state.step
    try:
        with log.Log(folder, state.step) as lines, beside(next(iter(state.weights.values()))):
            for batches in _batches(task, recipe, state.step):
                started = perf_counter()
                numbers = take_step(task, network, recipe, state, [moved(batch, backend) for batch in batches])
                refuse_exploded(numbers, lines.first or numbers)
                numbers["seconds"] = perf_counter() - started
                lines.write(numbers)
                if state.step % save_every == 0 or state.step == steps:
                    state.save(folder, facts)
                    kept = state.step
                progress(numbers)
    except (KeyboardInterrupt, DivergedError) as error:
        error.add_note(f"{kept} of {steps} steps are kept in {folder}; the same call goes on from there")
        raise
    return network.map(lambda path, _: to_host(state.average.get(path, state.weights[path])))


def moved(batch: Any, backend: str) -> Any:
    """A batch whose arrays, in tuples, lists and dictionaries too, lie on the current device of a backend."""
    if is_array(batch):
        return move(batch, backend)
    if isinstance(batch, dict):
        return {name: moved(value, backend) for name, value in batch.items()}
    if isinstance(batch, tuple | list):
        values = [moved(value, backend) for value in batch]
        return type(batch)(*values) if hasattr(batch, "_fields") else type(batch)(values)
    return batch


def _batches(task: Task[N], recipe: Recipe, step: int) -> Iterator[list[Any]]:
    """The parts of each step's batch, from a step on."""
    parts, size, steps = recipe.accumulate, recipe.batch_size // recipe.accumulate, recipe.schedule.steps
    made = ahead(lambda number: task.batch(range(number * size, (number + 1) * size)), step * parts, steps * parts)
    with closing(made):
        for _ in range(step, steps):
            yield [next(made) for _ in range(parts)]


def _kept(folder: Path, facts: Mapping[str, Any]) -> State | None:
    """The training in the folder, if any; ValueError where it is of another task or recipe."""
    found = State.load(folder)
    if found is None:
        return None
    state, said = found
    for name, known, asked in differences(said, facts):
        raise ValueError(
            f"{folder} holds a training whose {name} is {known!r:.80}, and now it is {asked!r:.80}; expected the same, "
            "to go on, or another folder"
        )
    return state
