"""OpenBLAS's kernels against each other on this processor. None is ever chosen for anybody: it is said how to."""

import platform
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from aimv2_np.bench import cores
from aimv2_np.bench.blas import VARIABLE, core_types
from aimv2_np.bench.ceilings import Shape
from aimv2_np.bench.talk import Worker, module_command
from aimv2_np.bench.timing import in_turns

WORKER = "aimv2_np.bench.worker"
LACKING = "this processor lacks its instructions"
WORTH = 1.02  # times the rate of the kernel in use: less is not worth a setting, nor well beyond the noise


def compare_kernels(
    products: Sequence[Shape], threads: int, seconds: float, tell: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """How fast the kernels of NumPy's OpenBLAS multiply here, in turns, each in a process in which it was asked for.

    Args:
        products: to compute.
        threads: cores to use.
        seconds: in all.
        tell: is told what is being done.

    Returns:
        "blas", as `describe_blas` in a fresh process; "kernels", the fastest first, each with "kernel", "core_type"
        (what to ask for; None for the one in use) and "gflops"; "unusable", core types with the reason; "fastest", the
        core type that is worth asking for, or None. With another library than OpenBLAS there is one kernel.
    """
    sizes = [[it.m, it.k, it.n] for it in products]
    unusable: dict[str, str] = {}
    contestants: dict[str, tuple[str | None, Worker]] = {}
    with ExitStack() as stack:
        blas = _start(stack, None, sizes, threads, contestants)
        openblas = blas["library"] == "openblas" and blas["kernel"]
        for core_type in core_types(platform.machine()) if openblas else ():
            tell(f"trying {core_type}")
            try:
                found = _start(stack, core_type, sizes, threads, contestants)
            except RuntimeError as error:
                unusable[core_type] = LACKING if "SIGILL" in str(error) else str(error)
                continue
            if found["kernel"].lower() != core_type.lower():
                unusable[core_type] = f"this OpenBLAS takes {found['kernel']} instead"
        tell(f"{len(contestants)} kernels in turns")
        times = in_turns({name: _asking(worker) for name, (_, worker) in contestants.items()}, seconds)
    work = sum(it.flops for it in products)
    kernels: list[dict[str, Any]] = [
        {"kernel": name, "core_type": core_type, "gflops": work / times[name].median / 1e9}
        for name, (core_type, _) in contestants.items()
    ]
    kernels.sort(key=lambda it: -it["gflops"])
    current = next(it for it in kernels if it["core_type"] is None)
    best = kernels[0]
    worth = best["gflops"] > WORTH * current["gflops"]
    return {
        "blas": blas, "threads": threads, "kernels": kernels, "unusable": unusable,
        "fastest": best["core_type"] if worth else None,
    }  # fmt: skip


def _start(
    stack: ExitStack,
    core_type: str | None,
    sizes: list[list[int]],
    threads: int,
    contestants: dict[str, tuple[str | None, Worker]],
) -> dict[str, Any]:
    """A process with that kernel, among the contestants unless the same kernel is there already."""
    changes = cores.variables(threads) | ({} if core_type is None else {VARIABLE: core_type})
    with cores.on_cores(threads):
        worker = stack.enter_context(Worker(module_command(WORKER), changes))
    blas: dict[str, Any] = worker.ask("prepare_products", sizes=sizes, threads=threads)
    contestants.setdefault(blas["kernel"] or blas["library"] or "unknown", (core_type, worker))
    return blas


def _asking(worker: Worker) -> Callable[[], float]:
    def ask() -> float:
        seconds: float = worker.ask("multiply")
        return seconds

    return ask
