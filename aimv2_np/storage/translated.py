"""A checkpoint of another layout, seen under our names."""

from typing import Any

import numpy as np

from aimv2_np.errors import CheckpointError, plain, quoted
from aimv2_np.storage.checkpoint import Tensors, first_ten
from aimv2_np.storage.formats.mapped import as_dtype, check_target
from aimv2_np.storage.layouts.table import Layout, Place, bare, our_shapes


class Translated:
    """The tensors of a checkpoint under our names and in our shapes, as its layout has them.

    Names that the layout does not know stay as they are. Raises CheckpointError for a tensor of a shape that cannot
    hold ours, and for two under one name.
    """

    def __init__(self, checkpoint: Tensors, layout: Layout) -> None:
        self.folder, self.metadata = checkpoint.folder, checkpoint.metadata
        self._checkpoint = checkpoint
        self._places: dict[str, Place] = {}
        self._unknown: set[str] = set()
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, str] = {}
        for name, shape in checkpoint.shapes.items():
            if layout.ignores(name):
                continue
            places = layout.places(name)
            if not places:
                self._unknown.add(name)
            for ours in places or (name,):
                if ours in self.shapes:
                    raise CheckpointError(
                        f"{self.folder} holds {plain(ours)} twice, once as {quoted(name)}: it mixes layouts; "
                        "fetch it again"
                    )
                place = places.get(ours)
                self.shapes[ours] = our_shapes(place, shape, str(self.folder)) if place else shape
                self.dtypes[ours] = checkpoint.dtypes[name]
            self._places.update(places)

    def __repr__(self) -> str:
        return f"Translated({self._checkpoint!r}: {first_ten(list(self.shapes))})"

    def read(self, name: str, dtype: str = "float32") -> np.ndarray[Any, Any]:
        """Tensor `name`, as `Checkpoint.read` would give it: read-only, in C order.

        It is a view of the mapped file where it is stored in `dtype` and lies there in one piece, as a third of
        stacked projections does; a transposed kernel or a moved axis is a copy, so that the numbers that a model
        computes do not depend on the layout that it came from.
        """
        check_target(dtype)
        place = self._places.get(name)
        if place is None:
            return self._checkpoint.read(name, dtype)
        what = f"{self.folder}: tensor {place.name!r}"
        return as_dtype(self.stored(name), self.dtypes[name], dtype, what)

    def stored(self, name: str) -> np.ndarray[Any, Any]:
        """Tensor `name` in our shape, its numbers as they are stored: a view of the mapped file."""
        place = self._places.get(name)
        if place is None:
            return self._checkpoint.stored(name)
        return bare(self._checkpoint.stored(place.name), place)

    def release(self) -> None:
        """Let go of the memory that reading has taken so far."""
        self._checkpoint.release()
