"""What is to be done for a file of features: which pictures it will hold, and which of them a complete one has already.

Pictures that the complete file has keep their order and their rows; new ones come after them in the order in which they
are given. With `sync` those that have changed are computed again, in their places, and those that are no longer given
are left out; without it nothing that is in the file is lost, and a change is an error.

The rows must be, to the bit, those of a run that begins with nothing. Where a picture's vector depends on nothing but
the picture (`alone`), each row stands for itself. Elsewhere rounding depends on what else is in the batch, and a row
is kept where its whole batch is the same as it was; the last, shorter batch is then computed again.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aimv2_np.tasks.embedding import parquet
from aimv2_np.tasks.embedding.checksums import checksums
from aimv2_np.tasks.embedding.embedder import ImageEmbedder
from aimv2_np.tasks.embedding.identity import alone
from aimv2_np.tasks.embedding.ledger import WIDTHS, Ledger, digests
from aimv2_np.tasks.embedding.sources import MISSING, Pictures, Place

COPIED: Final = 64  # pictures whose rows are copied at a time: of patches these are 64 MiB
ABSENT: Final = "it is not among the pictures that were given"
CHANGED: Final = (
    "{output}: {count:,} of its {total:,} pictures have changed since they were embedded{how}, the first {name}; "
    "nothing is written. --sync (sync=True) embeds them again, in their places, and drops those that are no longer "
    "given; --restart --force (restart=True, overwrite=True) embeds all anew"
)


@dataclass(frozen=True, eq=False)
class Plan:
    """The pictures of a run, and what is known of them before.

    Attributes:
        pictures: all M of the file that will be, in order.
        states: of each a text that changes when it does.
        record: "states" and "checksums", as the file will record them.
        taken: (M,) where in the ledger of the complete file a picture stands that is kept; -1 of the others.
        rows: the same, but -1 also of those that `in_batches` has computed again.
        ledger: of the complete file; None where there is none to add to.
        kept, added, changed, absent, dropped: how many pictures are given and stay as they are; are new; are computed
            again because they have changed; stay though they are not given; go.
    """

    pictures: Pictures
    states: tuple[str, ...]
    record: dict[str, NDArray[np.uint8]]
    taken: NDArray[np.int64]
    rows: NDArray[np.int64]
    ledger: Ledger | None = None
    kept: int = 0
    added: int = 0
    changed: int = 0
    absent: int = 0
    dropped: int = 0

    @property
    def is_done(self) -> bool:
        """Whether the complete file is what the run would make, and records of its pictures what is known now."""
        if self.ledger is None or self.added or self.changed or self.dropped:
            return False
        return all(np.array_equal(rows, getattr(self.ledger, what)) for what, rows in self.record.items())

    @property
    def digest(self) -> str:
        """Equal for pictures that have not changed, in the same order, given or not."""
        return sha256(self.record["states"].tobytes()).hexdigest()

    def in_batches(self, batch: int, embedder: ImageEmbedder) -> "Plan":
        """The same, with the rows that have to be computed again for the sake of the batch that they are in."""
        if self.ledger is None or self.is_done or alone(embedder):
            return self
        rows, absent = self.taken.copy(), np.array([place == ABSENT for place in self.pictures.places.values()])
        for start in range(0, len(rows), batch):
            some = rows[start : start + batch]  # a view: what is computed again is marked in it
            whole = min(batch, len(self.ledger) - int(some[0]))
            if some[0] < 0 or some[0] % batch or len(some) != whole or (np.diff(some) != 1).any():
                some[~absent[start : start + batch]] = -1  # what was not given may not be there to be read
        return replace(self, rows=rows)

    def stretches(self, start: int, batch: int) -> Iterator[tuple[int, int, bool]]:
        """From number `start` on: first number, the one after the last, and whether these rows are kept.

        Those that are computed begin at a multiple of `batch` wherever they can.
        """
        kept = self.rows >= 0
        edges = np.flatnonzero(np.diff(kept)) + 1
        for first, stop in pairwise([start, *edges[edges > start].tolist(), len(kept)]):
            if first == stop:
                continue
            whole = -(-first // batch) * batch
            starts = range(first, stop, COPIED) if kept[first] else [first, *([whole] if first < whole < stop else [])]
            for a, b in pairwise([*starts, stop]):
                yield a, b, bool(kept[a])

    def copied(self, start: int, stop: int) -> tuple[dict[str, NDArray[Any]], dict[int, str]]:
        """The arrays of pictures whose rows are kept, and the reasons of those of them that are broken."""
        assert self.ledger is not None
        at = self.rows[start:stop]
        broken = {start + i: self.ledger.reasons[n] for i, n in enumerate(at.tolist()) if n in self.ledger.reasons}
        return self.ledger.arrays(at), broken


def plan(found: Pictures, ledger: Ledger | None, output: Path, *, sync: bool, checksum: bool) -> Plan:
    """What is to be done so that `output` holds the pictures that were `found`, and those that it has already.

    Args:
        found: the pictures that were given.
        ledger: of the complete file that is there; None where everything is to be computed.
        sync, checksum: see `embed`.

    Raises ValueError for pictures that have changed, without `sync`.
    """
    stats = found.states()
    sums = checksums(found.places) if checksum else [""] * len(stats)
    new = {"states": digests(stats, "states"), "checksums": digests(sums, "checksums")}
    states = [total or state for total, state in zip(sums, stats, strict=True)]
    if ledger is None:
        none = np.full(len(stats), -1, np.int64)
        return Plan(found, tuple(states), new, none, none, added=len(stats))
    key = parquet.as_text if output.suffix.lower() == ".parquet" else str
    matched = _match(found, ledger, stats, _is_same(new, ledger, checksum), key, sync=sync)
    order, changed = matched.order, matched.changed
    if changed and not sync:
        hint = "; --checksum compares their contents" if ledger.checksums.any() else ""
        how = "" if checksum else f" (another size or time of modification{hint})"
        told = {"output": output, "count": len(changed), "total": len(ledger), "how": how, "name": changed[0]}
        raise ValueError(CHANGED.format(**told))
    places: dict[str, Place] = {}
    for now, then in order:
        name = found.names[now] if now >= 0 else ledger.names[then]
        places[name] = found.places[name] if now >= 0 else ABSENT
    taken = np.array([then for _, then in order], np.int64)
    return Plan(
        Pictures(places, found.duplicates, found.passed_over),
        tuple(states[now] if now >= 0 else ledger.states[then].tobytes().hex() for now, then in order),
        _record(new, ledger, order),
        taken,
        taken,
        ledger,
        kept=sum(now >= 0 and then >= 0 for now, then in order),
        added=matched.added,
        changed=len(changed),
        absent=matched.absent,
        dropped=matched.dropped,
    )


@dataclass
class _Matched:
    """Pictures that were found beside those of a complete file.

    Attributes:
        order: of each in the file that will be its number among those found, or -1, and in the ledger, or -1.
        changed: names of those that have to be computed again.
        added, absent, dropped: see `Plan`.
    """

    order: list[tuple[int, int]] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    added: int = 0
    absent: int = 0
    dropped: int = 0


def _match(
    found: Pictures,
    ledger: Ledger,
    stats: Sequence[str],
    same: Callable[[int, int], bool],
    key: Callable[[str], str],
    *,
    sync: bool,
) -> _Matched:
    """Those of the file first, in its order, by the names that it has for them (`key`)."""
    result = _Matched()
    numbers = {key(name): number for number, name in enumerate(found.names)}
    # What lies in a folder or an archive that cannot be read is not known to be gone.
    unread = tuple(f"{name}/" for name, place in found.places.items() if isinstance(place, str))
    for then, name in enumerate(ledger.names):
        now = numbers.pop(name, -1)
        gone = now < 0 or (stats[now] == MISSING and not same(now, then))
        if gone and (not sync or name.startswith(unread)):
            result.absent += 1
            result.order.append((-1, then))
        elif now < 0:
            result.dropped += 1
        elif gone or not same(now, then):
            result.changed.append(name)
            result.order.append((now, -1))
        else:
            result.order.append((now, then))
    result.added = len(numbers)
    result.order += [(now, -1) for now in numbers.values()]
    return result


def _is_same(new: dict[str, NDArray[np.uint8]], ledger: Ledger, checksum: bool) -> Callable[[int, int], bool]:
    """(number now, number then) → whether a picture is the same: by its contents where they are known, or its state."""
    by_contents = np.asarray(ledger.checksums.any(axis=1)) & checksum

    def same(now: int, then: int) -> bool:
        what = "checksums" if by_contents[then] else "states"
        return bool((new[what][now] == getattr(ledger, what)[then]).all())

    return same


def _record(
    new: dict[str, NDArray[np.uint8]], ledger: Ledger, order: list[tuple[int, int]]
) -> dict[str, NDArray[np.uint8]]:
    """What the file will record: of what was found the state now, of a kept picture the checksum that is known."""
    now, then = np.array(order, np.int64).reshape(-1, 2).T
    result = {}
    for what, width in WIDTHS.items():
        rows = np.zeros((len(order), width), np.uint8)
        rows[now >= 0] = new[what][now[now >= 0]]
        known = (then >= 0) & ~rows.any(axis=1)
        rows[known] = getattr(ledger, what)[then[known]]
        result[what] = rows
    return result
