"""Connected components of rows: which of them a chain of pairs leads to."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.intp]
SHORTEN: Final = 64  # how often rows are connected before all paths to a root are made half as long


class Components:
    """Which of N rows are connected: a forest, in which the root of each tree is its smallest row."""

    def __init__(self, count: int) -> None:
        self._parents = np.arange(count)
        self._joined = 0

    def roots(self, rows: Rows) -> Rows:
        """The smallest row that each of `rows` is connected with; threads may ask while another joins."""
        found = self._parents[rows]
        while not np.array_equal(above := self._parents[found], found):
            found = above
        return found

    def are_apart(self, a: Rows, b: Rows) -> NDArray[np.bool_]:
        """Of each pair whether it is not known to be connected."""
        apart: NDArray[np.bool_] = self.roots(a) != self.roots(b)
        return apart

    def join(self, a: Rows, b: Rows) -> None:
        """Connect the rows of each pair."""
        self._joined += len(a) > 0
        if self._joined == SHORTEN:
            self._parents[:] = self._parents[self._parents]
            self._joined = 0
        while len(a):
            a, b = self.roots(a), self.roots(b)
            left = a != b
            a, b = a[left], b[left]
            # Each round, every tree of a pair that is not the smallest there hangs onto another one.
            np.minimum.at(self._parents, np.maximum(a, b), np.minimum(a, b))

    def are_one(self, *some: slice) -> bool:
        """Whether all rows of these slices are known to be connected."""
        roots = np.concatenate([self.roots(np.arange(rows.start, rows.stop)) for rows in some])
        return bool((roots == roots[0]).all())
