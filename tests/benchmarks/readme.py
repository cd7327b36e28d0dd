"""README's lines about speed and memory, from the same data as docs/performance.md."""

from collections.abc import Sequence
from typing import Any

from aimv2_np.cli.output import bytes_of, plural
from tests.benchmarks.peer import OURS
from tests.benchmarks.report import COMPARED, in_brief
from tests.benchmarks.tables import ratio

NAMES = (OURS, "OpenVINO", "Transformers, sdpa")
SHORT = {"Transformers, sdpa": "Transformers"}


def lines(runs: Sequence[dict[str, Any]]) -> dict[str, str]:
    """How a line begins → the whole line; without those for which nothing complete was measured."""
    whole = [run for run in runs if not run["layers"]]
    complete = [run for run in whole if _is_complete(run)]
    found = _table(min(complete, key=_compared_with_openvino)) if complete else {}
    if any(in_brief(run) for run in whole):
        found["| embed, classify or search pictures on a CPU in float32"] = (
            "| embed, classify or search pictures on a CPU in float32, without a framework | **this**, at a speed that "
            f"depends on the processor and on how many pictures it gets at once: {_range(whole)} "
            f"([measured on {plural(len(whole), 'processor')}](docs/performance.md){_without_c(whole)}); the first two "
            "keep a second copy of the weights |"
        )
    return found


def _table(run: dict[str, Any]) -> dict[str, str]:
    """Of the processor on which we stand worst."""
    one, eight = (case["peers"] for case in in_brief(run)[:2])
    processor = run["machine"]["processor"]
    table = {
        "| large, one picture, ": [
            f"{plural(run['threads'], 'core')}, {processor}", *(SHORT.get(name, name) for name in NAMES),
        ],
        "| a new process has its first features after": [
            "", *(f"{run['cold'][name]['seconds']['median']:.2f} s" for name in NAMES),
        ],
        "| pictures a second, one at a time; in batches of eight": [
            "", *(f"{one[name]['per_second']:.2f}; {eight[name]['per_second']:.2f}" for name in NAMES),
        ],
        "| memory of its own, beside the weights' file": ["", *(bytes_of(own(one[name])) for name in NAMES)],
    }  # fmt: skip
    found = {start: f"{start}{' | '.join(cells)} |" for start, cells in table.items()}
    found["Medians of one run in turns on "] = (
        f"Medians of one run in turns on {processor}, with random weights "
        "([docs/performance.md](docs/performance.md)); packages as"
    )
    return found


def _is_complete(run: dict[str, Any]) -> bool:
    """Whether all that README shows of a processor was measured on it."""
    cold, cases = run["cold"] or {}, in_brief(run)[:2]
    timed = all(case["peers"].get(name, {}).get("per_second") for case in cases for name in NAMES)
    return len(cases) == 2 and timed and all("seconds" in cold.get(name, {}) for name in NAMES)


def filled(text: str, runs: Sequence[dict[str, Any]]) -> str:
    """README with these lines. Raises ValueError where one of them is not there once."""
    written = text.split("\n")
    for start, line in lines(runs).items():
        places = [i for i, old in enumerate(written) if old.startswith(start)]
        if len(places) != 1:
            raise ValueError(f"README has {len(places)} lines that begin with {start!r}; expected one")
        written[places[0]] = line
    return "\n".join(written)


def own(peer: dict[str, Any]) -> int:
    """Bytes that belong to no file, at the worst moment of a pass where that was measured."""
    size: int = peer["memory"].get("worst") or peer["memory"]["anonymous"]
    return size


def _compared_with_openvino(run: dict[str, Any]) -> float:
    return ratio(in_brief(run)[0], "OpenVINO") or 0.0


def _range(runs: Sequence[dict[str, Any]]) -> str:
    """0.66–0.97 × OpenVINO, … and …: the worst and the best of all processors and batches."""
    parts = []
    for name in COMPARED:
        times = [found for run in runs for case in in_brief(run) if (found := ratio(case, name))]
        parts.append(f"{min(times):.2f}–{max(times):.2f} × {SHORT.get(name, name)}")
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _without_c(runs: Sequence[dict[str, Any]]) -> str:
    without = sum(not run["native"]["used"] for run in runs)
    if not without:
        return ""
    return f", {'all' if without == len(runs) else without} of them without the kernels in C"
