"""Where faults are planted: in which modules, alone or in all of their kind, and what they must then explain."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import Any

from aimv2_np.comparison.diagnosis import (
    attentions,
    ends,
    half,
    layers,
    masks,
    norms,
    pictures,
    positions,
    precision,
    preprocessing,
    projections,
    texts,
)
from aimv2_np.comparison.diagnosis.blocks import rearrangements
from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.ends import Embeds
from aimv2_np.comparison.diagnosis.extent import extent, is_inside, reach, starred
from aimv2_np.comparison.diagnosis.fault import Fault, Hypothesis, faults_of, together
from aimv2_np.comparison.diagnosis.stages import EMBEDS, Span, Stage, calls_around, towers_of
from aimv2_np.comparison.measure import measure_arrays
from aimv2_np.recording.recording import INPUTS
from aimv2_np.shapes import NDArray
from aimv2_np.tree.module import Module

TABLES = (
    norms, projections, attentions, masks, layers, pictures, positions, texts, ends, half, precision,
    preprocessing,
)  # fmt: skip
ALL = faults_of(file.FAULTS for file in TABLES)
FAULTS = tuple(fault for fault in ALL if fault.identifier not in precision.OF_ROUNDING)
ROUNDINGS = tuple(fault for fault in ALL if fault.identifier in precision.OF_ROUNDING)
# What pictures are made to holds for a module alone: no two of these go together.
PAIRED = tuple(fault for fault in ALL if fault.identifier not in preprocessing.WAYS)
KINDS = tuple({kind: None for fault in ALL for kind in fault.plants})

# Recorded by stages, but no sign that the stage's input was right.
NO_SIGN = ("position_embedding",)


class UnableError(Exception):
    """Why faults cannot be planted, and what would help."""


@dataclass(frozen=True)
class Place:
    """Where two sides part, and from where on a fault may be behind it.

    Attributes:
        path: the first divergence.
        chain: the stages of its tower.
        start, index: the first stage that may hold the fault, and the one that computes `path`.
        rest: the stages from the first one on.
        order: what is computed up to `path` and in its stage, in order of execution.
        calls: path → arguments, of the modules in which `path` lies.
    """

    path: str
    chain: Sequence[Stage]
    start: int
    index: int
    rest: Span
    order: Sequence[str]
    calls: Mapping[str, tuple[Any, ...]]

    @property
    def span(self) -> Span:
        """The stages that may hold the fault."""
        return replace(self.rest, stages=self.chain[self.start : self.index + 1])


def place_of(context: Context, path: str) -> Place:
    """Where a first divergence at `path` lies.

    Raises UnableError when the model or its input is not known or does not fit.
    """
    if path.startswith(INPUTS):
        raise UnableError("")
    if "packed" in context.reference.metadata:
        raise UnableError("The recording is of pictures of several sizes; causes are looked for in one of one size.")
    if context.model is None:
        raise UnableError("More causes can be tested with the model's weights (model=, --model).")
    name, chain, index = _find(context, path)
    start = _start(chain, index, context)
    try:
        rest = Span(chain[start:], _input(name, chain, start, context), context.inner, context.taken)
        span = replace(rest, stages=chain[start : index + 1])
        with calls_around(path, span) as calls:
            right = span.run()
    except UnableError:
        raise
    except Exception as error:  # weights of other shapes, a recording that contradicts itself
        raise UnableError("The model given does not fit the recording; is it the same checkpoint?") from error
    _check_model(context, path, right)
    return Place(path, chain, start, index, rest, list(right), calls)


def planted(context: Context, place: Place) -> Iterator[Hypothesis]:
    """Each fault that could be behind a divergence, with what the other side would have recorded."""
    yield from _hypotheses(context, place, FAULTS)
    yield from _rearranged(context, place)


def rounded(context: Context, place: Place) -> Iterator[Hypothesis]:
    """The same of numbers that were rounded: many ways, to be tried where nothing else explains a divergence."""
    yield from _hypotheses(context, place, ROUNDINGS)


def planted_in_pairs(context: Context, place: Place) -> Iterator[Hypothesis]:
    """Two faults in one module, of all pairs that may be together."""
    for kind in {type(module): None for _, module in place.span.modules(*KINDS)}:
        groups = _groups(place, (kind,), context)
        if not groups:
            continue
        alone = [fault for fault in PAIRED if kind in fault.plants and _planted_in(groups[0], fault, context)]
        pairs = (together(*pair) for pair in combinations(alone, 2) if pair[0].identifier != pair[1].identifier)
        yield from _hypotheses(context, place, pairs)


def _hypotheses(context: Context, place: Place, faults: Iterable[Fault]) -> Iterator[Hypothesis]:
    groups: dict[tuple[type[Module], ...], list[dict[str, Module]]] = {}
    after = set(place.order[place.order.index(place.path) :])
    for fault in faults:
        kinds = tuple(fault.plants)
        if kinds not in groups:
            groups[kinds] = _groups(place, kinds, context)
        for modules in groups[kinds]:
            if replaced := _planted_in(modules, fault, context):
                # The first divergence, and all that the modules compute.
                inside = {path for path in place.order if is_inside(path, replaced)} | {place.path}
                required = inside & context.names.keys()
                yield Hypothesis(
                    fault.identifier,
                    fault.sentence_for(modules, replaced),
                    _predicted(place, replaced, required),
                    partial(extent, fault, replaced, place.rest, context),
                    frozenset(required - after),
                )


def _predicted(place: Place, replaced: Mapping[str, Module], required: set[str]) -> Iterator[tuple[str, NDArray]]:
    """What modules with a fault compute, that of the first divergence before all else: most faults fail there.

    Where one module alone has it, the first divergence is computed without what comes before and after.
    """
    path = next(iter(replaced))
    if len(replaced) == 1 and path in place.calls:
        alone = Stage(path, replaced[path], call=lambda module, _: module(*place.calls[path]))
        found = dict(_judged(replace(place.rest, stages=(alone,)).steps(), {place.path}, last=True))
        yield from found.items()
    found = dict(_judged(place.span.steps(replaced), required, last=True))
    if place.path in found:
        yield place.path, found.pop(place.path)
    yield from found.items()


def _planted_in(modules: Mapping[str, Module], fault: Fault, context: Context) -> dict[str, Module]:
    """Path → module with the fault; none where not all of them can have it."""
    faulty = {path: fault.plant(module, path, context) for path, module in modules.items()}
    replaced = {path: module for path, module in faulty.items() if module is not None}
    return replaced if len(replaced) == len(modules) else {}


def _rearranged(context: Context, place: Place) -> Iterator[Hypothesis]:
    """Layers in another order, from where the other side was right on."""
    chain, start, rest = place.chain, place.start, place.rest
    order = [difference.path for difference in context.result.differences]
    later = set(order[order.index(place.path) :]) & context.names.keys()
    for change in rearrangements(chain, start, place.index):
        x = rest.x
        if change.again and start:
            before = _given(context, chain[start - 1].path)
            if before is None:
                continue
            x = before.astype(x.dtype, copy=False)
        whole = replace(rest, stages=change.stages, x=x)
        some = replace(whole, stages=change.stages[: change.number])
        predicted = _judged(some.steps(), later, last=change.identifier == "blocks_doubled")
        yield Hypothesis(change.identifier, change.sentence, predicted, partial(reach, whole.run, rest, context))


def _judged(steps: Iterator[tuple[str, NDArray]], later: set[str], *, last: bool) -> Iterator[tuple[str, NDArray]]:
    """What is predicted of some paths, as it is computed; of a path that is several times, the `last` one.

    Nothing of modules that cannot run so, as one without a projection that changes the size of its input.
    """
    with suppress(ValueError):
        yield from ((path, array) for path, array in (dict(steps).items() if last else steps) if path in later)


def _find(context: Context, path: str) -> tuple[str, list[Stage], int]:
    """The tower that computes `path`: the name of its input, its stages, and the number of the stage that does."""
    for name, chain in towers_of(context).items():
        for index, stage in enumerate(chain):
            if stage.holds(path):
                return name, chain, index
    raise UnableError(f"Faults at {path} are not known.")


def _start(chain: Sequence[Stage], index: int, context: Context) -> int:
    """The first stage that may hold the fault: something in it, or all that it takes, was right on the other side."""
    # Where modules take the other side's outputs, what lies within a stage may be right though it was given the wrong.
    good = {path for path in context.good if not path.endswith(NO_SIGN)} if not context.taken else set()
    known = context.names.keys() if context.taken else good
    start = index
    while start > 0 and known.isdisjoint((chain[start - 1].path, *chain[start - 1].aliases)):
        if any(path.startswith(chain[start].path + ".") for path in good):
            break
        start -= 1
    return start


def _input(name: str, chain: Sequence[Stage], start: int, context: Context) -> Any:
    """The reference's recorded input of a stage, or what the model computes for it from the recorded inputs."""
    dtype = context.model.dtype
    if name == EMBEDS:
        return _embeds(context)
    before = chain[start - 1] if start else None
    for path in (before.path, *before.aliases) if before else ():
        if (array := _given(context, path)) is not None:
            return array.astype(dtype, copy=False)
    x = context.input(name)
    if x is None:
        advice = "(with statistics, record(..., whole=['inputs/*']) keeps them)"
        raise UnableError(f"More causes can be tested when the recording holds the model's inputs {advice}.")
    x = x.astype(dtype, copy=False) if x.dtype.kind == "f" else x
    return Span(chain[:start], x).run()[before.path] if before else x


def _given(context: Context, path: str) -> NDArray | None:
    """What comes out of a module, for the next: the reference's output, or the other side's where those are taken."""
    ours = context.reference.array(path)
    theirs = context.taken(path, ours) if context.taken and ours is not None else None
    return ours if theirs is None else theirs


def _embeds(context: Context) -> Any:
    """The unit vectors that logits are made of, as the reference recorded them, or computed anew."""
    towers = towers_of(context)
    both = []
    for name, path in (("input_ids", "text_embeds"), ("pixel_values", "image_embeds")):
        array = _given(context, path)
        if array is None:
            array = Span(towers[name], _input(name, towers[name], 0, context)).run()[path]
        both.append(array.astype(context.model.dtype, copy=False))
    return Embeds(*both)


def _check_model(context: Context, path: str, right: dict[str, NDArray]) -> None:
    """UnableError unless the model computes what the reference recorded, and not what the other side did."""
    ours, first = context.reference.array(path), context.result.first
    if path not in right or first is None:
        raise UnableError(f"Faults at {path} are not known.")
    wrong = f"The model given does not compute what the reference recorded at {path}; is it the same checkpoint?"
    if ours is not None and ours.shape != right[path].shape:
        raise UnableError(wrong)
    if context.judge(path, right[path])[1]:
        if context.borrowed:
            raise UnableError("From the other side's input the model computes what the other side did: inputs differ.")
        raise UnableError(f"{wrong} It computes what the other side recorded there.")
    most = max(first.tolerance, first.relative / 2)  # half of the difference that was found
    if ours is not None and measure_arrays(ours, right[path], first.dtype).relative > most:
        raise UnableError(wrong)


def _groups(place: Place, kinds: tuple[type[Module], ...], context: Context) -> list[dict[str, Module]]:
    """The modules that may have a fault together: of one name in all stages, of one class, of all classes."""
    reached = place.order[: place.order.index(place.path) + 1]
    modules = {
        path: module
        for path, module in place.span.modules(*kinds)
        if not context.acquits(path) and any(is_inside(other, (path,)) for other in reached)
    }
    groups: dict[object, dict[str, Module]] = {}
    for key in (lambda path, module: starred(path), lambda path, module: type(module), lambda path, module: None):
        for path, module in modules.items():
            groups.setdefault(key(path, module), {})[path] = module
    return [group for i, group in enumerate(groups.values()) if group not in list(groups.values())[:i]]
