"""What has been waited for: while one stream of a device works, another goes on, unless something orders the two.

In the stand-in everything happens at once, so the values would never show that nobody waited. Here each stream keeps
which work of each other stream is known to be done before its own next piece: a vector clock. Work that reads what is
not known to be written yet, or overwrites what is not known to have been read, raises `RaceError`; a device would
compute with whatever stands there at that moment.
"""

from collections.abc import Iterable
from itertools import count
from threading import RLock
from typing import Any

Key = tuple[int, int]  # of a stream: its device, its pointer (0: the device's legacy stream)
Clock = dict[Key, int]  # stream -> its latest piece of work that is known to be done


class RaceError(RuntimeError):
    """Two streams use the same memory, and nothing says which comes first."""


_lock = RLock()
_ticks = count(1)
_known: dict[Key, Clock] = {}  # of each stream
_host: Clock = {}  # what the host has waited for: in whatever thread, for threads hand on what they have waited for
_blocking: set[Key] = set()  # streams that wait for their device's legacy stream, as it does for them


def add_blocking(key: Key) -> None:
    with _lock:
        _blocking.add(key)


def work(key: Key, reads: Iterable[Any] = (), writes: Iterable[Any] = ()) -> None:
    """Work on a stream that reads and writes these blocks of memory; RaceError unless others' use was waited for."""
    with _lock:
        known = _start(key)
        known[key] = tick = next(_ticks)
        for block in reads:
            _require(known, block.written, "reads", "written", key)
            block.read[key] = tick
        for block in writes:
            _require(known, block.written, "overwrites", "written", key)
            _require(known, block.read, "overwrites", "read", key)
            block.written, block.read = {key: tick}, {}


def seen_by(key: Key) -> Clock:
    """What an event that is recorded on the stream now stands for: all its work so far, and what that waited for."""
    with _lock:
        return dict(_start(key))


def wait(key: Key, seen: Clock) -> None:
    """The stream goes on when what an event stands for is done."""
    with _lock:
        _join(_start(key), seen)


def host_waits(seen: Clock) -> None:
    """The host goes on, and hands out work, when that is done."""
    with _lock:
        _join(_host, seen)


def host_waits_for_all(device: int) -> None:
    with _lock:
        for key, known in _known.items():
            if key[0] == device:
                _join(_host, known)


def _start(key: Key) -> Clock:
    """What is known to be done when the stream's next piece of work begins."""
    known = _known.setdefault(key, {})
    _join(known, _host)
    device, pointer = key
    others = [it for it in _blocking if it[0] == device] if pointer == 0 else [(device, 0)] if key in _blocking else []
    for other in others:
        _join(known, _known.get(other, {}))
    return known


def _join(known: Clock, other: Clock) -> None:
    for key, tick in other.items():
        known[key] = max(tick, known.get(key, 0))


def _require(known: Clock, done: Clock, does: str, was: str, key: Key) -> None:
    for other, tick in done.items():
        if known.get(other, 0) < tick:
            raise RaceError(
                f"stream {key[1]:#x} of device {key[0]} {does} what was {was} on stream {other[1]:#x} of device "
                f"{other[0]}, and nothing has waited for that: no event, no synchronize()"
            )
