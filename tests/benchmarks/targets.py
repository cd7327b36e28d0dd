"""What the kernels in C aim at, and what a run reached of it."""

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from aimv2_np.cli.output import bytes_of
from tests.benchmarks.peer import OURS, PLAIN
from tests.benchmarks.tables import NOT_MEASURED, Row, own, percent, ratio, share_of_peak, table


class Target(NamedTuple):
    """To be so many times as fast as a peer in all of some cases, at least.

    Attributes:
        what: the cases, in words.
        cases: a pattern of all of their names.
        peer: its name.
        least: how many times; on Intel's processors perhaps another number.
    """

    what: str
    cases: str
    peer: str
    least: float
    on_intel: float | None = None


PICTURES: Final = r"large[^,]*, [^,]*, \d+ pictures?"
ONE: Final = "large, 224 px, 1 picture"
PEAK: Final = {ONE: 0.75, "large, 224 px, 8 pictures": 0.85}  # shares of it
COLD_START, OWN_MEMORY = 0.4, 50e6  # of OpenVINO's seconds; bytes
TARGETS: Final = (
    Target("pictures", PICTURES, "OpenVINO", 1.03, on_intel=1.10),
    Target("pictures", PICTURES, "ONNX Runtime", 1.10, on_intel=1.15),
    Target("pictures", PICTURES, "Transformers, sdpa", 1.5),
    Target("texts", "text tower.*", "ONNX Runtime", 1.10),
    *(Target("one core busy", ".*, one core busy", peer, 1.0) for peer in ("OpenVINO", "ONNX Runtime")),
    Target("values as trained", ".*, values as trained", PLAIN, 0.95),
    Target("weights stored in fewer bytes", ".*, weights stored as .*", PLAIN, 1.0),
    Target("in bfloat16", ".*, in bfloat16", "OpenVINO", 1.0),
)


def targets(run: dict[str, Any]) -> str:
    """Each with what was reached, from the worst to the best case, and the cases that missed it."""
    if not run["native"]["used"]:
        return NOT_MEASURED
    rows = [*_speeds(run), *_peaks(run["cases"]), *_small(run)]
    return table(("aimed at", "reached", "missed, and the share of the peak that it takes"), rows)


def _speeds(run: dict[str, Any]) -> Iterator[Row]:
    for target in TARGETS:
        intel = run["machine"]["processor"].startswith("Intel")
        least = target.on_intel if intel and target.on_intel else target.least
        found = {case["name"]: (case, times) for case in run["cases"]
                 if re.fullmatch(target.cases, case["name"]) and (times := ratio(case, target.peer))}  # fmt: skip
        missed = []
        for name, (case, times) in found.items():
            if round(times, 2) < least:
                theirs = share_of_peak(case, target.peer)
                missed.append(f"{name}: {times:.2f} ×" + (f", {percent(least * theirs)}" if theirs else ""))
        if found:
            every = [times for _, times in found.values()]
            reached = "–".join(dict.fromkeys(f"{times:.2f}" for times in (min(every), max(every))))
            yield f"{target.what}: {least:.2f} × {target.peer}", f"{reached} ×", "; ".join(missed)


def _peaks(cases: list[dict[str, Any]]) -> Iterator[Row]:
    for case in cases:
        least, share = PEAK.get(case["name"]), share_of_peak(case, OURS)
        if least and share:
            missed = "" if round(share, 2) >= least else "missed"
            yield f"{case['name']}: {percent(least)} of the peak", percent(share), missed


def _small(run: dict[str, Any]) -> Iterator[Row]:
    """Cold start and memory."""
    ours, theirs = ((run["cold"] or {}).get(name, {}).get("seconds") for name in (OURS, "OpenVINO"))
    if ours and theirs:
        times, wanted = ours["median"] / theirs["median"], COLD_START * theirs["median"]
        missed = "" if round(times, 2) <= COLD_START else f"{ours['median']:.2f} s; {wanted:.2f} s would do"
        yield f"cold start: {COLD_START} × OpenVINO's seconds", f"{times:.2f} ×", missed
    for case in run["cases"]:
        found = case["peers"][OURS].get("memory")
        if case["name"] == ONE and found and (size := own(found)) is not None:
            missed = "" if size <= OWN_MEMORY else "missed"
            yield f"{ONE}: at most {bytes_of(OWN_MEMORY)} of its own", bytes_of(size), missed
