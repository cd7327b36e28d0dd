"""One run's tables, from what was measured and nothing else."""

from collections.abc import Callable
from typing import Any

from aimv2_np.cli.output import bytes_of
from tests.benchmarks.peer import OURS, PEERS

NOT_MEASURED = "Not measured."
Row = tuple[str, ...]


def table(header: Row, rows: list[Row]) -> str:
    """In Markdown: the first column to the left, numbers to the right."""
    if not rows:
        return NOT_MEASURED
    aligned = ("---", *["---:"] * (len(header) - 1))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, aligned, *rows))


def peers_of(cases: list[dict[str, Any]]) -> list[str]:
    """Who was measured in some case."""
    return [name for name in PEERS if any(name in case["peers"] for case in cases)]


def seconds_of(case: dict[str, Any], name: str, which: str = "median") -> float | None:
    """Of one pass; None for who was not timed."""
    seconds: float | None = case["peers"].get(name, {}).get("seconds", {}).get(which)
    return seconds


def ratio(case: dict[str, Any], name: str, which: str = "median") -> float | None:
    """How many times as fast as a peer we are; None for who was not timed."""
    theirs, ours = seconds_of(case, name, which), seconds_of(case, OURS, which)
    return theirs / ours if theirs and ours else None


def share_of_peak(case: dict[str, Any], name: str) -> float | None:
    """Of the arithmetic that the processor could have done in the time of a pass; None where it was not measured."""
    seconds = seconds_of(case, name)
    if not (seconds and case.get("flops") and case.get("peak_gflops")):
        return None
    share: float = case["flops"] / seconds / case["peak_gflops"] / 1e9
    return share


def percent(share: float | None) -> str:
    """As the page writes it."""
    return "" if share is None else f"{100 * share:.0f} %"


def _all(cases: list[dict[str, Any]], cell: Callable[[dict[str, Any], str], str], corner: str, first: Row = ()) -> str:
    """A row for each case, a column for each peer."""
    names = peers_of(cases)
    rows = [(case["name"], *(cell(case, name) for name in names)) for case in cases]
    return table((corner, *names), [first, *rows] if first else rows)


def speed(cases: list[dict[str, Any]]) -> str:
    """Pictures or texts per second, and our speed as a multiple of each peer's; first, who reaches what of the peak."""
    notes = []

    def cell(case: dict[str, Any], name: str) -> str:
        if "failed" in case["peers"].get(name, {}):
            notes.append(f"- {name}, {case['name']}: {case['peers'][name]['failed']}")
            return "–"
        times = ratio(case, name)
        if times is None:
            return ""
        done = case["peers"][name]["per_second"]
        speed = "" if done is None else f"{done:.3g}"  # of some older runs only the ratios were kept
        if name != OURS:
            return f"{speed} ({times:.2f} ×)".lstrip()
        share = share_of_peak(case, name)
        return f"{speed} [{percent(share)}]" if share else speed

    found = _all(cases, cell, "per second", _peak(cases))
    return found + ("\n\n– not timed:\n\n" + "\n".join(notes) if notes else "")


def _peak(cases: list[dict[str, Any]]) -> Row:
    """The measured peak, and of it everybody's share in the first case."""
    if not cases or not cases[0].get("peak_gflops"):
        return ()
    first = cases[0]
    shares = (percent(share_of_peak(first, name)) for name in peers_of(cases))
    return (f"share of the peak, {first['peak_gflops']:.0f} GFLOP/s, of the first line below", *shares)


def best(cases: list[dict[str, Any]]) -> str:
    """Seconds of the fastest round."""

    def cell(case: dict[str, Any], name: str) -> str:
        seconds, times = seconds_of(case, name, "best"), ratio(case, name, "best")
        if seconds is None:
            return ""
        return f"{seconds:.3g}" + ("" if name == OURS or times is None else f" ({times:.2f} ×)")

    timed = [case for case in cases if seconds_of(case, OURS, "best")]
    return _all(timed, cell, "seconds, best round")


def own(found: dict[str, Any]) -> Any:
    """Bytes that belong to no file at the worst moment of a pass, with older runs after it; None where nobody knows."""
    return found.get("worst") or found["anonymous"]


def memory(cases: list[dict[str, Any]]) -> str:
    """Own memory at the worst moment of a pass, and the peak."""

    def cell(case: dict[str, Any], name: str) -> str:
        found = case["peers"].get(name, {}).get("memory")
        own_and_peak = [own(found), found["peak"]] if found else []
        return " / ".join(bytes_of(size) for size in own_and_peak if size is not None)

    return _all([case for case in cases if case["peers"][OURS].get("memory")], cell, "own / peak")


def cold(found: dict[str, Any] | None) -> str:
    """From the start of a process to the first features."""
    rows: list[Row] = []
    for name, it in (found or {}).items():
        if "failed" in it:
            rows.append((name, "–", "", "", it["failed"]))
            continue
        stages = it["stages"]
        middle = f"{stages['start']:.2f} + {stages['load']:.2f} + {stages['prepare']:.2f} + {stages['run']:.2f}"
        peak = it["memory"]["peak"]
        fastest = f"{it['seconds']['best']:.2f}"
        rows.append((name, f"{it['seconds']['median']:.2f}", fastest, middle, bytes_of(peak) if peak else ""))
    header = ("one picture, new process", "seconds", "best", "start + load + picture + run", "peak resident")
    return table(header, rows)


def sharing(found: dict[str, Any] | None) -> str:
    """Several processes on one checkpoint."""
    rows: list[Row] = []
    for name, it in (found or {}).items():
        if "failed" in it:
            rows.append((name, "–", it["failed"]))
            continue
        own = max((size for size in it["anonymous"] if size is not None), default=None)
        together = it["proportional"]
        rows.append(
            (f"{it['processes']} × {name}", bytes_of(together) if together else "", bytes_of(own) if own else "")
        )
    return table(("processes on one checkpoint", "together (PSS)", "own, of each"), rows)


def profile(found: dict[str, Any] | None) -> str:
    """Where the time of a pass goes, and how much of what it could be.

    That much is said of the pass alone: ceilings are timed beside it, for whole products and memory beyond the caches,
    and operations within it are parts of products and may find their numbers in a cache.
    """
    if found is None:
        return NOT_MEASURED
    rows: list[Row] = []
    for it in found["profile"]["operations"]:
        row = (it["operation"], str(it["calls"] or ""), f"{1e3 * it['seconds']:.1f}", f"{100 * it['share']:.1f} %")
        if it["unit"] is None:
            rows.append((*row, ""))
            continue
        rows.append((*row, f"{it['achieved']:.1f} {it['unit']}"))
    header = ("operation", "calls", "ms", "share", "achieved")
    verdict = (
        f"{found['gflops']:.0f} GFLOP/s{_of_products(found)}. Reading and writing memory (a copy): "
        f"{found['profile']['copy_gb_per_second']:.1f} GB/s."
    )
    if found.get("peak_gflops"):
        share = f", of it **{100 * found['peak_fraction']:.0f} %**" if found["peak_fraction"] <= 1 else ""
        verdict += f" The peak: {found['peak_gflops']:.0f} GFLOP/s{share}."
    working, own, start = (found["memory"][name] for name in ("working", "anonymous", "started"))
    if None not in (working, own, start):
        verdict += (
            f" A pass takes {bytes_of(working)} of working memory; the process then has {bytes_of(own)} of its own, of "
            f"which Python and NumPy took {bytes_of(start)} before the checkpoint was opened."
        )
    return f"{verdict}\n\n{table(header, rows)}"


def _of_products(found: dict[str, Any]) -> str:
    """The share of what products reach; where they were slower than the pass, they are no ceiling, and no share is."""
    if found["sgemm_fraction"] > 1:
        return ", more than products of the model's shapes, timed beside it, reached"
    share = f"**{100 * found['sgemm_fraction']:.0f} %**"
    return (
        f" of the {found['sgemm_gflops']:.0f} GFLOP/s that products of the model's shapes reach in the same minutes: "
        f"{share}"
    )


def scaling(data: dict[str, Any]) -> str:
    """Measured seconds of a pass, and what the model on the page says of more cores."""
    measured, profile = data.get("scaling"), data["profile"]
    if not measured or profile is None:
        return NOT_MEASURED
    one = measured["1"]
    most = max(map(int, measured))
    fixed = max(0.0, (most * measured[str(most)] - one) / max(1, most - 1))
    reading = data["weight_bytes"] / (1e9 * profile["profile"]["copy_gb_per_second"])
    rows: list[Row] = []
    for cores in sorted({*map(int, measured), 4, 8, 16, 32, 64}):
        modelled = max((one - fixed) / cores + fixed, reading)
        found = measured.get(str(cores))
        rows.append((str(cores), f"{found:.2f}" if found else "", f"{modelled:.3f}", f"{one / modelled:.1f} ×"))
    told = f"W = {one:.2f} s, S = {1e3 * fixed:.0f} ms, M = {1e3 * reading:.0f} ms"
    return f"{told}\n\n{table(('cores', 'seconds, measured', 'by the model', 'gain'), rows)}"


def kernels(found: dict[str, Any] | None) -> str:
    """OpenBLAS's kernels against each other."""
    if found is None:
        return NOT_MEASURED
    rows: list[Row] = [
        (it["kernel"], f"{it['gflops']:.0f}", f"`OPENBLAS_CORETYPE={it['core_type']}`" if it["core_type"] else "in use")
        for it in found["kernels"]
    ]
    return table((f"{found['blas']['library']} {found['blas']['version']}", "GFLOP/s", "how to choose it"), rows)
