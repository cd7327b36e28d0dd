"""Mistakes in the order of layers: skipped, doubled, exchanged, or run with each other's weights."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from aimv2_np.comparison.diagnosis.stages import Stage


@dataclass(frozen=True)
class Rearranged:
    """Layers in another order than the model's.

    Attributes:
        identifier, sentence: of the fault.
        stages: what runs, from where the other side was right on.
        number: how many of them must be right for the fault to be named.
        again: whether the first of them takes its own output, and not what it took in the model.
    """

    identifier: str
    sentence: str
    stages: Sequence[Stage]
    number: int
    again: bool = False


def rearrangements(chain: Sequence[Stage], start: int, index: int) -> Iterator[Rearranged]:
    """All that may be behind a first divergence in stage `index`, where the other side was right up to `start`."""
    layers = [i for i, stage in enumerate(chain) if _number(stage) is not None]
    some = [k for k in range(start, index + 1) if k in layers]
    for k in some:
        yield from _left_out(chain, start, k)
    for k in some:
        yield from _exchanged(chain, start, k, layers)
    for k in some:
        yield from _with_others_weights(chain, start, k, layers)
    for k in (start - 1, *some):
        if k in layers:
            again = [chain[k], *chain[start:]] if k < start else [*chain[start : k + 1], *chain[k:]]
            sentence = f"{chain[k].path} runs twice, the second time on its own output"
            yield Rearranged("blocks_doubled", sentence, again, index - start + 2, again=k < start)


def _left_out(chain: Sequence[Stage], start: int, k: int) -> Iterator[Rearranged]:
    """Layer k alone, and it with all layers after it."""
    yield Rearranged(
        "blocks_skipped", f"{chain[k].path} is left out", (*chain[start:k], *chain[k + 1 :]), k - start + 1
    )
    last = max(i for i, stage in enumerate(chain) if _number(stage) is not None)
    if last > k:
        sentence = f"{chain[k].path} and all layers after it, up to {chain[last].path}, are left out"
        yield Rearranged("blocks_skipped", sentence, (*chain[start:k], *chain[last + 1 :]), k - start + 1)


def _exchanged(chain: Sequence[Stage], start: int, i: int, layers: Sequence[int]) -> Iterator[Rearranged]:
    """Layer i and a later one, each recorded under its own name."""
    for j in layers:
        if j > i:
            order = [*chain[start:i], chain[j], *chain[i + 1 : j], chain[i], *chain[j + 1 :]]
            sentence = f"{chain[i].path} and {chain[j].path} run in each other's place"
            yield Rearranged("blocks_exchanged", sentence, order, j - start + 1)
    if i == layers[0] and len(layers) > 2:
        order = [*chain[start:i], *(chain[j] for j in reversed(layers)), *chain[layers[-1] + 1 :]]
        number = layers[-1] - start + 1
        yield Rearranged("blocks_exchanged", "the layers run from the last to the first", order, number)


def _with_others_weights(chain: Sequence[Stage], start: int, i: int, layers: Sequence[int]) -> Iterator[Rearranged]:
    """Layers recorded by their places, with the weights of others."""
    count = len(layers)
    orders = {
        "the layers have each other's weights, from the last to the first": list(reversed(range(count))),
        "the layers are sorted by their names as text: 0, 1, 10, 11, …, 2": sorted(range(count), key=str),
        "all layers have the weights of the first": [0] * count,
        "all layers have the weights of the last": [count - 1] * count,
        "each layer has the weights of the one before": [max(p - 1, 0) for p in range(count)],
        "each layer has the weights of the one after": [min(p + 1, count - 1) for p in range(count)],
    }
    place = layers.index(i)
    for other in range(count):
        if other != place:
            one, both = list(range(count)), list(range(count))
            one[place] = other
            both[place], both[other] = other, place
            names = chain[i].path, chain[layers[other]].path
            orders[f"{names[0]} has the weights of {names[1]}"] = one
            if other > place:
                orders[f"{names[0]} and {names[1]} have each other's weights"] = both
    # Those first that change most: a part of what they do fits, too.
    for sentence, order in sorted(orders.items(), key=lambda item: -sum(n != p for p, n in enumerate(item[1]))):
        changed = [p for p in range(count) if order[p] != p]
        if changed and changed[0] == place:
            new = [
                replace(stage, module=chain[layers[order[layers.index(p)]]].module) if p in layers else stage
                for p, stage in enumerate(chain)
                if p >= start
            ]
            yield Rearranged("blocks_exchanged", sentence, new, layers[changed[-1]] - start + 1)


def _number(stage: Stage) -> int | None:
    """Which layer a stage is; None where it is none."""
    name = stage.path.rpartition("layers.")[2]
    return int(name) if name.isdecimal() else None
