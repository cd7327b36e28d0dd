"""Tensors under other names than a checkpoint has for them: a checkpoint of another layout, seen under our names."""

from aimv2_np.errors import CheckpointError, plain, quoted
from aimv2_np.shapes import NDArray
from aimv2_np.storage.checkpoint import Tensors
from aimv2_np.storage.layouts.table import SAME, Layout, Part, our_shape


class Renamed(Tensors):
    """Tensors of a checkpoint, or parts of them, under the names that `put` gives them."""

    def __init__(self, checkpoint: Tensors) -> None:
        self.folder, self.metadata, self.shapes, self.dtypes = checkpoint.folder, checkpoint.metadata, {}, {}
        self._checkpoint = checkpoint
        self._parts: dict[str, Part] = {}

    def put(self, name: str, part: Part) -> None:
        """`part` under `name`. CheckpointError when that is taken, or what is stored has another shape."""
        if name in self._parts:
            raise CheckpointError(
                f"{self.folder} holds {plain(name)} twice, once as {quoted(part.name)}; fetch it again, or keep one"
            )
        if self._checkpoint.dtypes[part.name] == "I8" and part.form != SAME:
            raise CheckpointError(
                f"{self._checkpoint.label(part.name)} is stored as I8 and turned, so that its factors are those of "
                "columns; use the original checkpoint"
            )
        self.shapes[name] = our_shape(part, self._checkpoint.shapes[part.name], str(self.folder))
        self.dtypes[name] = self._checkpoint.dtypes[part.name]
        self._parts[name] = part

    def stored(self, name: str) -> NDArray:
        part = self._parts.get(name) or Part(name)  # the checkpoint says best that it has no such
        return part.of(self._checkpoint.stored(part.name))

    def scale(self, name: str) -> NDArray | None:
        part = self._parts[name]
        scale = self._checkpoint.scale(part.name)
        return None if scale is None else part.of(scale)

    def label(self, name: str) -> str:
        return self._checkpoint.label(self._parts[name].name)

    def origin(self, name: str) -> str:
        return self._checkpoint.origin(self._parts[name].name)

    def release(self) -> None:
        self._checkpoint.release()


def translated(checkpoint: Tensors, layout: Layout) -> Tensors:
    """The tensors of a checkpoint under our names and in our shapes, as its layout has them.

    Names that the layout does not know stay as they are. A third of stacked projections is a view of the mapped file; a
    transposed kernel or a moved axis becomes a copy in C order when it is read, so that the numbers that a model
    computes do not depend on the layout that it came from.

    Raises CheckpointError for a tensor of a shape that cannot hold ours, and for two under one name.
    """
    result = Renamed(checkpoint)
    for name in checkpoint.shapes:
        if not layout.ignores(name):
            for ours, part in (layout.parts(name) or {name: Part(name)}).items():
                result.put(ours, part)
    return result
