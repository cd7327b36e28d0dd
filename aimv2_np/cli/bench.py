"""`aimv2-np bench`: how fast, how large, and what holds it back."""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from aimv2_np.cli import options, output
from aimv2_np.cli.backends import graphs_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

DEFAULT = ("large-224", "large-224-peaked")
BUSY = 0.5  # load average above which numbers are not to be trusted

whole = click.IntRange(min=1)


def _sizes(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """336, or 224x448, as (height, width)."""
    found = [re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", value) for value in values]
    for value, match in zip(values, found, strict=True):
        if match is None:
            raise click.BadParameter(
                f"{value!r} is no size; expected pixels, like 336, or height x width, like 224x448", ctx, param
            )
    return tuple((int(match[1]), int(match[2] or match[1])) for match in found if match)


@click.command("bench", cls=options.Several)
@click.argument("models", metavar="[MODEL...]", nargs=-1)
@click.option("--size", "sizes", metavar="PIXELS...", callback=_sizes, multiple=True, help="336, or 224x448.")
@click.option(
    "--batch",
    "batches",
    metavar="N...",
    type=whole,
    multiple=True,
    default=(1,),
    help="How many at once.  [default: 1]",
)
@click.option("--threads", metavar="N...", type=whole, multiple=True, help="Cores to use.  [default: all]")
@click.option("--text-tokens", metavar="N...", type=whole, multiple=True, help="Measure texts of N tokens instead.")
@click.option("--layers", metavar="N", type=whole, help="Only N layers of a random model: a quick look.")
@click.option("--seconds", metavar="S", type=options.FloatRange(0), default=5.0, show_default=True, help="Per line.")
@click.option("--profile", is_flag=True, help="Where the time goes, operation by operation.")
@click.option("--cold", metavar="N", type=click.IntRange(0), default=3, show_default=True, help="Fresh processes.")
@click.option("--processes", metavar="N", type=click.IntRange(2), help="Memory of N processes on one checkpoint.")
@click.option("--blas", is_flag=True, help="Only compare OpenBLAS's kernels on this processor.")
@options.prefix
@options.final_norm
@options.placement
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@options.debug
def bench_command(models: tuple[str, ...], blas: bool, where: dict[str, Any], as_json: bool, **settings: Any) -> None:
    """Measure speed and memory, each model in fresh processes.

    A MODEL is an architecture (large-224, 1B-448, large-native, large-224-lit; with random weights, which are written
    to a temporary file; with -peaked behind it they make what trained ones do, peaked attention and outliers),
    "tiny", a folder or a hub ID.  [default: both
    of large-224; on a GPU and with --blas the first]

    \b
    aimv2-np bench
    aimv2-np bench large-224 --batch 1 8 32 --threads 1 2 --profile
    aimv2-np bench large-native --size 448 896
    aimv2-np bench large-224-lit --text-tokens 16 --batch 64
    aimv2-np bench --blas
    aimv2-np bench large-224 3B-224 --backend cupy --dtype bfloat16 --batch 1 64
    """
    from aimv2_np.bench.kernels import compare_kernels
    from aimv2_np.bench.run import Plan, benchmark, products_of

    on_gpu = where["backend"] == "cupy"
    plan = Plan(models or (DEFAULT[:1] if blas or on_gpu else DEFAULT), **where, **settings)
    if on_gpu and (plan.threads or plan.profile or plan.processes or blas):
        raise click.UsageError("--threads, --profile, --processes and --blas are about the CPU; drop --backend cupy")
    if not on_gpu and plan.dtype != "float32":
        raise click.UsageError("on the CPU float32 is measured; drop --dtype, or add --backend cupy")
    if blas and (plan.profile or plan.processes or len(plan.models) > 1):
        raise click.UsageError("--blas compares kernels for one model and nothing else; drop the other options")
    with output.waiting("measuring") as tell:
        result = compare_kernels(*products_of(plan), plan.seconds, tell) if blas else benchmark(plan, tell)
    if as_json:
        output.print_json(result)
    else:
        (_print_kernels if blas else print_result)(output.console(), result)


def print_result(screen: "Console", result: dict[str, Any]) -> None:
    """The machine or the GPU in a line, then of every model its cases, their profiles, and its processes."""
    on_gpu = "device" in result
    screen.print(output.printable(_device(result) if on_gpu else _machine(result)))
    if not on_gpu:
        if (load := result["machine"]["load"]) and load > BUSY:
            output.note(f"the load average was {load:.1f} at the start: others use this machine, and numbers vary")
        if result["blas"]["note"]:
            output.note(result["blas"]["note"])
    for model in result["models"]:
        weights = "random weights" if model["random"] else output.bytes_of(model["weight_bytes"])
        screen.print()
        screen.print(f"{output.printable(model['name'])}, {model['parameters']:,} parameters, {weights}", style="bold")
        screen.print(_cases(model["cases"], GPU_COLUMNS if on_gpu else COLUMNS))
        for case in model["cases"]:
            if on_gpu and case["graphs"]["failed"]:
                screen.print(f"batch {case['batch']}: {output.printable(graphs_line(case['graphs']))}")
            elif not on_gpu and case["profile"]:
                screen.print()
                screen.print(_profile(case))
        _print_processes(screen, model)


def _machine(result: dict[str, Any]) -> str:
    machine, versions = result["machine"], result["versions"]
    memory = f", {output.bytes_of(machine['memory'])}" if machine["memory"] else ""
    libraries = f"{_library(result['blas'])}, NumPy {versions['numpy']}, Python {versions['python']}"
    where = f"{machine['processor']}, {output.plural(machine['cores'], 'core')}{memory}; {libraries}"
    return f"{where}; float32 {result['native']['reason']}"


def _device(result: dict[str, Any]) -> str:
    device, versions = result["device"], result["versions"]
    cupy = " ".join(["CuPy", *(version for name, version in versions.items() if name.startswith("cupy"))])
    where = f"{device['name']}, {output.bytes_of(device['memory'])}"
    return f"{where}; {cupy} for CUDA {result['runtime']}; {result['dtype']}"


def _library(blas: dict[str, Any]) -> str:
    from aimv2_np.bench.blas import title

    return title(blas) + (f" ({blas['kernel']} kernels)" if blas["kernel"] else "")


Columns = Mapping[str, Callable[[dict[str, Any]], str]]  # title → what is written there of a case
BODY = "body ×\nthreads"
COLUMNS: Columns = {
    "batch": lambda case: str(case["batch"]),
    BODY: lambda case: f"{case['body']}×{case['threads']}",
    "s": lambda case: f"{case['seconds']['median']:.3g}",
    "per s": lambda case: f"{case['per_second']:.{3 if case['per_second'] < 1000 else 4}g}",
    "GFLOP\nper s": lambda case: f"{case['gflops']:.0f}",
    "of\nsgemm": lambda case: _percent(case["sgemm_fraction"]),
    "of\npeak": lambda case: _percent(case["peak_fraction"]),
    "a pass\ntakes": lambda case: _bytes(case["memory"]["working"]),
    "own": lambda case: _bytes(case["memory"]["anonymous"]),
}
GPU_COLUMNS: Columns = {
    "batch": lambda case: str(case["batch"]),
    "ms": lambda case: f"{1e3 * case['seconds']['median']:.3g}",
    "per s": lambda case: f"{case['per_second']:.3g}",
    "TFLOP/s": lambda case: f"{case['tflops']:.1f}",
    "of GEMM": lambda case: output.percent(case["gemm_fraction"]),
    "copy GB/s": lambda case: f"{case['copy_gb_per_second']:.0f}",
    "weights": lambda case: output.bytes_of(case["memory"]["weights"]),
    "peak": lambda case: output.bytes_of(case["memory"]["peak"]),
    "graphs": lambda case: f"{case['graphs']['recorded']}, replayed {case['graphs']['replayed']:,} ×",
}


def _cases(cases: list[dict[str, Any]], columns: Columns) -> "Table":
    from aimv2_np.bench.run import label

    table = output.figures("input", *columns)
    for column in table.columns:  # in a narrow terminal numbers and their units are parted, not these
        column.no_wrap = column.header in ("input", BODY, "s")
    for case in cases:
        table.add_row(label(case["input"]), *(text(case) for text in columns.values()))
    return table


def _profile(case: dict[str, Any]) -> "Table":
    from aimv2_np.bench.run import label

    table = output.figures("operation", "calls", "ms", "share", "achieved")
    table.title = f"{label(case['input'])}, batch {case['batch']}, threads {case['threads']}"
    table.title_justify = "left"
    for line in case["profile"]["operations"]:
        speeds = [f"{line['achieved']:.1f} {line['unit']}"] if line["unit"] else []
        seconds, share = f"{1e3 * line['seconds']:.2f}", output.percent(line["share"])
        table.add_row(line["operation"], str(line["calls"] or ""), seconds, share, *speeds)
    return table


def _print_processes(screen: "Console", model: dict[str, Any]) -> None:
    table = output.facts()
    if cold := model["cold"]:
        stages = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in cold["stages"].items())
        peak = cold["memory"]["peak"]
        used = f"; peak {_bytes(peak)}" if peak else ""
        table.add_row("first feature", f"{cold['seconds']['median']:.2f} s after the start ({stages}){used}")
    if sharing := model["sharing"]:
        own = _bytes(max(own or 0 for own in sharing["anonymous"]) or None)
        parts = f"{_bytes(model['weight_bytes'])} checkpoint, at most {own} of its own for each"
        table.add_row(f"{sharing['processes']} processes", f"{_bytes(sharing['proportional'])} together ({parts})")
    if table.row_count:
        screen.print()
        screen.print(table)


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{100 * share:.0f} %"


def _bytes(number: int | None) -> str:
    return "unknown" if number is None else output.bytes_of(number)


def _print_kernels(screen: "Console", result: dict[str, Any]) -> None:
    from aimv2_np.bench.blas import VARIABLE

    blas, kernels = result["blas"], result["kernels"]
    screen.print(f"NumPy uses {_library(blas)}, {output.plural(result['threads'], 'thread')}")
    if blas["note"]:
        screen.print(f"{blas['note']}.")
    if blas["forced"]:
        screen.print(f"{VARIABLE}={output.printable(blas['forced'])} is set in this environment.")
    table = output.figures("kernel", "GFLOP/s")
    table.add_column("", overflow="fold")
    for kernel in kernels:
        how = f"{VARIABLE}={kernel['core_type']}" if kernel["core_type"] else "in use"
        table.add_row(kernel["kernel"], f"{kernel['gflops']:.1f}", how)
    for core_type, reason in result["unusable"].items():
        table.add_row(core_type, "", output.printable(reason), style="dim")
    screen.print()
    screen.print(table)
    screen.print()
    if result["fastest"]:
        screen.print(
            f"{kernels[0]['kernel']} is the fastest here. To choose it, set the variable before Python starts:"
        )
        screen.print(f"    {VARIABLE}={result['fastest']} aimv2-np …", style="bold")
    elif blas["library"] == "openblas":
        screen.print(f"{next(one['kernel'] for one in kernels if not one['core_type'])} is in use, and none is faster.")
