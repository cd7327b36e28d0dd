"""CUDA graphs: what a function launched once, launched again as a whole.

Launching a kernel takes the host some microseconds; a picture's 24 blocks are 170 launches. A graph is one. It computes
where it was recorded: its inputs are copied to its own memory, its results from there. Few graphs are kept, and none
longer than the module it belongs to.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary, ref

from aimv2_np.backends.arrays import namespace
from aimv2_np.kernels.cuda.gemm import uses_tf32
from aimv2_np.shapes import Array
from aimv2_np.tree.module import Module

KEPT = 8  # graphs per module: of the kinds of input that came last
TOKENS = 2048  # up to which the kernels of a block take about as long as launching them

Arrays = tuple[Array | None, ...]


@dataclass
class Graph:
    """A recording with the memory it works in. One call at a time may use it; the lock and the event see to that."""

    graph: Any
    inputs: Arrays
    outputs: Arrays
    pool: Any  # of everything between them
    last: Any  # the event behind the latest use, on whatever stream
    lock: Lock = field(default_factory=Lock)

    def run(self, inputs: Arrays) -> Arrays:
        """The outputs for these inputs, on the current stream; waits on the device, not on the host."""
        stream = namespace(inputs[0]).cuda.get_current_stream()
        with self.lock:
            stream.wait_event(self.last)
            for own, given in zip(self.inputs, inputs, strict=True):
                if own is not None:
                    own[...] = given
            self.graph.launch()
            outputs = tuple(None if own is None else own.copy() for own in self.outputs)
            self.last.record(stream)
        return outputs


@dataclass
class _Entry:
    """What is known of a kind of input: that it came, and later its recording, or that there can be none."""

    modules: list[ref[Module]]
    sizes: list[tuple[Any, int]]  # of every dictionary and list in the modules, when it came
    contents: list[tuple[Any, Any, Any]]  # of those: (dictionary or list, key, value)
    graph: Graph | None = None
    recordable: bool = True

    def fits(self, modules: list[Module]) -> bool:
        """Whether it was these modules, and they are what they were."""
        if len(modules) != len(self.modules) or any(a() is not b for a, b in zip(self.modules, modules, strict=True)):
            return False
        if [size for _, size in self.sizes] != [len(holder) for holder, _ in self.sizes]:
            return False
        for holder, key, value in self.contents:  # noqa: SIM110  # a thousand; all(…) would take twice as long
            if holder[key] is not value:
                return False
        return True


class Graphs:
    """The graphs of all models. A kind of input runs as it is when it comes first, and is recorded the second time."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._entries: WeakKeyDictionary[Any, OrderedDict[Any, _Entry]] = WeakKeyDictionary()

    def run(self, function: Callable[..., Arrays], owner: Any, inputs: Arrays) -> Arrays:
        """`function(owner, *inputs)`.

        Args:
            function: reads no arrays but its inputs and those of `owner`, and changes none of them.
            owner: a module, or a list of modules; when it (of a list: the first) is gone, so are its graphs.
            inputs: arrays of which the first is on the device; None in the place of one that is not there.
        """
        stream = namespace(inputs[0]).cuda.get_current_stream()
        if stream.ptr and stream.is_capturing():  # by the user, or by a recording around this one: none within another
            return function(owner, *inputs)
        entry = self._entry(function, owner, inputs)
        if entry is None or not entry.recordable:
            return function(owner, *inputs)
        if entry.graph is None:
            try:
                entry.graph = record(lambda *own: function(owner, *own), inputs)
            except Exception:  # something in it waits for the device, or fails: launched one by one, it says what
                entry.recordable = False
                return function(owner, *inputs)
        return entry.graph.run(inputs)

    def _entry(self, function: Callable[..., Arrays], owner: Any, inputs: Arrays) -> _Entry | None:
        """The entry of this kind; None when it comes for the first time, or the module is not what it was then."""
        kind = _kind(function, inputs)
        modules = owner if isinstance(owner, list) else [owner]
        with self._lock:
            entries = self._entries.setdefault(modules[0], OrderedDict())
            entry = entries.get(kind)
            if entry is None or not entry.fits(modules):
                entries[kind] = _entry_of(modules)
                entry = None
            entries.move_to_end(kind)
            while len(entries) > KEPT:
                entries.popitem(last=False)
            return entry

    def clear(self) -> None:
        """Forget all graphs, and free their memory."""
        with self._lock:
            self._entries.clear()


def _entry_of(modules: list[Module]) -> _Entry:
    """What the modules hold now, down to the arrays, to be compared in microseconds: `state_dict` takes a thousand.

    It must not hold a module itself, with which the graph is to go.
    """
    sizes: list[tuple[Any, int]] = []
    contents: list[tuple[Any, Any, Any]] = []
    holders: list[Any] = [vars(module) for module in modules]
    for holder in holders:  # which grows meanwhile
        items = list(holder.items() if isinstance(holder, dict) else enumerate(holder))
        sizes.append((holder, len(items)))
        contents += [(holder, key, value) for key, value in items]
        holders += [vars(it) if isinstance(it, Module) else it for _, it in items if isinstance(it, Module | list)]
    return _Entry([ref(module) for module in modules], sizes, contents)


def _kind(function: Callable[..., Arrays], inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    shapes = tuple(None if it is None else (it.shape, it.dtype) for it in inputs)
    return function, shapes, inputs[0].device.id, uses_tf32()


def record(function: Callable[..., Arrays], inputs: Sequence[Array | None]) -> Graph:
    """What `function(*inputs)` launches, on copies of the inputs, recorded and not run.

    Memory of a pool of its own, which nobody else gets anything from while the graph lives.
    """
    xp = namespace(inputs[0])
    pool = xp.cuda.MemoryPool()
    xp.cuda.device.get_cublas_handle()  # made here, not while recording
    stream = xp.cuda.Stream(non_blocking=True)
    with xp.cuda.using_allocator(pool.malloc), stream:
        own = tuple(None if it is None else xp.empty(it.shape, it.dtype) for it in inputs)
        stream.begin_capture()
        try:
            outputs = function(*own)
        finally:
            graph = stream.end_capture()
    return Graph(graph, own, outputs, pool, xp.cuda.Event(disable_timing=True))


GRAPHS = Graphs()
