"""Where faults are planted: in which modules, alone or in all of their kind, and what they must then explain."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from aimv2_np.comparison.diagnosis import attentions, embeddings, half, norms, projections
from aimv2_np.comparison.diagnosis.context import Context, NDArray
from aimv2_np.comparison.diagnosis.extent import Planting, modules_of, starred
from aimv2_np.comparison.diagnosis.fault import Fault
from aimv2_np.comparison.diagnosis.stages import Stage, first_input, run, stages_of
from aimv2_np.tree.module import Module

FAULTS: tuple[Fault, ...] = (
    *norms.FAULTS,
    *projections.FAULTS,
    *attentions.FAULTS,
    *embeddings.FAULTS,
    *half.FAULTS,
)

# Recorded by stages, but no sign that the stage's input was right.
TABLES = ("position_embedding",)


class UnableError(Exception):
    """Why faults cannot be planted, and what would help."""


def planted(
    context: Context, path: str, judge: Callable[[str, NDArray], tuple[float, bool]]
) -> Iterator[tuple[str, dict[str, NDArray], Planting]]:
    """(sentence, path → what the other side would have recorded, how) for each fault that could be at `path`."""
    if path.startswith("inputs/"):
        return
    if "packed" in context.reference.metadata:
        raise UnableError("The recording is of pictures of several sizes; causes are looked for in one of one size.")
    if context.model is None:
        raise UnableError("More causes can be tested with the model's weights (model=, --model).")
    with np.errstate(all="ignore"):
        chain, index = _find(context, path)
        start = _start(chain, index, context)
        span = chain[start : index + 1]
        try:
            x = _input(chain, start, context)
            whole = run(span, x, {}, inner=context.inner)
        except UnableError:
            raise
        except Exception as error:  # weights of other shapes, a recording that contradicts itself
            raise UnableError("The model given does not fit the recording; is it the same checkpoint?") from error
        _check_model(context, path, whole, judge)
        order = list(whole)
        for fault in FAULTS:
            for modules in _groups(span, fault.kind, path, order, context):
                for way, (sentence, replaced) in enumerate(_variants(fault, modules, context)):
                    found = run(span, x, replaced, inner=context.inner)
                    planting = Planting(fault, way, replaced, chain[start:], x)
                    yield sentence, _required(found, path, order, list(replaced), context), planting


def _find(context: Context, path: str) -> tuple[list[Stage], int]:
    for chain in stages_of(context.model, context):
        for index, stage in enumerate(chain):
            if stage.holds(path):
                return chain, index
    raise UnableError(f"Faults at {path} are not known.")


def _start(chain: Sequence[Stage], index: int, context: Context) -> int:
    """The first stage that may hold the fault: something in it, or all that it takes, was right on the other side."""

    def good(path: str) -> bool:
        return path in context.good and not path.endswith(TABLES)

    start = index
    while start > 0 and not any(good(path) for path in (chain[start - 1].path, *chain[start - 1].aliases)):
        if any(good(path) for path in context.good if path.startswith(chain[start].path + ".")):
            break
        start -= 1
    return start


def _input(chain: Sequence[Stage], start: int, context: Context) -> NDArray:
    """The reference's recorded input of a stage, or what the model computes for it from the recorded inputs."""
    x = first_input(chain, context) if start == 0 else None
    if start:
        paths = (chain[start - 1].path, *chain[start - 1].aliases)
        arrays = [array for array in map(context.ours, paths) if array is not None]
        if arrays:
            return arrays[0].astype(context.model.dtype, copy=False)
        x = first_input(chain, context)
    if x is None:
        advice = "(with statistics, record(..., whole=['inputs/*']) keeps them)"
        raise UnableError(f"More causes can be tested when the recording holds the model's inputs {advice}.")
    return run(chain[:start], x, {})[chain[start - 1].path] if start else x


def _check_model(
    context: Context, path: str, whole: dict[str, NDArray], judge: Callable[[str, NDArray], tuple[float, bool]]
) -> None:
    """UnableError unless the model computes what the reference recorded, and not what the other side did."""
    ours = context.ours(path)
    if path not in whole:
        raise UnableError(f"Faults at {path} are not known.")
    wrong = f"The model given does not compute what the reference recorded at {path}; is it the same checkpoint?"
    if ours is not None and ours.shape != whole[path].shape:
        raise UnableError(wrong)
    if judge(path, whole[path])[1]:
        if context.borrowed:
            raise UnableError("From the other side's input the model computes what the other side did: inputs differ.")
        raise UnableError(f"{wrong} It computes what the other side recorded there.")
    if ours is not None and context.apart(path, ours, whole[path]):
        raise UnableError(wrong)


def _groups(
    span: Sequence[Stage], kind: type[Module], path: str, order: list[str], context: Context
) -> Iterator[dict[str, Module]]:
    """The modules of a kind that may have a fault together: of one name in all stages of the span, then all of them."""
    modules = {
        name: module
        for name, module in modules_of(span, kind)
        if name not in context.good and _begins(name, order) <= order.index(path)
    }
    named: dict[str, dict[str, Module]] = {}
    for name, module in modules.items():
        named.setdefault(starred(name), {})[name] = module
    yield from named.values()
    if len(named) > 1:
        yield modules


def _begins(name: str, order: list[str]) -> int:
    """When a module's first activation is recorded."""
    return next((i for i, path in enumerate(order) if path == name or path.startswith(name + ".")), len(order))


def _variants(fault: Fault, modules: dict[str, Module], context: Context) -> Iterator[tuple[str, dict[str, Module]]]:
    """The ways to have the fault, in all modules at once; those of modules with fewer ways end the list."""
    each = [fault.plant(module, name, context) for name, module in modules.items()]
    also = f" (and so do {len(modules) - 1} more like it)" if len(modules) > 1 else ""
    for several in zip(*each, strict=False):
        replaced: dict[str, Any] = {name: module for name, (_, module) in zip(modules, several, strict=True)}
        yield several[0][0] + also, replaced


def _required(
    found: dict[str, NDArray], path: str, order: list[str], planted_in: list[str], context: Context
) -> dict[str, NDArray]:
    """What the fault must explain: the first divergence, and all that its modules compute from there on."""
    first = order.index(path)
    inside = [
        other
        for other in order[first:]
        if context.has(other) and any(other == name or other.startswith(name + ".") for name in planted_in)
    ]
    return {other: found[other] for other in (path, *inside) if other in found}
