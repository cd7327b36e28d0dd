"""OpenBLAS's kernels against each other on this processor. None is ever chosen for anybody: it is said how to."""

import platform
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from statistics import median
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
    sizes = [[shape.m, shape.k, shape.n] for shape in products]
    unusable: dict[str, str] = {}
    workers: dict[str, tuple[str | None, Worker]] = {}  # by the kernel that they use
    with ExitStack() as stack:

        def start(core_type: str | None) -> dict[str, Any]:
            """Start a process that asks for that kernel; it is kept unless another has the same one."""
            changes = cores.variables(threads) | ({} if core_type is None else {VARIABLE: core_type})
            with cores.on_cores(threads):
                worker = stack.enter_context(Worker(module_command(WORKER), changes))
            blas: dict[str, Any] = worker.ask("prepare_products", sizes=sizes, threads=threads)
            workers.setdefault(blas["kernel"] or blas["library"] or "unknown", (core_type, worker))
            return blas

        blas = start(None)
        openblas = blas["library"] == "openblas" and blas["kernel"]
        for core_type in core_types(platform.machine()) if openblas else ():
            tell(f"trying {core_type}")
            try:
                kernel = start(core_type)["kernel"]
            except RuntimeError as error:
                unusable[core_type] = LACKING if "SIGILL" in str(error) else str(error)
                continue
            if kernel.lower() != core_type.lower():
                unusable[core_type] = f"this OpenBLAS takes {kernel} instead"
        tell(f"{len(workers)} kernels in turns")
        times = in_turns({name: partial(worker.ask, "multiply") for name, (_, worker) in workers.items()}, seconds)
    work = sum(shape.flops for shape in products)
    kernels: list[dict[str, Any]] = [
        {"kernel": name, "core_type": core_type, "gflops": work / median(times[name]) / 1e9}
        for name, (core_type, _) in workers.items()
    ]
    kernels.sort(key=lambda kernel: -kernel["gflops"])
    current = next(kernel for kernel in kernels if kernel["core_type"] is None)
    worth = kernels[0]["gflops"] > WORTH * current["gflops"]
    return {
        "blas": blas, "threads": threads, "kernels": kernels, "unusable": unusable,
        "fastest": kernels[0]["core_type"] if worth else None,
    }  # fmt: skip
