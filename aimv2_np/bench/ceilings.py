"""What this machine can do at best: arithmetic in registers, matrix products of the model's shapes, bytes moved.

Products are measured in every way in which they can be spread over cores, and the fastest one counts: by our own
kernels in C, by the matrix library with its own threads, and by the library at one thread with one piece per core. The
operands of a product are used again and again and stay in the caches where they fit; a model's weights come from memory
each time, so the ceiling is not quite within reach. How many threads there are is what the caller says, whatever the
environment allows the matrix library.
"""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from timeit import timeit

import numpy as np
from threadpoolctl import ThreadpoolController

from aimv2_np.backends.parallel import parts
from aimv2_np.bench.flops import Product
from aimv2_np.bench.timing import stopwatch
from aimv2_np.kernels.native.library import Kernels, available, using
from aimv2_np.network.linear import linear

COPY_BYTES = 256 << 20  # beyond every cache
MIN_SECONDS = 5e-3  # of one timing: shorter ones tell more about the clock, and about the start of threads
PEAK_SECONDS = 0.1  # of one timing of the peak: long enough to be disturbed as a model is
TRIED = 64  # tasks of a thread, some milliseconds, to find the best instructions
CORNERS = 3  # timings of which the best counts, for what is not timed in turns


@dataclass(frozen=True)
class Shape:
    """(m, k) · (n, k)ᵀ: rows times a weight as it is stored."""

    m: int
    k: int
    n: int

    @property
    def flops(self) -> int:
        """Of one product."""
        return 2 * self.m * self.k * self.n


def shapes(products: Iterable[Product]) -> dict[Shape, int]:
    """The shapes of the products with weights, and how many operations of the model are in each."""
    found: dict[Shape, int] = {}
    for product in products:
        if not product.per_head:
            shape = Shape(product.m, product.k, product.n)
            found[shape] = found.get(shape, 0) + product.flops
    return found


class Peak:
    """Fused multiply-adds of registers, to be timed: kernels/native/peak.c, with the instructions that are best at it.

    Args:
        threads: to use.

    Raises ValueError where there are no kernels in C.
    """

    def __init__(self, threads: int) -> None:
        if not available():
            raise ValueError("the peak is measured by the kernels in C, and there are none here")
        self._threads = threads
        self._kernels = max(available().values(), key=self._try)
        self._tasks = max(threads, round(PEAK_SECONDS * self._try(self._kernels) / self._kernels.peak(1, 1)))

    def rate(self) -> float:
        """Floating-point operations per second now."""
        return self._rate_of(self._kernels, self._tasks)

    def _try(self, kernels: Kernels) -> float:
        tasks = TRIED * self._threads
        return max(self._rate_of(kernels, tasks) for _ in range(CORNERS))

    def _rate_of(self, kernels: Kernels, tasks: int) -> float:
        began = time.perf_counter()
        operations = kernels.peak(tasks, self._threads)
        return operations / (time.perf_counter() - began)


class Multiplier:
    """Products of one shape in float32, to be timed.

    Args:
        shape: of the product.
        threads: to use.
    """

    def __init__(self, shape: Shape, threads: int) -> None:
        rng = np.random.default_rng(0)
        self.shape, self.threads = shape, threads
        self._x = rng.standard_normal((shape.m, shape.k), dtype=np.float32)
        self._weight = rng.standard_normal((shape.n, shape.k), dtype=np.float32)
        self._out = np.empty((shape.m, shape.n), np.float32)
        self._blas = ThreadpoolController()
        self._pool = ThreadPoolExecutor(threads)
        self.repeats = 1
        self.ways: dict[str, Callable[[], None]] = {"library": self._whole}
        if threads > 1 and min(shape.m, shape.n) >= threads:
            self.ways["pieces"] = self._pieces
        if available():
            self.ways["ours"] = self._ours
        self.rate()  # what happens only once
        self.repeats = max(1, round(MIN_SECONDS / self.seconds()))

    def rate(self) -> float:
        """Floating-point operations per second now, in the fastest way."""
        return max(self._rate_of(way) for way in self.ways.values())

    def seconds(self) -> float:
        """Of one product now, in the fastest way."""
        return self.shape.flops / self.rate()

    def _rate_of(self, way: Callable[[], None]) -> float:
        # Set once per timing and not per product: asking a library takes as long as a small product.
        limit = 1 if way == self._pieces else self.threads  # which is how many threads ours takes, too
        with self._blas.limit(limits=limit, user_api="blas"):
            seconds = timeit(way, number=self.repeats)
        return self.repeats * self.shape.flops / seconds

    def _whole(self) -> None:
        np.matmul(self._x, self._weight.T, out=self._out)

    def _ours(self) -> None:
        with using(next(iter(available()))):
            self._out = linear(self._x, self._weight)

    def _pieces(self) -> None:
        def rows(part: slice) -> None:
            np.matmul(self._x[part], self._weight.T, out=self._out[part])

        def columns(part: slice) -> None:
            np.matmul(self._x, self._weight[part].T, out=self._out[:, part])

        m, n = self.shape.m, self.shape.n
        list(self._pool.map(rows if m > n else columns, parts(max(m, n), self.threads)))


def copy_bandwidth(threads: int, size: int = COPY_BYTES) -> float:
    """Bytes per second that copying moves, read and written ones together: `size` bytes, all `threads` at once."""
    source, target = np.ones(size // 4, np.float32), np.empty(size // 4, np.float32)
    pieces = parts(len(source), threads)

    def copy(part: slice) -> None:
        np.copyto(target[part], source[part])

    with ThreadPoolExecutor(threads) as pool:

        def once() -> None:
            list(pool.map(copy, pieces))

        once()
        return 2 * source.nbytes / min(stopwatch(once) for _ in range(CORNERS))


def combined_rate(flops: dict[Shape, int], rates: dict[Shape, float]) -> float:
    """Operations per second of all shapes together: all operations by the time that each takes at its own rate."""
    return sum(flops.values()) / sum(count / rates[shape] for shape, count in flops.items())
