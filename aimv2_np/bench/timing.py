"""Timing several functions in turns: what disturbs the machine meanwhile then disturbs all of them alike."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

MIN_ROUNDS = 3


def summary(seconds: Sequence[float]) -> dict[str, Any]:
    """Seconds of several rounds in brief, for JSON.

    "median", "best" and "rounds"; "spread" is how far apart the middle half of them lies, as a share of the median.
    """
    median = statistics.median(seconds)
    low, _, high = statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else (0.0, 0.0, 0.0)
    return {"median": median, "best": min(seconds), "spread": (high - low) / median, "rounds": len(seconds)}


def stopwatch(function: Callable[[], object]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def in_turns(
    contestants: Mapping[str, Callable[[], float]], seconds: float, rounds: int = MIN_ROUNDS
) -> dict[str, list[float]]:
    """The seconds of each contestant, which run once a round for at least `rounds` rounds, until `seconds` have passed.

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
    return found


def turned(names: Iterable[str], by: int) -> list[str]:
    """The names, beginning with another one each round: nobody always runs behind the same neighbour's heat."""
    names = list(names)
    by %= max(1, len(names))
    return names[by:] + names[:by]
