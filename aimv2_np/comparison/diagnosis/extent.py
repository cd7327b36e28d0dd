"""How far a fault that was found explains what follows: alone, or in all modules like the one that has it."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from aimv2_np.comparison.diagnosis.context import Context, NDArray
from aimv2_np.comparison.diagnosis.fault import Fault
from aimv2_np.comparison.diagnosis.stages import Stage, run
from aimv2_np.tree.module import Module


@dataclass(frozen=True)
class Planting:
    """A fault as it was planted.

    Attributes:
        fault, way: the fault, and which of its variants.
        replaced: path → module with the fault.
        stages, x: the stages from the first one concerned to the end of the tower, and what goes into them.
    """

    fault: Fault
    way: int
    replaced: dict[str, Module]
    stages: Sequence[Stage]
    x: NDArray

    def everywhere(self, context: Context) -> dict[str, Module]:
        """The same fault in all modules of the same names, whatever the number of their block."""
        names = {starred(path) for path in self.replaced}
        replaced = dict(self.replaced)
        for path, module in modules_of(self.stages, self.fault.kind):
            if starred(path) in names and path not in replaced:
                variant = next(islice(self.fault.plant(module, path, context), self.way, None), None)
                if variant:
                    replaced[path] = variant[1]
        return replaced


def modules_of(stages: Sequence[Stage], kind: type[Module]) -> Iterator[tuple[str, Module]]:
    """(path, module) of all modules of a kind in several stages."""
    for stage in stages:
        if stage.module is not None:
            yield from ((path, m) for path, m in stage.module.named_modules(stage.path) if type(m) is kind)


def starred(path: str) -> str:
    """The path with a star for the number of the block."""
    return re.sub(r"\.\d+", ".*", path)


def extent(planting: Planting, context: Context, judge: Callable[[str, NDArray], tuple[float, bool]]) -> str:
    """A sentence on what follows the fault in its tower; "" when nothing does."""
    order = [difference.path for difference in context.differences]
    differing = {difference.path for difference in context.differences if not difference.equal}
    several = planting.everywhere(context)
    unexplained: list[str | None] = []
    for replaced in (planting.replaced, several):
        with np.errstate(all="ignore"):
            found = run(planting.stages, planting.x, replaced, inner=context.inner)
        followers = [path for path in order if path in found]
        if not any(path in differing and not _inside(path, planting.replaced) for path in followers):
            return ""
        unexplained.append(next((path for path in followers if not judge(path, found[path])[1]), None))
    if unexplained[0] is None:
        return "It explains all that follows in this tower."
    if unexplained[1] is None:
        return f"The same fault in all {len(several)} modules like it explains all that follows in this tower."
    later = max((path for path in unexplained if path), key=order.index)
    return f"Something else is wrong from {later} on."


def _inside(path: str, names: dict[str, Module]) -> bool:
    return any(path == name or path.startswith(name + ".") for name in names)
