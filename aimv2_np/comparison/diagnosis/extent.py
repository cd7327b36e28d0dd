"""How far a fault that was found explains what follows: alone, or in all modules like the one that has it."""

import re
from collections.abc import Iterable

from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.fault import Fault
from aimv2_np.comparison.diagnosis.stages import Span
from aimv2_np.tree.module import Module


def starred(path: str) -> str:
    """The path with a star for the number of the layer."""
    return re.sub(r"\.\d+", ".*", path)


def extent(fault: Fault, replaced: dict[str, Module], rest: Span, context: Context) -> str:
    """A sentence on what follows a fault in its tower; "" when nothing does.

    Args:
        fault: the fault.
        replaced: path → module with the fault, for the modules that have it.
        rest: the stages from the first of these to the end of the tower.
        context: what both sides recorded.
    """
    differences = {difference.path: difference for difference in context.result.differences}
    order, several = list(differences), _everywhere(fault, replaced, rest, context)
    unexplained: list[str | None] = []
    for planted in (replaced, several):
        found = rest.run(planted)
        followers = [path for path in order if path in found]
        if not any(not differences[path].equal and not is_inside(path, replaced) for path in followers):
            return ""
        unexplained.append(next((path for path in followers if not context.judge(path, found[path])[1]), None))
    if unexplained[0] is None:
        return "It explains all that follows in this tower."
    if unexplained[1] is None:
        return f"The same fault in all {len(several)} modules like it explains all that follows in this tower."
    later = max((path for path in unexplained if path), key=order.index)
    return f"Something else is wrong from {later} on."


def _everywhere(fault: Fault, replaced: dict[str, Module], rest: Span, context: Context) -> dict[str, Module]:
    """The same fault in all modules of the same names, whatever the number of their layer."""
    names, several = {starred(path) for path in replaced}, dict(replaced)
    for path, module in rest.modules(fault.kind):
        if starred(path) in names and path not in several and (faulty := fault.plant(module, path, context)):
            several[path] = faulty
    return several


def is_inside(path: str, names: Iterable[str]) -> bool:
    """Whether `path` is one of some modules' paths, or lies in one of them."""
    return any(path == name or path.startswith(name + ".") for name in names)
