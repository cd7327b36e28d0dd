"""CUDA graphs: what a function launched once, launched again as a whole.

Launching a kernel or a product takes the host some microseconds; an image's 24 layers are 192 of them. A graph is one.
It computes where it was recorded: its inputs are copied to its own memory, its results from there. Few graphs are kept,
and none longer than the module it belongs to. `GRAPHS.counts()` says how many there were, and how often they were used.
"""

import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Lock
from traceback import clear_frames
from typing import Any
from weakref import WeakKeyDictionary, ref

from aimv2_np.backends.arrays import namespace
from aimv2_np.backends.context import having
from aimv2_np.backends.parallel import when_forked
from aimv2_np.errors import NoGraphWarning, plain
from aimv2_np.kernels.cuda import cublas
from aimv2_np.kernels.cuda.gemm import uses_tf32
from aimv2_np.shapes import Array
from aimv2_np.tree.module import Module

KEPT = 16  # graphs per module: of the kinds of input that came last
TOKENS = 8192  # up to which launching the kernels of a layer may take longer than running them: docs/gpu.md

Arrays = tuple[Array | None, ...]

_to_be_recorded: ContextVar[bool] = ContextVar("to_be_recorded", default=False)  # what runs, when it comes again


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

    def __del__(self) -> None:
        if not sys.is_finalizing():
            self.graph, self.inputs, self.outputs = None, (), ()
            self.pool.free_all_blocks()  # which CuPy's pools do not do by themselves when they go


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
        self.unlock()
        self._entries: WeakKeyDictionary[Any, OrderedDict[Any, _Entry]] = WeakKeyDictionary()
        self._recorded = self._replayed = self._failed = 0
        self._reasons: dict[str, None] = {}  # in the order they came

    def unlock(self) -> None:
        """A new lock: in a forked process nobody is left to release the one that was held."""
        self._lock = Lock()

    def counts(self) -> dict[str, Any]:
        """So far: graphs "recorded", how often they were "replayed", recordings that "failed", and their "reasons"."""
        with self._lock:
            return {
                "recorded": self._recorded, "replayed": self._replayed, "failed": self._failed,
                "reasons": list(self._reasons),
            }  # fmt: skip

    def run(self, function: Callable[..., Arrays], owner: Any, inputs: Arrays) -> Arrays:
        """`function(owner, *inputs)`. NoGraphWarning, once for each reason, when that cannot be recorded.

        Args:
            function: reads no arrays but its inputs and those of `owner`, and changes none of them.
            owner: a module, or a list of modules; when it (of a list: the first) is gone, so are its graphs.
            inputs: arrays of which the first is on the device; None in the place of one that is not there.
        """
        stream = namespace(inputs[0]).cuda.get_current_stream()
        capturing = stream.ptr and stream.is_capturing()  # the user, or a recording around this one: none in another
        if capturing or _to_be_recorded.get():  # or a part of what will be recorded as a whole
            return function(owner, *inputs)
        entry = self._entry(function, owner, inputs)
        if entry is None:
            with having(_to_be_recorded, True):
                return function(owner, *inputs)
        if not entry.recordable:
            return function(owner, *inputs)
        if entry.graph is None:
            entry.graph, reason = self._record(lambda *own: function(owner, *own), inputs)
            if entry.graph is None:
                result = function(owner, *inputs)  # whose own error, if it has one, says more
                entry.recordable = False
                self._tell(reason)
                return result
        with self._lock:
            self._replayed += 1
        return entry.graph.run(inputs)

    def _record(self, function: Callable[..., Arrays], inputs: Arrays) -> tuple[Graph | None, str]:
        """The graph; or None, and why there is none."""
        pool = private_pool(namespace(inputs[0]))
        try:
            graph = capture(function, inputs, pool)
        except Exception as error:  # something in it waits for the device, or fails
            reason = f"{type(error).__name__}: {plain(' '.join(str(error).split()), 200)}"
            clear_frames(error.__traceback__)  # whose variables hold arrays of the pool
        else:
            with self._lock:
                self._recorded += 1
            return graph, ""
        pool.free_all_blocks()
        with self._lock:
            self._failed += 1
        return None, reason

    def _tell(self, reason: str) -> None:
        with self._lock:
            known = reason in self._reasons
            self._reasons[reason] = None
        if not known:
            warnings.warn(
                f"no CUDA graph could be recorded ({reason}): kernels are launched one by one, which takes longer for "
                "small inputs; results are the same",
                NoGraphWarning,
                stacklevel=3,
            )

    def _entry(self, function: Callable[..., Arrays], owner: Any, inputs: Arrays) -> _Entry | None:
        """The entry of this kind; None when it comes for the first time, or the module is not what it was then."""
        modules = owner if isinstance(owner, list) else [owner]
        kind = (*_kind(function, inputs), len(modules))  # the first layers of a tower are other work than all of them
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
        holders += [vars(x) if isinstance(x, Module) else x for _, x in items if isinstance(x, Module | list)]
    return _Entry([ref(module) for module in modules], sizes, contents)


def _kind(function: Callable[..., Arrays], inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    shapes = tuple(None if x is None else (x.shape, x.dtype) for x in inputs)
    return function, shapes, inputs[0].device.id, uses_tf32()


def private_pool(xp: Any) -> Any:
    """A pool from which nobody else gets anything.

    When a pool of CuPy's runs out of memory it frees what lies unused in it, and tries again. In the middle of a
    recording that would be memory that earlier kernels of the graph work in. So another error is raised than CUDA's,
    on which the pool gives up at once.
    """

    def allocate(size: int) -> Any:
        try:
            return xp.cuda.MemoryPointer(xp.cuda.Memory(size), 0)
        except xp.cuda.runtime.CUDARuntimeError as error:
            raise MemoryError(f"the device has no {size:,} bytes for the graph") from error

    pool = xp.cuda.MemoryPool(allocate)
    pool.set_limit(size=0)  # CUPY_GPU_MEMORY_LIMIT, which is the default pool's, is for CuPy each pool's
    return pool


def capture(function: Callable[..., Arrays], inputs: Sequence[Array | None], pool: Any) -> Graph:
    """What `function(*inputs)` launches, on copies of the inputs, recorded and not run, in memory of `pool`.

    Raises what `function` raises, and RuntimeError where cuBLAS cannot be recorded.
    """
    from cupy_backends.cuda.libs import cublas as wrappers

    xp = namespace(inputs[0])
    cublas.library(wrappers)
    xp.cuda.device.get_cublas_handle()  # made here, not while recording
    stream = xp.cuda.Stream(non_blocking=True)
    with xp.cuda.using_allocator(pool.malloc), stream:
        own = tuple(None if x is None else xp.empty(x.shape, x.dtype) for x in inputs)
        stream.begin_capture()
        try:
            outputs = function(*own)
        except BaseException:
            with suppress(Exception):  # what has gone wrong is said by the first error
                stream.end_capture()
            raise
        graph = stream.end_capture()
    return Graph(graph, own, outputs, pool, xp.cuda.Event(disable_timing=True))


GRAPHS = Graphs()
when_forked(GRAPHS.unlock)
