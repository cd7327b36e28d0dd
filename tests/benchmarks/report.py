"""The page and the chart, from what was measured and nothing else."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aimv2_np.cli.output import bytes_of, plural
from tests.benchmarks import tables
from tests.benchmarks.peer import PLAIN
from tests.benchmarks.tables import NOT_MEASURED, peers_of, ratio, table
from tests.benchmarks.targets import targets

TEMPLATE = Path(__file__).parent / "performance.md"
BUSY = 0.5  # load average above which somebody else was at work
COLORS = ("#1b6ca8", "#7fb3d5", "#d1495b", "#edae49", "#66a182", "#8d96a3", "#5d576b", "#a05195")  # of PEERS
COMPARED = ("OpenVINO", "ONNX Runtime", "Transformers, sdpa")  # in brief


def render(runs: Sequence[dict[str, Any]]) -> str:
    """docs/performance.md, of one run for each processor."""
    return TEMPLATE.read_text(encoding="utf-8").format(
        overview=_overview(runs), random_column=PLAIN, processors="\n\n".join(_processor(run) for run in runs)
    )


def in_brief(run: dict[str, Any]) -> list[dict[str, Any]]:
    """The cases that say most: large at 224 pixels with float32 weights at random, one picture and more at once."""
    return [case for case in run["cases"] if case["name"] in BRIEF]


BRIEF = tuple(f"large, 224 px, {plural(batch, 'picture')}" for batch in (1, 8, 32))


def _overview(runs: Sequence[dict[str, Any]]) -> str:
    """How many times as fast as the others we are on each processor."""
    rows = []
    for run in runs:
        times = [[ratio(case, name) for case in in_brief(run)] for name in COMPARED]
        cells = ("; ".join("–" if it is None else f"{it:.2f}" for it in found) for found in times)
        rows.append((run["machine"]["processor"], *cells, computed(run)))
    return table(("large at 224 pixels: one picture; eight; 32", *COMPARED, "float32"), rows)


def computed(run: dict[str, Any]) -> str:
    """What computed: "in C for avx512", "by NumPy"."""
    return f"in C for {run['native']['used']}" if run["native"]["used"] else "by NumPy"


def _processor(run: dict[str, Any]) -> str:
    """All of one run: a heading, how it was measured, and the tables that there are."""
    machine = run["machine"]
    memory = f", {bytes_of(machine['memory'])} of memory" if machine["memory"] else ""
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    when = f" on {run['date']}" if run["date"] else ""
    found = {
        "": tables.speed(run["cases"]),
        "Aimed at": targets(run),
        "The best round": tables.best(run["cases"]),
        "Cold start": tables.cold(run["cold"]),
        "Memory": tables.memory(run["cases"]),
        "Several processes": tables.sharing(run["sharing"]),
        "Where the time goes, one picture": tables.profile(run["profile"]),
        "More cores": tables.scaling(run),
        "OpenBLAS's kernels": tables.kernels(run["kernels"]),
    }
    return "\n\n".join([
        f"### {machine['processor']}",
        f"{_caution(run)}Measured{when}: {run['threads']} of {machine['cores']} cores{memory}; float32 "
        f"{run['native']['reason']}. {versions}."
        + (f" `{run['command']}`, {run['seconds']:g} seconds a line." if run.get("command") else ""),
        *(f"**{title}.**\n\n{text}" if title else text for title, text in found.items() if text != NOT_MEASURED),
    ])  # fmt: skip


def _caution(run: dict[str, Any]) -> str:
    reasons = []
    if run["layers"]:
        reasons.append(f"every tower was cut to {plural(run['layers'], 'layer')}")
    if (run["machine"]["load"] or 0) > BUSY:
        reasons.append(f"other programs were running (load average {run['machine']['load']:.1f} at the start)")
    return f"**A trial run, not a result**: {' and '.join(reasons)}.\n\n" if reasons else ""


def draw_chart(runs: Sequence[dict[str, Any]], path: Path) -> None:
    """Speeds relative to ours: for each processor a group of bars for each case."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [len(run["cases"]) for run in runs]
    figure = Figure(figsize=(9, 1.2 * len(runs) + 1.1 * sum(rows)), dpi=120, layout="constrained")
    every = peers_of([case for run in runs for case in run["cases"]])
    for run, axes in zip(runs, figure.subplots(len(runs), squeeze=False, height_ratios=rows)[:, 0], strict=True):
        _draw(run, axes, every)
    handles = {
        label: bars for axes in figure.axes for bars, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    FigureCanvasAgg(figure)
    # Without the date and the version that matplotlib would write: the same data give the same file.
    figure.savefig(path, metadata={"Software": None})


def _draw(run: dict[str, Any], axes: Any, every: list[str]) -> None:
    cases = run["cases"]
    height = 0.8 / len(every)
    for i, name in enumerate(every):
        timed = [(row, times) for row, case in enumerate(cases) if (times := ratio(case, name))]
        places = [row - 0.4 + (i + 0.5) * height for row, _ in timed]
        if timed:
            axes.barh(places, [1 / times for _, times in timed], 0.9 * height, color=COLORS[i], label=name)
        for (row, times), place in zip(timed, places, strict=True):
            if done := cases[row]["peers"][name]["per_second"]:
                axes.text(1 / times, place, f" {done:.3g}/s", va="center", fontsize=7)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(range(len(cases)), [case["name"] for case in cases])
    axes.invert_yaxis()
    axes.set_xlabel("speed, ours = 1 (longer is faster)")
    trial = " · a trial run" if _caution(run) else ""
    axes.set_title(f"float32 · {run['machine']['processor']} · {plural(run['threads'], 'core')}{trial}", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
