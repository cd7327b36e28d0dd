"""Modules on what the other side gave them: teacher forcing (Williams & Zipser 1989), the other side being the teacher.

Whenever a module has computed its output, the output that the other side recorded there takes its place. So whatever
comes next is computed from the other side's numbers, and the distance between the two outputs is the module's own
error.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from aimv2_np.backends.arrays import is_array
from aimv2_np.backends.context import having
from aimv2_np.backends.operation import looking_inside
from aimv2_np.comparison.comparison import Step
from aimv2_np.network.embedding import Embedding
from aimv2_np.network.linear import Linear
from aimv2_np.network.patches import PatchEmbed
from aimv2_np.shapes import NDArray
from aimv2_np.tree.module import Module
from aimv2_np.tree.recorder import RECORDERS, Recorder

# (path, what the reference computes there) → what the other side recorded, in that shape; None where it did not.
Taken = Callable[[str, NDArray], NDArray | None]

MATRICES = (Linear, PatchEmbed, Embedding)  # what quantised engines round
TABLE = "position_embedding"  # rows of a matrix, which are observed within another module


@dataclass
class Forced(Recorder):
    """A recorder that stores what each module computes, and puts the other side's output in its place.

    Attributes:
        modules: path → module.
        aliases: path → other names of the same output.
        taken: the other side's outputs.
        look: told of each output that was taken.
        matrices: how many matrices the numbers have passed that are there now, since the last output that was taken.
    """

    modules: Mapping[str, Module] = field(default_factory=dict)
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    taken: Taken = lambda path, expected: None
    look: Callable[[Step], None] = lambda step: None
    matrices: int = 0

    def around(self, path: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        output = self.within(path, function, *args, **kwargs)
        module, found = self.modules[path], None
        outputs = dict.fromkeys((path, *self.aliases.get(path, ())), output) if is_array(output) else output._asdict()
        is_matrix = isinstance(module, MATRICES)
        self.matrices += is_matrix
        for name, value in outputs.items():
            self.store(name, value)
            if (theirs := self.taken(name, value)) is not None:
                given = (*args, *kwargs.values())
                self.look(Step(name, module, given, value, theirs, self.matrices > 0, again=found is not None))
                found = theirs
        if found is None or not is_array(output):
            return output
        # A matrix that was taken says nothing of those beside it: what q is does not depend on k.
        self.matrices = self.matrices - 1 if is_matrix else 0
        return found

    def keep(self, path: str, value: Any) -> None:
        """What is observed within a module: it is compared, and the module goes on with its own."""
        self.store(path, value)
        self.matrices += path.endswith(TABLE)
        if (found := self.taken(path, value)) is not None:
            self.look(Step(path, None, (), value, found, self.matrices > 0))


@contextmanager
def forcing(
    module: Module, path: str, aliases: tuple[str, ...], taken: Taken, look: Callable[[Step], None]
) -> Iterator[dict[str, NDArray]]:
    """Within the block `module`, which lies at `path`, takes the other side's outputs wherever there are some.

    Yields path → what was computed there, of all that ran.
    """
    computed: dict[str, NDArray] = {}
    modules = dict(module.named_modules(path))
    recorder = Forced(
        {id(each): name for name, each in modules.items()},
        ("*",),
        computed.__setitem__,
        modules=modules,
        aliases={path: aliases},
        taken=taken,
        look=look,
    )
    with having(RECORDERS, (*RECORDERS.get(), recorder)), looking_inside(), np.errstate(all="ignore"):
        yield computed
