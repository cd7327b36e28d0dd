"""Arrays that lie one after the other in one larger array, so that one matrix product serves them all.

Three products of x with the weights of q, k and v are one product with the weights stacked: (3·D, D). Kernels name such
neighbours by `keep_together`; on a device they are kept as views of the stacked array, under the names and shapes that
they have anyway, so that nothing is held twice.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate

from aimv2_np.backends.arrays import backend_of, namespace
from aimv2_np.shapes import Array

_groups: list[tuple[str, ...]] = []  # ends of paths: "q_proj.weight", …


def keep_together(*names: str) -> None:
    """Stack arrays of one module that have these names, `"q_proj.weight"` and others, on a device, in this order."""
    if names not in _groups:
        _groups.append(names)


class Stacker:
    """Lays the arrays of a tree out on a device, as they arrive one by one.

    Args:
        shapes: path -> shape of every array of the tree.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._place: dict[str, tuple[tuple[str, ...], slice]] = {}  # path -> its group's paths, its rows among theirs
        self._stacks: dict[tuple[str, ...], Array] = {}
        for names in _groups:
            for path in shapes:
                prefix = path.removesuffix(names[0])
                group = tuple(prefix + name for name in names)
                if path == group[0] and prefix[-1:] in ("", ".") and all(other in shapes for other in group):
                    ends = list(accumulate(shapes[other][0] for other in group))
                    rows = map(slice, [0, *ends], ends)
                    self._place.update({other: (group, own) for other, own in zip(group, rows, strict=True)})

    def __call__(self, path: str, array: Array) -> Array:
        """`array`, or where it is to be stacked, a view of the stack that it has been copied to."""
        if path not in self._place:
            return array
        group, rows = self._place[path]
        if group not in self._stacks:
            shape = (self._place[group[-1]][1].stop, *array.shape[1:])
            self._stacks[group] = namespace(array).empty(shape, array.dtype)
        view = self._stacks[group][rows]
        view[...] = array
        return view


def stacked(arrays: Sequence[Array]) -> Array | None:
    """The arrays as one, (Σ rows, …), without a copy; None where they do not lie one after the other in one stack."""
    first = arrays[0]
    if backend_of(first) == "numpy":
        return None
    end = first.data.ptr
    for array in arrays:
        neighbour = array.data.mem is first.data.mem and array.data.ptr == end and array.flags.c_contiguous
        if not neighbour or array.shape[1:] != first.shape[1:] or array.dtype != first.dtype:
            return None
        end += array.nbytes
    rows = sum(len(array) for array in arrays)
    return namespace(first).ndarray((rows, *first.shape[1:]), first.dtype, memptr=first.data)
