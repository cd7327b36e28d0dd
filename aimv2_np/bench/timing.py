"""Timing several functions in turns: what disturbs the machine meanwhile then disturbs all of them alike."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

MIN_ROUNDS = 3


@dataclass(frozen=True)
class Times:
    """Seconds of each round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.seconds)

    @property
    def best(self) -> float:
        """The shortest."""
        return min(self.seconds)

    @property
    def spread(self) -> float:
        """How far apart the middle half of them lies, as a share of the median."""
        if len(self.seconds) < 2:
            return 0.0
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return (high - low) / self.median

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "median": self.median, "best": self.best, "spread": self.spread, "rounds": len(self.seconds),
        }  # fmt: skip


def stopwatch(function: Callable[[], object]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def in_turns(
    contestants: Mapping[str, Callable[[], float]], seconds: float, rounds: int = MIN_ROUNDS
) -> dict[str, Times]:
    """Let each contestant run once a round, for at least `rounds` rounds and until `seconds` have passed.

    Args:
        contestants: by name, functions that do their work once and return how many seconds it took them. Each has run
            before: what happens only once is not to be timed here.
        seconds: of all rounds together.
        rounds: at least so many.
    """
    found: dict[str, list[float]] = {name: [] for name in contestants}
    began = time.monotonic()
    done = 0
    while done < rounds or time.monotonic() - began < seconds:
        for name in turned(contestants, done):
            found[name].append(contestants[name]())
        done += 1
    return {name: Times(tuple(times)) for name, times in found.items()}


def turned(names: Iterable[str], by: int) -> list[str]:
    """The names, beginning with another one each round: nobody always runs behind the same neighbour's heat."""
    names = list(names)
    by %= max(1, len(names))
    return names[by:] + names[:by]
