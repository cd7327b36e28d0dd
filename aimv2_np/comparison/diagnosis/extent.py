"""How far a fault that was found explains what follows: alone, or in all modules that may have it."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.fault import Extent, Fault
from aimv2_np.comparison.diagnosis.stages import Span
from aimv2_np.shapes import NDArray
from aimv2_np.tree.module import Module


def starred(path: str) -> str:
    """The path with a star for the number of the layer."""
    return re.sub(r"\.\d+", ".*", path)


def extent(
    fault: Fault, faults: Sequence[Fault], replaced: Mapping[str, Module], rest: Span, context: Context
) -> Extent:
    """What of the rest of its tower a fault explains.

    Args:
        fault: the fault.
        faults: all there are: those of the same name and sentence are the same fault in modules of other kinds.
        replaced: path → module with the fault, for the modules that have it.
        rest: the stages from the first of these to the end of the tower.
        context: what both sides recorded.
    """
    names = {starred(path) for path in replaced}
    same = [one for one in faults if (one.identifier, one.sentence) == (fault.identifier, fault.sentence)]
    alike = _planted([fault], rest, context, lambda path: starred(path) in names) | dict(replaced)
    everywhere = _planted(same, rest, context, lambda path: True) | dict(replaced)
    followers = _followers(rest, replaced, context)
    trials: list[Extent] = []
    for planted in (replaced, alike, everywhere):
        if trials and len(planted) == len(trials[-1].replaced or ()):
            continue
        sentence = (
            f"The same fault in all {len(planted)} modules {'like it' if planted is not everywhere else 'of its kind'} "
            "explains all that follows in this tower."
            if planted is not replaced
            else "It explains all that follows in this tower."
        )
        try:
            found = rest.run(planted)
        except ValueError:  # a module that can have the fault only where the next one takes what it gives
            continue
        unexplained = next((p for p in followers if p not in found or not context.judge(p, found[p])[1]), None)
        trial = Extent(sentence if followers_left(replaced, context, followers) else "", found, planted, unexplained)
        trials.append(trial)
        if unexplained is None:
            return trial
    best = max(trials, key=lambda trial: followers.index(trial.unexplained or followers[-1]))
    return Extent(f"Something else is wrong from {best.unexplained} on.", best.found, best.replaced, best.unexplained)


def reach(run: Callable[[], dict[str, NDArray]], rest: Span, context: Context) -> Extent:
    """The same of a fault that is of no module: `run` computes the rest of the tower with it."""
    followers, found = _followers(rest, {}, context), run()
    unexplained = next((p for p in followers if p in found and not context.judge(p, found[p])[1]), None)
    if unexplained is None:
        return Extent("It explains all that follows in this tower.", found)
    return Extent(f"Something else is wrong from {unexplained} on.", found, None, unexplained)


def _followers(rest: Span, replaced: Iterable[str], context: Context) -> list[str]:
    """What both sides recorded of the rest of the tower from the first divergence on, in order."""
    order = [difference.path for difference in context.result.differences]
    first = context.result.first
    computed = set(rest.run())
    return [path for path in order[order.index(first.path) if first else 0 :] if path in computed]


def followers_left(replaced: Iterable[str], context: Context, followers: Sequence[str]) -> bool:
    """Whether something diverges outside of the modules that have the fault."""
    bad = {difference.path for difference in context.result.differences if not difference.equal}
    return any(path in bad and not is_inside(path, replaced) for path in followers)


def _planted(faults: Sequence[Fault], rest: Span, context: Context, wanted: Callable[[str], bool]) -> dict[str, Module]:
    """Path → module with one of the faults, for those that are wanted and that the other side did not get right."""
    return {
        path: faulty
        for fault in faults
        for path, module in rest.modules(fault.kind)
        if wanted(path) and path not in context.good and (faulty := fault.plant(module, path, context))
    }


def is_inside(path: str, names: Iterable[str]) -> bool:
    """Whether `path` is one of some modules' paths, or lies in one of them; everything lies in ""."""
    return any(not name or path == name or path.startswith(name + ".") for name in names)
