"""Where the time of a forward pass goes: every operation, how fast it is, and how fast this machine could do it.

Operations are timed as they are called, each without those that it calls in turn. An operation with weights is measured
against the matrix library's rate for the same shapes, attention against the rate for the whole model, and one without
products against the memory: what it reads and writes at least, once. Numbers that are still in a cache may beat that.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import signature
from itertools import chain
from typing import Any

from aimv2_np.backends.arrays import is_array
from aimv2_np.backends.operation import Operation, watching
from aimv2_np.bench.ceilings import Shape
from aimv2_np.shapes import Array

# Operations whose arguments of two axes are no weights.
PRODUCTS_OF: dict[str, Callable[..., int]] = {
    "attention": lambda q, k, v, *_, **__: 2 * q.size * k.shape[2] + 2 * q.size // q.shape[3] * k.shape[2] * v.shape[3],
    "gated": lambda *_, **__: 0,
}


@dataclass
class Entry:
    """All calls of one operation with weights of one shape.

    Attributes:
        calls: how many.
        seconds: in it and not in operations that it calls.
        flops: of its matrix products, by formula.
        moved: bytes of its arguments and results.
        shapes: products with weights, and operations in each.
    """

    calls: int = 0
    seconds: float = 0.0
    flops: int = 0
    moved: int = 0
    shapes: dict[Shape, int] = field(default_factory=dict)


@dataclass
class Profile:
    """What was seen between the start and the end of `profiling`.

    Attributes:
        entries: by label, such as "linear 1024->2816".
        seconds: of all of it on the clock.
        threads: how many called operations; the seconds of entries are of all of them.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    seconds: float = 0.0
    threads: int = 1

    @property
    def elsewhere(self) -> float:
        """Seconds between operations: sums with the residual stream, checks, copies, and threads that wait."""
        return max(0.0, self.threads * self.seconds - sum(entry.seconds for entry in self.entries.values()))

    def lines(self, rates: dict[Shape, float], rate: float, bandwidth: float) -> list[dict[str, Any]]:
        """For JSON, the longest first.

        Args:
            rates: operations per second of products of these shapes.
            rate: of all products of the model together, for shapes that are not among them.
            bandwidth: bytes per second.
        """
        found: list[dict[str, Any]] = []
        for label, entry in self.entries.items():
            seconds = entry.seconds / self.threads
            if entry.flops:
                at_best = sum(count / rates.get(shape, rate) for shape, count in entry.shapes.items())
                at_best += (entry.flops - sum(entry.shapes.values())) / rate
                done, ceiling, unit = entry.flops, entry.flops / at_best, "GFLOP/s"
            else:
                done, ceiling, unit = entry.moved, bandwidth, "GB/s"
            found.append({
                "operation": label, "calls": entry.calls, "seconds": seconds, "share": seconds / self.seconds,
                "unit": unit, "achieved": done / max(seconds, 1e-12) / 1e9, "ceiling": ceiling / 1e9,
            })  # fmt: skip
        rest = {"operation": "between operations", "calls": None, "seconds": self.elsewhere / self.threads}
        share = self.elsewhere / (self.threads * self.seconds)
        found.append({**rest, "share": share, "unit": None, "achieved": None, "ceiling": None})
        return sorted(found, key=lambda line: -line["seconds"])


@contextmanager
def profiling() -> Iterator[Profile]:
    """Time every operation that is called inside the block, in any thread."""
    profile = Profile()
    watch = _Watch(profile)
    began = time.perf_counter()
    with watching(watch):
        yield profile
    profile.seconds = time.perf_counter() - began
    profile.threads = max(1, len(watch.threads))


@dataclass
class _Call:
    seconds: float = 0.0  # of the operations that it called
    flops: int = 0


class _Watch:
    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.threads: set[int] = set()
        self._running = threading.local()
        self._lock = threading.Lock()

    def __call__(self, op: Operation[..., Any], body: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        stack: list[_Call] = self._running.__dict__.setdefault("stack", [])
        inside = _Call()
        stack.append(inside)
        began = time.perf_counter()
        try:
            result = body(*args, **kwargs)
        finally:
            seconds = time.perf_counter() - began
            stack.pop()
        inside.flops += self._add(op, args, kwargs, result, seconds - inside.seconds, inside.flops)
        if stack:
            stack[-1].seconds += seconds
            stack[-1].flops += inside.flops
        return result

    def _add(
        self, op: Operation[..., Any], args: Any, kwargs: Any, result: Any, seconds: float, flops_inside: int
    ) -> int:
        """Enter a call, with the seconds of its own, and return the operations of its own."""
        name = op.textbook.__name__
        weights = [] if name in PRODUCTS_OF else list(_weights(op, args, kwargs))
        shapes = _shapes(weights, args[0], result)
        flops = PRODUCTS_OF[name](*args, **kwargs) if name in PRODUCTS_OF else sum(shape.flops for shape in shapes)
        if flops_inside:  # the products are those of the operations that it called
            shapes, flops = [], 0
        label = " ".join([name, *dict.fromkeys(f"{shape.k}->{shape.n}" for shape in shapes)])
        arrays = chain(_arrays([*args, *kwargs.values()]), _arrays([result]))
        with self._lock:
            self.threads.add(threading.get_ident())
            entry = self.profile.entries.setdefault(label, Entry())
            entry.calls += 1
            entry.seconds += seconds
            entry.moved += sum(array.nbytes for array in arrays)
            entry.flops += flops
            for shape in shapes:
                entry.shapes[shape] = entry.shapes.get(shape, 0) + shape.flops
        return flops


def _weights(op: Operation[..., Any], args: Any, kwargs: Any) -> Iterator[Array]:
    """The arguments behind the first that rows are multiplied with: matrices, and what calls itself a weight."""
    bound = signature(op.textbook).bind(*args, **kwargs).arguments
    for name, value in list(bound.items())[1:]:
        for array in _arrays([value]):
            if array.ndim == 2 or (array.ndim > 2 and "weight" in name):
                yield array


def _shapes(weights: list[Array], x: Array, result: Any) -> list[Shape]:
    """The products of the rows of `x` with weights (outputs, inputs …)."""
    if not weights:
        return []
    has_rows = any(x.shape[-1] == weight.shape[-1] for weight in weights if weight.ndim == 2)
    rows_of = x if has_rows else next(_arrays([result]))
    rows = rows_of.size // rows_of.shape[-1]
    return [Shape(rows, weight.size // weight.shape[0], weight.shape[0]) for weight in weights]


def _arrays(values: Iterable[Any]) -> Iterator[Array]:
    for value in values:
        if is_array(value):
            yield value
        elif isinstance(value, list | tuple):
            yield from _arrays(value)
