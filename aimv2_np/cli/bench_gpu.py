"""`aimv2-np bench --backend cupy`: what was measured on a GPU, as tables."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from aimv2_np.cli import output
from aimv2_np.cli.backends import graphs_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console
    from rich.table import Table

    from aimv2_np.bench.run import Plan


def tell_gpu(
    plan: "Plan", where: dict[str, Any], as_json: bool, telling: "Callable[[], AbstractContextManager[Any]]"
) -> None:
    """Measure and print."""
    from aimv2_np.bench.gpu import benchmark_gpu

    with telling() as tell:
        result = benchmark_gpu(plan, where, tell)
    if as_json:
        output.print_json(result)
    else:
        print_gpu(output.console(), result)


def print_gpu(screen: "Console", result: dict[str, Any]) -> None:
    """The device in a line, then of every model its cases and its cold start."""
    device, versions = result["device"], result["versions"]
    cupy = next((f"CuPy {versions[it]}" for it in ("cupy-cuda12x", "cupy-cuda13x") if it in versions), "CuPy")
    memory = output.bytes_of(device["memory"])
    screen.print(
        output.printable(f"{device['name']}, {memory}; {cupy} for CUDA {result['runtime']}; {result['dtype']}")
    )
    for model in result["models"]:
        weights = "random weights" if model["random"] else "its weights"
        screen.print()
        screen.print(f"{output.printable(model['name'])}, {model['parameters']:,} parameters, {weights}", style="bold")
        screen.print(_cases(model["cases"]))
        for case in model["cases"]:
            if case["graphs"]["failed"]:
                screen.print(f"batch {case['batch']}: {output.printable(graphs_line(case['graphs']))}")
        if cold := model["cold"]:
            stages = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in cold["stages"].items())
            screen.print(f"first feature {cold['seconds']['median']:.2f} s after the start ({stages})")


def _cases(cases: list[dict[str, Any]]) -> "Table":
    from aimv2_np.bench.run import label

    table = output.table(header=True)
    table.add_column("input", style="cyan", no_wrap=True)
    for title in ("batch", "ms", "per s", "TFLOP/s", "of GEMM", "copy GB/s", "weights", "peak", "graphs"):
        table.add_column(title, justify="right")
    for it in cases:
        table.add_row(
            label(it["input"]), str(it["batch"]), f"{1e3 * it['seconds']['median']:.3g}", f"{it['per_second']:.3g}",
            f"{it['tflops']:.1f}", output.percent(it["gemm_fraction"]), f"{it['copy_gb_per_second']:.0f}",
            output.bytes_of(it["memory"]["weights"]), output.bytes_of(it["memory"]["peak"]),
            f"{it['graphs']['recorded']}, replayed {it['graphs']['replayed']:,} ×",
        )  # fmt: skip
    return table
