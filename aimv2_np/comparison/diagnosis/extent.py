"""How far a fault that was found explains what follows: alone, or in all modules that may have it."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import combinations

import numpy as np

from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.fault import Extent, Fault
from aimv2_np.comparison.diagnosis.stages import Span, towers_of
from aimv2_np.recording.recording import INPUTS
from aimv2_np.shapes import NDArray
from aimv2_np.tree.module import Module

# The roundings of all operations together are at most so many times what one of the input makes.
ROUNDINGS = 30.0


def starred(path: str) -> str:
    """The path with a star for the number of the layer."""
    return re.sub(r"\.\d+", ".*", path)


def layer_of(path: str) -> str:
    """The path of the layer that a module lies in, or is; "" outside of all layers."""
    found = re.match(r".*layers\.\d+", path)
    return found[0] if found else ""


def extent(fault: Fault, replaced: Mapping[str, Module], rest: Span, context: Context) -> list[Extent]:
    """What of the rest of its tower a fault explains: one way that explains all, or those that explain most.

    It may be in the modules that have it alone, in all modules of their names, or in all of its kind. The last of the
    ways is the first of these.

    Args:
        fault: the fault.
        replaced: path → module with the fault, for the modules that have it.
        rest: the stages from the first of these to the end of the tower.
        context: what both sides recorded.
    """
    followers = _followers(rest, context)
    trials: list[Extent] = []
    for planted, which in _ways(fault, replaced, rest, context):
        if any(planted.keys() == trial.replaced.keys() for trial in trials if trial.replaced is not None):
            continue
        try:
            found = rest.run(planted)
        except ValueError:  # a module that can have the fault only where the next one takes what it gives
            continue
        rounding: dict[str, float] = {}
        unexplained = _unexplained(followers, found, rounding, context)
        if unexplained is not None:
            rounding = _amplified(found, rest.nudged().run(planted))
            unexplained = _unexplained(followers, found, rounding, context)
        alone = not which and not _left(replaced, context, followers)
        words = "" if alone and unexplained is None else _in_words(which, len(planted), unexplained)
        trials.append(Extent(words, found, planted, unexplained, rounding))
        if unexplained is None:
            return trials[-1:]
    furthest = max(followers.index(trial.unexplained or "") for trial in trials)
    return [trial for trial in reversed(trials) if followers.index(trial.unexplained or "") == furthest]


def _ways(
    fault: Fault, replaced: Mapping[str, Module], rest: Span, context: Context
) -> Iterator[tuple[dict[str, Module], str]]:
    """Path → module with the fault, in more and more modules, and what these are."""
    yield dict(replaced), ""
    names, classes = {starred(path) for path in replaced}, {type(module) for module in replaced.values()}
    wide = _planted(fault, rest, context) | dict(replaced)
    layers = tuple(f"{layer}." for layer in map(layer_of, replaced) if layer)
    if layers:
        yield {path: module for path, module in wide.items() if path.startswith(layers)}, "of its kind in its layer"
    yield {path: module for path, module in wide.items() if starred(path) in names}, "like it"
    lasts = {path.rpartition(".")[2] for path in replaced}
    yield {path: module for path, module in wide.items() if path.rpartition(".")[2] in lasts}, "of its name"
    yield {path: module for path, module in wide.items() if type(module) in classes}, "of its kind"
    yield wide, "of its kind"
    others = [kind for kind in dict.fromkeys(map(type, wide.values())) if kind not in classes]
    for number in (1, 2) if len(fault.kinds) > 2 else ():
        for without in combinations(others, number):
            some = {path: module for path, module in wide.items() if type(module) not in without}
            yield some, f"of its kind, but for {' and '.join(kind.__name__ for kind in without)}"


def _in_words(which: str, number: int, unexplained: str | None) -> str:
    """How far a fault reaches that is in so many modules."""
    if unexplained is None:
        several = f"The same fault in all {number} modules {which}"
        return f"{several if which else 'It'} explains all that follows in this tower."
    wrong = f"Something else is wrong from {unexplained} on."
    return f"The same fault is in all {number} modules {which}. {wrong}" if which else wrong


def _unexplained(
    followers: Sequence[str], found: Mapping[str, NDArray], rounding: Mapping[str, float], context: Context
) -> str | None:
    """The first path at which the other side has something else than was found."""
    return next((path for path in followers if path not in found or not fits(path, found, rounding, context)), None)


def fits(path: str, found: Mapping[str, NDArray], rounding: Mapping[str, float], context: Context) -> bool:
    """Whether the other side has what was found at a path, but for rounding, be it amplified."""
    relative, right = context.judge(path, found[path])
    return right or relative <= rounding.get(path, 0.0)


def _amplified(found: Mapping[str, NDArray], nudged: Mapping[str, NDArray]) -> dict[str, float]:
    """Path → what rounding may make of it, from two runs whose inputs differ by one rounding."""
    result = {}
    for path, array in found.items():
        size, change = np.linalg.norm(array), np.linalg.norm(nudged[path] - array)
        result[path] = ROUNDINGS * float(change / size) if 0 < size < np.inf else 0.0
    return result


def reach(run: Callable[[], dict[str, NDArray]], rest: Span, context: Context) -> list[Extent]:
    """The same of a fault that is of no module: `run` computes the rest of the tower with it."""
    followers, found = _followers(rest, context), run()
    unexplained = next((p for p in followers if p in found and not context.judge(p, found[p])[1]), None)
    return [Extent(_in_words("", 1, unexplained), found, None if unexplained else {}, unexplained)]


def reach_of_input(context: Context, path: str) -> list[Extent]:
    """How far another input explains what follows: what the model of `context`, which has it, computes.

    Empty where the model is not known.
    """
    if context.model is None:
        return []
    found = {path: context.reference.inputs[path.removeprefix(INPUTS)]}
    for name, stages in towers_of(context).items():
        if (x := context.input(name)) is not None:
            x = x.astype(context.model.dtype, copy=False) if x.dtype.kind == "f" else x
            with suppress(ValueError, IndexError):  # inputs that the model does not take
                found |= Span(stages, x, context.inner).run()
    return [Extent(found=found, replaced={})]


def _followers(rest: Span, context: Context) -> list[str]:
    """What both sides recorded of the rest of the tower and differs, in order."""
    order = [difference.path for difference in context.result.differences]
    return [path for path in order if path in rest.paths and path not in context.good]


def _left(replaced: Iterable[str], context: Context, followers: Sequence[str]) -> bool:
    """Whether something diverges outside of the modules that have the fault."""
    bad = {difference.path for difference in context.result.differences if not difference.equal}
    return any(path in bad and not is_inside(path, replaced) for path in followers)


def _planted(fault: Fault, rest: Span, context: Context) -> dict[str, Module]:
    """Path → module with the fault, for all that may have it and that the other side did not get right."""
    return {
        path: faulty
        for path, module in rest.modules(*fault.kinds)
        if not context.acquits(path) and (faulty := fault.plant_along(module, path, context))
    }


def is_inside(path: str, names: Iterable[str]) -> bool:
    """Whether `path` is one of some modules' paths, or lies in one of them; everything lies in ""."""
    return any(not name or path == name or path.startswith(name + ".") for name in names)
