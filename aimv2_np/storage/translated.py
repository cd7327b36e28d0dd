"""A checkpoint of another layout, seen under our names."""

from aimv2_np.errors import CheckpointError, plain, quoted
from aimv2_np.shapes import NDArray
from aimv2_np.storage.checkpoint import Tensors, first_ten
from aimv2_np.storage.layouts.table import Layout, Part, our_shape


class Translated(Tensors):
    """The tensors of a checkpoint under our names and in our shapes, as its layout has them.

    Names that the layout does not know stay as they are. A third of stacked projections is a view of the mapped file; a
    transposed kernel or a moved axis becomes a copy in C order when it is read, so that the numbers that a model
    computes do not depend on the layout that it came from.

    Raises CheckpointError for a tensor of a shape that cannot hold ours, and for two under one name.
    """

    def __init__(self, checkpoint: Tensors, layout: Layout) -> None:
        self.folder, self.metadata, self.shapes, self.dtypes = checkpoint.folder, checkpoint.metadata, {}, {}
        self._checkpoint = checkpoint
        self._parts: dict[str, Part] = {}
        for name, shape in checkpoint.shapes.items():
            if layout.ignores(name):
                continue
            parts = layout.parts(name)
            for ours in parts or (name,):
                if ours in self.shapes:
                    raise CheckpointError(
                        f"{self.folder} holds {plain(ours)} twice, once as {quoted(name)}: it mixes layouts; "
                        "fetch it again"
                    )
                self.shapes[ours] = our_shape(parts[ours], shape, str(self.folder)) if parts else shape
                self.dtypes[ours] = checkpoint.dtypes[name]
            self._parts.update(parts)

    def __repr__(self) -> str:
        return f"Translated({self._checkpoint!r}: {first_ten(list(self.shapes))})"

    def stored(self, name: str) -> NDArray:
        part = self._parts.get(name)
        return part.of(self._checkpoint.stored(part.name)) if part else self._checkpoint.stored(name)

    def label(self, name: str) -> str:
        return self._checkpoint.label(self._parts[name].name if name in self._parts else name)

    def origin(self, name: str) -> str:
        return self._checkpoint.origin(self._parts[name].name if name in self._parts else name)

    def release(self) -> None:
        self._checkpoint.release()
