"""Who sees whom: which keys each query of attention may look at, as one value that layers pass on unread.

    query i of sequence b may look at key j where
        Everyone              always
        Causal                j ≤ i
        Prefix(lengths)       j ≤ i or j < lengths_b
        Padded(keys)          keys_bj ≠ 0
        Packed(lengths)       i and j lie in the same of several sequences that follow one another in one row
        Mask(allowed)         allowed_bij
        first & second        both say so

AIMv2's image tower was trained with Prefix and is used with Everyone; its text tower is causal. Fini et al. 2024
(arXiv:2411.14402), section 2. A kernel may know some of these types and be faster for them; `allowed`
serves the others.
"""

from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar

from aimv2_np.shapes import Array, Bool, Int


class View:
    """What all views have in common."""

    sequences: ClassVar[int] = 1  # in each row of the batch
    padding: ClassVar[Array | None] = None  # (B, M), 0 where a key is padding; None where none is

    def allowed(self, xp: ModuleType, queries: int, keys: int) -> Bool[Array, "#B 1 #N M"] | None:
        """Where a query may look at a key, as an array of `xp`; None: everywhere. See docs/equations.md, (16)."""
        raise NotImplementedError

    def of(self, rows: slice) -> "View":
        """The same for some sequences of the batch."""
        return self

    def pooled(self) -> "View":
        """What one further query for each sequence may look at: all of that sequence's keys."""
        return self

    def __and__(self, other: "View") -> "View":
        return self if isinstance(other, Everyone) else Both(self, other)


@dataclass(frozen=True)
class Everyone(View):
    """Every query looks at every key."""

    def allowed(self, xp: ModuleType, queries: int, keys: int) -> None:
        return None

    def __and__(self, other: View) -> View:
        return other


@dataclass(frozen=True)
class Causal(View):
    """A query looks at its own position and at earlier ones: j ≤ i."""

    def allowed(self, xp: ModuleType, queries: int, keys: int) -> Bool[Array, "1 1 N M"]:
        return (xp.arange(keys) <= xp.arange(queries)[:, None])[None, None]

    def pooled(self) -> View:
        return EVERYONE


@dataclass(frozen=True, eq=False)
class Prefix(View):
    """Causal, but for the first `lengths[b]` keys, at which all queries look: j ≤ i or j < lengths_b.

    See docs/equations.md, (32).
    """

    lengths: Int[Array, "B"]

    def allowed(self, xp: ModuleType, queries: int, keys: int) -> Bool[Array, "B 1 N M"]:
        prefix = xp.arange(keys) < self.lengths[:, None]  # (B, M)
        return CAUSAL.allowed(xp, queries, keys) | prefix[:, None, None]

    def of(self, rows: slice) -> "Prefix":
        return Prefix(self.lengths[rows])

    def pooled(self) -> View:
        return EVERYONE


@dataclass(frozen=True, eq=False)
class Padded(View):
    """Nobody looks at padding: `keys` (B, M) is 1 for a token and 0 for padding."""

    keys: Int[Array, "B M"]

    @property
    def padding(self) -> Array:  # type: ignore[override]
        return self.keys

    def allowed(self, xp: ModuleType, queries: int, keys: int) -> Bool[Array, "B 1 1 M"]:
        return (self.keys != 0)[:, None, None]

    def of(self, rows: slice) -> "Padded":
        return Padded(self.keys[rows])


@dataclass(frozen=True)
class Packed(View):
    """Several sequences follow one another in one row (a batch of one), and each looks at itself.

    See docs/equations.md, (9).

    Attributes:
        lengths: how many keys each has; M is their sum.
        queries: how many queries each has, where these are others than the keys; N is their sum.
    """

    lengths: tuple[int, ...]
    queries: tuple[int, ...] | None = None

    @property
    def sequences(self) -> int:  # type: ignore[override]
        return len(self.lengths)

    def slices(self) -> list[tuple[slice, slice]]:
        """The queries and the keys of each sequence."""
        return list(zip(_slices(self.queries or self.lengths), _slices(self.lengths), strict=True))

    def allowed(self, xp: ModuleType, queries: int, keys: int) -> Bool[Array, "1 1 N M"]:
        owners = [xp.repeat(xp.arange(len(own)), own) for own in (self.queries or self.lengths, self.lengths)]
        return (owners[0][:, None] == owners[1])[None, None]

    def pooled(self) -> "Packed":
        return Packed(self.lengths, (1,) * len(self.lengths))


@dataclass(frozen=True, eq=False)
class Mask(View):
    """Any other rule: `mask` (B or 1, 1, N or 1, M) is True where a query may look at a key."""

    mask: Bool[Array, "#B 1 #N M"]

    def allowed(self, xp: ModuleType, queries: int, keys: int) -> Bool[Array, "#B 1 #N M"]:
        return self.mask

    def of(self, rows: slice) -> "Mask":
        return Mask(self.mask[rows]) if len(self.mask) > 1 else self


@dataclass(frozen=True)
class Both(View):
    """What two views both allow."""

    first: View
    second: View

    @property
    def sequences(self) -> int:  # type: ignore[override]
        return max(self.first.sequences, self.second.sequences)

    @property
    def padding(self) -> Array | None:  # type: ignore[override]
        first, second = self.first.padding, self.second.padding
        return second if first is None else first if second is None else (first != 0) & (second != 0)

    def allowed(self, xp: ModuleType, queries: int, keys: int) -> Bool[Array, "#B 1 #N M"] | None:
        first, second = self.first.allowed(xp, queries, keys), self.second.allowed(xp, queries, keys)
        return second if first is None else first if second is None else first & second

    def of(self, rows: slice) -> View:
        return self.first.of(rows) & self.second.of(rows)

    def pooled(self) -> View:
        return self.first.pooled() & self.second.pooled()


def _slices(lengths: tuple[int, ...]) -> list[slice]:
    ends = [sum(lengths[: i + 1]) for i in range(len(lengths))]
    return [slice(end - length, end) for end, length in zip(ends, lengths, strict=True)]


EVERYONE = Everyone()
CAUSAL = Causal()
