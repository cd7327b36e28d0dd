"""A whole tower on the device: a CUDA graph for small inputs, where launching takes longer than computing.

A graph is recorded when the same kind of input comes for the second time. Its kind is the shape of the input, and of
the view the types and the shapes of its arrays: what stands in them, as a text's padding, is an input of the graph.

Not recorded are types that have no kernels, as float64, for which equations run as written, by products that CuPy does
not let record; and packs, each of which has lengths of its own, so that its graph would hardly be used again.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

from aimv2_np.backends.arrays import is_array
from aimv2_np.kernels.cuda.graphs import GRAPHS, TOKENS, Arrays
from aimv2_np.kernels.cuda.launch import computes
from aimv2_np.kernels.ends import vectors_of_ends
from aimv2_np.network.text import TextTower, text_tower
from aimv2_np.network.view import Both, Packed, View
from aimv2_np.network.vision import TowerOutput, VisionTower, vision_tower
from aimv2_np.shapes import Array, Float, Int

_ARRAY = object()  # in the place of an array


def vision_tower_on_device(pixels: Float[Array, "B C height width"], tower: VisionTower, view: View) -> TowerOutput:
    """Embeddings, layers, norm and head."""
    rows, columns = tower.embeddings.grid_of(pixels)
    return TowerOutput(*_as_graph(vision_tower.textbook, pixels, tower, view, len(pixels) * rows * columns))


def text_tower_on_device(ids: Int[Array, "B T"], tower: TextTower, view: View) -> TowerOutput:
    """Embeddings, layers and norm, and the ends of the texts."""
    return TowerOutput(*_as_graph(text_tower.textbook, ids, tower, view, ids.size))


def text_vectors_on_device(ids: Int[Array, "B T"], tower: TextTower, view: View) -> Float[Array, "B D"]:
    """The ends of the texts alone."""
    (vectors,) = _as_graph(_vectors, ids, tower, view, ids.size)
    return vectors


def _vectors(ids: Array, tower: TextTower, view: View) -> Arrays:
    return (vectors_of_ends(ids, tower, view),)


def _as_graph(compute: Callable[..., Any], x: Array, tower: Any, view: View, tokens: int) -> Arrays:
    """`compute(x, tower, view)`, as a graph where that pays."""
    floats = None if x.dtype.kind in "iu" else x
    if not x.size or tokens > TOKENS or _packed(view) or not computes(tower.some_array(), floats):
        return compute(x, tower, view)  # type: ignore[no-any-return]
    arrays: list[Array] = []
    return GRAPHS.run(_Call(compute, _take_apart(view, arrays)), tower, (x, *arrays))


def _packed(view: View) -> bool:
    """Whether a row of the batch holds several sequences."""
    return isinstance(view, Packed) or (isinstance(view, Both) and (_packed(view.first) or _packed(view.second)))


@dataclass(frozen=True)
class _Call:
    """`compute` as a function of the tower and of arrays alone, equal to another one of the same kind.

    Attributes:
        view: its type and fields, with `_ARRAY` in the place of each array.
    """

    compute: Callable[..., Any]
    view: tuple[Any, ...]

    def __call__(self, tower: Any, x: Array, *arrays: Array) -> Arrays:
        return tuple(self.compute(x, tower, _put_together(self.view, iter(arrays))))


def _take_apart(view: View, arrays: list[Array]) -> tuple[Any, ...]:
    """(type, fields …) of a view; its arrays are appended to `arrays`."""
    parts: list[Any] = [type(view)]
    for f in fields(view):  # type: ignore[arg-type]
        value = getattr(view, f.name)
        if isinstance(value, View):
            value = _take_apart(value, arrays)
        elif is_array(value):
            arrays.append(value)
            value = _ARRAY
        parts.append(value)
    return tuple(parts)


def _put_together(parts: tuple[Any, ...], arrays: Iterator[Array]) -> View:
    """The view that `_take_apart` took apart, with other arrays."""
    kind, *values = parts
    for i, value in enumerate(values):
        if value is _ARRAY:
            values[i] = next(arrays)
        elif isinstance(value, tuple) and value and isinstance(value[0], type):
            values[i] = _put_together(value, arrays)
    return kind(*values)  # type: ignore[no-any-return]
