"""Where errors arise, and where they are only inherited: every module on what the other side gave it.

The reference's model runs once on the other side's inputs (`Context.on_their_inputs`). Whenever a module has computed
its output, the output that the other side recorded there takes its place: so whatever comes next is computed from the
other side's numbers, and the distance between the two outputs of a module is its own error. It is teacher forcing
(Williams & Zipser 1989), with the other side as the teacher. A module within which the other side recorded nothing
answers for all that is in it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from aimv2_np.backends.arrays import is_array
from aimv2_np.backends.context import having
from aimv2_np.backends.operation import looking_inside
from aimv2_np.comparison.comparison import Difference, Step
from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.stages import towers_of
from aimv2_np.comparison.report import two_digits
from aimv2_np.recording.recording import INPUTS
from aimv2_np.shapes import NDArray
from aimv2_np.tree.module import Module
from aimv2_np.tree.recorder import RECORDERS, Recorder

ASSUMED = "The other side recorded no inputs: its embeddings were judged on the reference's."
NAMED = 5  # of the modules that are wrong by themselves
# (path, what the reference computes there) → what the other side recorded, in that shape; None where it did not.
Taken = Callable[[str, NDArray], NDArray | None]


@dataclass
class _Forcing(Recorder):
    """A recorder that puts the other side's output in the place of each module's."""

    modules: dict[str, Module] = field(default_factory=dict)
    taken: Taken = lambda path, expected: None
    look: Callable[[Step], None] = lambda step: None

    def around(self, path: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        output = super().around(path, function, *args, **kwargs)
        found = self.taken(path, output) if is_array(output) else None
        if found is None:
            return output
        self.look(Step(path, self.modules[path], (*args, *kwargs.values()), output, found))
        return found


def force(context: Context, taken: Taken, look: Callable[[Step], None]) -> None:
    """Run every tower of the context's model so, and let `look` see every step, in order of execution.

    Nothing happens where there is no model, or the recordings hold no inputs of it.
    """
    if context.model is None:
        return
    for name, stages in towers_of(context).items():
        if (x := context.input(name)) is None:
            continue
        x = x.astype(context.model.dtype) if x.dtype.kind == "f" else x
        modules: dict[str, Module] = {}
        for stage in stages:
            modules |= dict(stage.module.named_modules(stage.path))
        paths = {id(module): path for path, module in modules.items()}
        recorder = _Forcing(paths, (), lambda path, array: None, modules=modules, taken=taken, look=look)
        with having(RECORDERS, (recorder,)), looking_inside(), np.errstate(all="ignore"):
            for stage in stages:
                x = stage.call(stage.module, x)


def own_errors_in_words(differences: Sequence[Difference]) -> str:
    """Which modules are wrong by themselves, in a sentence; "" where that is not known."""
    known = [difference for difference in differences if difference.own is not None]
    wrong = [difference for difference in known if difference.wrong]
    if not known:
        return ""
    if not wrong and any(each.path.startswith(INPUTS) and not each.equal for each in differences):
        return "On the other side's inputs, no module is wrong by itself: it is the inputs that differ."
    if not wrong:
        return "On what the other side gave it, no module is wrong by itself: the fault lies between what was recorded."
    names = ", ".join(f"{each.path} ({two_digits(each.own)})" for each in wrong[:NAMED])
    rest = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
    inputs = any(each.path.startswith(INPUTS) for each in differences)
    assumed = "" if inputs or not any("embeddings" in each.path for each in wrong) else f" {ASSUMED}"
    if len(wrong) == 1:
        return f"On what the other side gave it, {names} alone is wrong; what follows inherits its error.{assumed}"
    return f"On what the other side gave them, {len(wrong)} modules are wrong by themselves: {names}{rest}.{assumed}"
