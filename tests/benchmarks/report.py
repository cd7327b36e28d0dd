"""The page and the chart, from what was measured and nothing else."""

from pathlib import Path
from typing import Any

from aimv2_np.cli.output import bytes_of, plural
from tests.benchmarks.peer import OURS, PEERS

TEMPLATE = Path(__file__).parent / "performance.md"
BUSY = 0.5  # load average above which somebody else was at work
COLORS = ("#1b6ca8", "#d1495b", "#edae49", "#66a182", "#8d96a3", "#5d576b", "#a05195")


def render(data: dict[str, Any]) -> str:
    """docs/performance.md."""
    machine = data["machine"]
    memory = f", {bytes_of(machine['memory'])} of memory" if machine["memory"] else ""
    return TEMPLATE.read_text(encoding="utf-8").format(
        processor=f"{machine['processor']}, {data['threads']} of {machine['cores']} cores{memory}",
        versions=", ".join(f"{name} {version}" for name, version in data["versions"].items()),
        date=data["date"],
        caution=_caution(data),
        seconds=f"{data['seconds']:g}",
        speed=_speed(data["cases"]),
        cold=_cold(data["cold"]),
        memory=_memory(data["cases"], data.get("weight_bytes")),
        sharing=_sharing(data["sharing"]),
        profile=_profile(data["profile"]),
        scaling=_scaling(data),
        kernels=_kernels(data["kernels"]),
    )


def _caution(data: dict[str, Any]) -> str:
    reasons = []
    if data["layers"]:
        reasons.append(f"every tower was cut to {plural(data['layers'], 'block')}")
    if (data["machine"]["load"] or 0) > BUSY:
        reasons.append(f"other programs were running (load average {data['machine']['load']:.1f} at the start)")
    return f"**A trial run, not a result**: {' and '.join(reasons)}.\n\n" if reasons else ""


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    if not rows:
        return "Not measured."
    aligned = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(_row(*cells) for cells in (header, tuple(aligned), *rows))


def _peers(cases: list[dict[str, Any]]) -> list[str]:
    return [name for name in PEERS if any(name in case["peers"] for case in cases)]


def _speed(cases: list[dict[str, Any]]) -> str:
    """Pictures or texts per second, and our speed as a multiple of each peer's."""
    names = _peers(cases)
    rows = []
    notes = []
    for case in cases:
        mine = case["peers"][OURS]["seconds"]["median"]
        cells = [case["name"]]
        for name in names:
            peer = case["peers"].get(name)
            if peer is None:
                cells.append("")
            elif "failed" in peer:
                notes.append(f"- {name}, {case['name']}: {peer['failed']}")
                cells.append("–")
            else:
                ratio = "" if name == OURS else f" ({peer['seconds']['median'] / mine:.2f} ×)"
                cells.append(f"{peer['per_second']:.3g}{ratio}")
        rows.append(tuple(cells))
    table = _table(("per second", *names), rows)
    return table + ("\n\n– not timed:\n\n" + "\n".join(notes) if notes else "")


def _cold(cold: dict[str, Any] | None) -> str:
    rows = []
    for name, it in (cold or {}).items():
        if "failed" in it:
            rows.append((name, "–", "", "", it["failed"]))
            continue
        stages = it["stages"]
        middle = f"{stages['start']:.2f} + {stages['load']:.2f} + {stages['prepare']:.2f} + {stages['run']:.2f}"
        peak = it["memory"]["peak"]
        spread = f"{it['seconds']['best']:.2f}"
        rows.append((name, f"{it['seconds']['median']:.2f}", spread, middle, bytes_of(peak) if peak else ""))
    header = ("one picture, new process", "seconds", "best", "start + load + picture + run", "peak resident")
    return _table(header, rows)


def _memory(cases: list[dict[str, Any]], weight_bytes: int | None) -> str:
    """Own memory and the peak, of each peer in each case."""
    names = _peers(cases)
    rows = []
    for case in cases:
        cells = [case["name"]]
        for name in names:
            memory = case["peers"].get(name, {}).get("memory")
            own_and_peak = [memory["anonymous"], memory["peak"]] if memory else []
            cells.append(" / ".join(bytes_of(it) for it in own_and_peak if it is not None))
        rows.append(tuple(cells))
    return _table(("own / peak", *names), rows)


def _sharing(sharing: dict[str, Any] | None) -> str:
    rows = []
    for name, it in (sharing or {}).items():
        if "failed" in it:
            rows.append((name, "–", it["failed"]))
            continue
        own = max((size for size in it["anonymous"] if size is not None), default=None)
        together = it["proportional"]
        rows.append(
            (f"{it['processes']} × {name}", bytes_of(together) if together else "", bytes_of(own) if own else "")
        )
    return _table(("processes on one checkpoint", "together (PSS)", "own, of each"), rows)


def _profile(found: dict[str, Any] | None) -> str:
    if found is None:
        return "Not measured."
    rows = []
    for it in found["profile"]["operations"]:
        row = (it["operation"], str(it["calls"] or ""), f"{1e3 * it['seconds']:.1f}", f"{100 * it['share']:.1f} %")
        if it["unit"] is None:
            rows.append((*row, "", "", ""))
            continue
        of_it = f"{100 * it['achieved'] / it['ceiling']:.0f} %"
        rows.append((*row, f"{it['achieved']:.1f} {it['unit']}", f"{it['ceiling']:.1f} {it['unit']}", of_it))
    header = ("operation", "calls", "ms", "share", "achieved", "ceiling", "of it")
    verdict = (
        f"{found['gflops']:.0f} GFLOP/s of the {found['sgemm_gflops']:.0f} GFLOP/s that sgemm does at the model's "
        f"shapes in the same minutes: **{100 * found['sgemm_fraction']:.0f} %**. Reading and writing memory (a copy): "
        f"{found['profile']['copy_gb_per_second']:.1f} GB/s."
    )
    working, own, start = (found["memory"][name] for name in ("working", "anonymous", "started"))
    if None not in (working, own, start):
        verdict += (
            f" A pass takes {bytes_of(working)} of working memory; the process then has {bytes_of(own)} of its own, of "
            f"which Python and NumPy took {bytes_of(start)} before the checkpoint was opened."
        )
    return f"{verdict}\n\n{_table(header, rows)}"


def _scaling(data: dict[str, Any]) -> str:
    """Measured seconds of a pass, and what the model on the page says of more cores."""
    measured, profile = data.get("scaling"), data["profile"]
    if not measured or profile is None:
        return "Not measured."
    one = measured["1"]
    most = max(map(int, measured))
    fixed = max(0.0, (most * measured[str(most)] - one) / max(1, most - 1))
    reading = data["weight_bytes"] / (1e9 * profile["profile"]["copy_gb_per_second"])
    rows = []
    for cores in sorted({*map(int, measured), 4, 8, 16, 32, 64}):
        modelled = max((one - fixed) / cores + fixed, reading)
        found = measured.get(str(cores))
        rows.append((str(cores), f"{found:.2f}" if found else "", f"{modelled:.3f}", f"{one / modelled:.1f} ×"))
    told = f"W = {one:.2f} s, S = {1e3 * fixed:.0f} ms, M = {1e3 * reading:.0f} ms"
    return f"{told}\n\n{_table(('cores', 'seconds, measured', 'by the model', 'gain'), rows)}"


def _kernels(found: dict[str, Any]) -> str:
    rows = [
        (it["kernel"], f"{it['gflops']:.0f}", f"`OPENBLAS_CORETYPE={it['core_type']}`" if it["core_type"] else "in use")
        for it in found["kernels"]
    ]
    return _table((f"{found['blas']['library']} {found['blas']['version']}", "GFLOP/s", "how to choose it"), rows)


def draw_chart(data: dict[str, Any], path: Path) -> None:
    """Speeds relative to ours, a group of bars for each case."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    cases, names = data["cases"], _peers(data["cases"])
    figure = Figure(figsize=(9, 1.2 + 1.1 * len(cases)), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    height = 0.8 / len(names)
    for i, name in enumerate(names):
        for row, case in enumerate(cases):
            peer = case["peers"].get(name, {})
            if "per_second" not in peer:
                continue
            width = peer["per_second"] / case["peers"][OURS]["per_second"]
            place = row - 0.4 + (i + 0.5) * height
            label = name if name not in axes.get_legend_handles_labels()[1] else None
            axes.barh(place, width, 0.9 * height, color=COLORS[i % len(COLORS)], label=label)
            axes.text(width, place, f" {peer['per_second']:.3g}/s", va="center", fontsize=7)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(range(len(cases)), [case["name"] for case in cases])
    axes.invert_yaxis()
    axes.set_xlabel("speed, ours = 1 (longer is faster)")
    trial = " · a trial run" if _caution(data) else ""
    axes.set_title(f"float32 · {data['machine']['processor']} · {data['threads']} cores{trial}", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    FigureCanvasAgg(figure)
    # Without the date and the version that matplotlib would write: the same data give the same file.
    figure.savefig(path, metadata={"Software": None})
