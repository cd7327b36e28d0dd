"""CUDA graphs: what a function launched once, launched again as a whole.

Launching a kernel takes the host some microseconds; a picture's 24 blocks are 170 launches. A graph is one. It computes
where it was recorded: its inputs are copied to its own memory, its result from there. Few graphs are kept, and none
longer than the layers it belongs to.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

from aimv2_np.arrays import namespace
from aimv2_np.kernels.cuda.gemm import uses_tf32
from aimv2_np.shapes import Array

KEPT = 8  # graphs per list of layers: of the shapes that came last


@dataclass
class Graph:
    """A recording with the memory it works in. One call at a time may use it; the lock and the event see to that."""

    graph: Any
    inputs: list[Array]
    output: Array
    pool: Any  # of everything between them
    last: Any  # the event behind the latest use, on whatever stream
    lock: Lock = field(default_factory=Lock)

    def run(self, inputs: Sequence[Array]) -> Array:
        """The output for these inputs, on the current stream; waits on the device, not on the host."""
        xp = namespace(inputs[0])
        with self.lock:
            stream = xp.cuda.get_current_stream()
            stream.wait_event(self.last)
            for own, given in zip(self.inputs, inputs, strict=True):
                own[...] = given
            self.graph.launch()
            output = self.output.copy()
            self.last.record(stream)
        return output


@dataclass
class _Entry:
    """What is known of one kind of input: seen once, or recorded; with the weights that it was recorded for."""

    weights: list[Array]
    graph: Graph | None = None


class Graphs:
    """The graphs of all models. A kind of input runs as it is when it comes first, and is recorded the second time."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._entries: WeakKeyDictionary[Any, OrderedDict[Any, _Entry]] = WeakKeyDictionary()

    def run(
        self, function: Callable[..., Array], layers: Sequence[Any], inputs: Sequence[Array], weights: list[Array]
    ) -> Array:
        """`function(layers, *inputs)`, which may change its first input, and launches nothing but kernels and products.

        Args:
            function: what to run.
            layers: modules that `weights` belong to; when the first is gone, so are its graphs.
            inputs: arrays without gaps. They are not changed.
            weights: all other arrays that the function reads; with others in their place it is recorded anew.
        """
        xp = namespace(inputs[0])
        stream = xp.cuda.get_current_stream()
        if stream.ptr and stream.is_capturing():  # the user records: a graph cannot be launched into another
            return function(layers, inputs[0].copy(), *inputs[1:])
        entry = self._entry(layers[0], _kind(function, inputs, len(layers)), weights)
        if entry is None:  # for the first time: kernels are compiled, and found out to fit
            return function(layers, inputs[0].copy(), *inputs[1:])
        if entry.graph is None:
            entry.graph = record(lambda *own: function(layers, *own), inputs)
        return entry.graph.run(inputs)

    def _entry(self, owner: Any, kind: tuple[Any, ...], weights: list[Array]) -> _Entry | None:
        """The entry of this kind; None when it comes for the first time, or with other weights than before."""
        with self._lock:
            entries = self._entries.setdefault(owner, OrderedDict())
            entry = entries.get(kind)
            if entry is None or not _same(entry.weights, weights):
                entries[kind] = _Entry(weights)
                entry = None
            entries.move_to_end(kind)
            while len(entries) > KEPT:
                entries.popitem(last=False)
            return entry

    def clear(self) -> None:
        """Forget all graphs, and free their memory."""
        with self._lock:
            self._entries.clear()


def _same(before: list[Array], now: list[Array]) -> bool:
    return len(before) == len(now) and all(a is b for a, b in zip(before, now, strict=True))


def _kind(function: Callable[..., Array], inputs: Sequence[Array], layers: int) -> tuple[Any, ...]:
    shapes = tuple((array.shape, array.dtype.name) for array in inputs)
    return function, shapes, layers, inputs[0].device.id, uses_tf32()


def record(function: Callable[..., Array], inputs: Sequence[Array]) -> Graph:
    """What `function(*inputs)` launches, on copies of the inputs, recorded and not run.

    Memory of a pool of its own, which nobody else gets anything from while the graph lives.
    """
    xp = namespace(inputs[0])
    pool = xp.cuda.MemoryPool()
    xp.cuda.device.get_cublas_handle()  # made here, not while recording
    stream = xp.cuda.Stream(non_blocking=True)
    with xp.cuda.using_allocator(pool.malloc), stream:
        own = [xp.empty(array.shape, array.dtype) for array in inputs]
        stream.begin_capture()
        try:
            output = function(*own)
        finally:
            graph = stream.end_capture()
    return Graph(graph, own, output, pool, xp.cuda.Event(disable_timing=True))


GRAPHS = Graphs()
