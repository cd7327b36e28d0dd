"""Where faults are planted: in which modules, alone or in all of their kind, and what they must then explain."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import combinations

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
from aimv2_np.comparison.diagnosis.extent import extent, is_inside, layer_of, reach, starred
from aimv2_np.comparison.diagnosis.fault import Fault, Hypothesis, faults_of, together
from aimv2_np.comparison.diagnosis.place import Place, given
from aimv2_np.comparison.diagnosis.stages import Stage
from aimv2_np.shapes import NDArray
from aimv2_np.tree.module import Module

TABLES = (
    norms, projections, attentions, masks, layers, pictures, positions, texts, ends, half, precision,
    preprocessing,
)  # fmt: skip
ALL = faults_of((file.FAULTS for file in TABLES), precision.WIDER)
FAULTS = tuple(fault for fault in ALL if fault.identifier not in precision.OF_ROUNDING)
ROUNDINGS = tuple(fault for fault in ALL if fault.identifier in precision.OF_ROUNDING)
# What pictures are made to holds for a module alone: no two of these go together.
PAIRED = tuple(fault for fault in ALL if fault.identifier not in preprocessing.WAYS)
KINDS = tuple({kind: None for fault in ALL for kind in fault.plants})

Grouping = Callable[[str, Module], object]  # (path, module) → what those have in common that have a fault together
NEAR = 3  # layers in a span, up to which faults are tried in each of them alone


def planted(context: Context, place: Place) -> Iterator[Hypothesis]:
    """Each fault that could be behind a divergence, with what the other side would have recorded."""
    yield from _hypotheses(context, place, FAULTS)
    yield from _rearranged(context, place)


def planted_alone(context: Context, place: Place) -> Iterator[Hypothesis]:
    """The same in one layer alone, of many in which it could be."""
    if len(_layers(place)) > NEAR:
        yield from _hypotheses(context, place, FAULTS, (_in_one_layer,))


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


def _hypotheses(
    context: Context, place: Place, faults: Iterable[Fault], ways: Sequence[Grouping] | None = None
) -> Iterator[Hypothesis]:
    groups: dict[tuple[type[Module], ...], list[dict[str, Module]]] = {}
    after = set(place.order[place.order.index(place.path) :])
    for fault in faults:
        kinds = tuple(fault.plants)
        if kinds not in groups:
            groups[kinds] = _groups(place, kinds, context, ways)
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
        only = {place.path}
        found = dict(_judged(replace(place.rest, stages=(alone,)).steps(wanted=only), only, last=True))
        yield from found.items()
    found = dict(_judged(place.span_from(replaced).steps(replaced, required), required, last=True))
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
            before = given(context, chain[start - 1].path)
            if before is None:
                continue
            x = before.astype(x.dtype, copy=False)
        whole = replace(rest, stages=change.stages, x=x)
        reaching = max((i for i, stage in enumerate(change.stages) if stage.holds(place.path)), default=-1) + 1
        some = replace(whole, stages=change.stages[: max(change.number, reaching)])
        predicted = _judged(some.steps(), later, last=change.identifier == "blocks_doubled")
        yield Hypothesis(change.identifier, change.sentence, predicted, partial(reach, whole.run, rest, context))


def _judged(steps: Iterator[tuple[str, NDArray]], later: set[str], *, last: bool) -> Iterator[tuple[str, NDArray]]:
    """What is predicted of some paths, as it is computed; of a path that is several times, the `last` one.

    Nothing of modules that cannot run so, as one without a projection that changes the size of its input.
    """
    with suppress(ValueError):
        yield from ((path, array) for path, array in (dict(steps).items() if last else steps) if path in later)


def _layers(place: Place) -> set[str]:
    return {layer_of(stage.path) for stage in place.span.stages} - {""}


def _groups(
    place: Place, kinds: tuple[type[Module], ...], context: Context, ways: Sequence[Grouping] | None = None
) -> list[dict[str, Module]]:
    """The modules that may have a fault together: of one name in all stages, of one class, of all classes.

    Before these, the same within each layer, where there are few. `ways` says otherwise.
    """
    reached = place.order[: place.order.index(place.path) + 1]
    modules = {
        path: module
        for path, module in place.span.modules(*kinds)
        if not context.acquits(path) and any(is_inside(other, (path,)) for other in reached)
    }
    near = [partial(_in_one_layer, way=way) for way in EVERYWHERE] if 1 < len(_layers(place)) <= NEAR else []
    groups: dict[object, dict[str, Module]] = {}
    chosen: Sequence[Grouping] = ways or [*near, *EVERYWHERE]
    for i, way in enumerate(chosen):
        for path, module in modules.items():
            groups.setdefault((i, way(path, module)), {})[path] = module
    return [group for i, group in enumerate(groups.values()) if group not in list(groups.values())[:i]]


def _of_one_name(path: str, module: Module) -> object:
    return starred(path)


def _of_one_class(path: str, module: Module) -> object:
    return type(module)


def _of_all_classes(path: str, module: Module) -> object:
    return None


def _in_one_layer(path: str, module: Module, way: Grouping = _of_one_name) -> object:
    return layer_of(path), way(path, module)


EVERYWHERE: tuple[Grouping, ...] = (_of_one_name, _of_one_class, _of_all_classes)
