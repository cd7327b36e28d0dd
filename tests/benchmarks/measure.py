"""Implementations against each other: the same checkpoint, the same inputs, the same cores, in turns."""

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from aimv2_np import Aimv2TextConfig
from aimv2_np.bench import cores
from aimv2_np.bench.flops import products, total_flops
from aimv2_np.bench.models import PEAKED, configuration, draw_picture, shortened, vision_of, write_random
from aimv2_np.bench.run import share, summarise_cold, time_cold
from aimv2_np.bench.talk import Worker, module_command
from aimv2_np.bench.timing import in_turns, summary
from aimv2_np.config import AnyConfig
from aimv2_np.kernels.native.library import available
from aimv2_np.tasks import convert
from tests.benchmarks.graphs import export
from tests.benchmarks.neighbour import busy_core
from tests.benchmarks.peer import OURS, PLAIN, POOLED, STATES, STREAMS

PEER, PEAK = "tests.benchmarks.peer", "peak"
# Relative, root mean square: two float32 programs differ by a few 1e-6, another network by much more.
AGREEMENT = {"float32": 1e-5, "bfloat16": 5e-2, "int8": 1e-1}  # by what the weights are stored as
# Scores of a hundred round a hundred times as much, and e^x has that relative to itself: two layers agree to 1e-7,
# eight to 5e-3, and at large's full depth nobody agrees with anybody, in float64 neither.
PEAKED_AGREEMENT = float("inf")
RANDOM = "random"  # the folder of the same architecture with random weights, beside peaked ones
FLOAT32 = ("float32", "float32")  # stored, computed
PAUSE = 0.3  # seconds between turns: thread pools go on spinning for a while, on cores that now belong to another


@dataclass(frozen=True)
class Case:
    """One line of the comparison.

    Attributes:
        name: how it is called in tables.
        model: an architecture's name, or "text" for the text tower of the released two-tower checkpoint.
        given: {"kind": "pictures", "height", "width"} or {"kind": "texts", "tokens"}.
        batch: how many at once.
        output: what is wanted.
        stored: the dtype in which our file holds the weights; the others have theirs in float32.
        computed: the dtype that all compute in.
        neighbour: whether another process keeps one of the cores busy.
    """

    name: str
    model: str
    given: dict[str, Any]
    batch: int
    output: str = STATES
    stored: str = "float32"
    computed: str = "float32"
    neighbour: bool = False

    def config(self, layers: int | None = None) -> AnyConfig:
        """The configuration, with all blocks or `layers` of them."""
        return shortened(Aimv2TextConfig(), layers) if self.model == "text" else configuration(self.model, layers)

    @property
    def peaked(self) -> bool:
        """Whether the weights make peaked attention and outliers, as trained ones do."""
        return self.model.endswith(PEAKED)

    @property
    def agreement(self) -> float:
        """The largest relative error that counts as the same result."""
        return PEAKED_AGREEMENT if self.peaked else max(AGREEMENT[self.stored], AGREEMENT[self.computed])

    def times(self, peer: str) -> bool:
        """Whether the peer makes sense here: streams are for batches, plain weights for a comparison with others."""
        return {STREAMS: self.batch > 1, PLAIN: self.peaked or (self.stored, self.computed) != FLOAT32}.get(peer, True)

    def place(self, peer: str, folder: Path) -> Path:
        """The checkpoint that the peer opens, of those that `prepare` and `store` wrote into `folder`."""
        if peer == OURS and self.stored != "float32":
            return folder / self.stored
        return folder / RANDOM if peer == PLAIN and self.peaked else folder


def pictures(name: str, model: str, size: int, batch: int, **more: Any) -> Case:
    """Square pictures."""
    return Case(name, model, {"kind": "pictures", "height": size, "width": size}, batch, **more)


# Consecutive cases of one model and one size are measured on the same files.
CASES = (
    pictures("large, 224 px, 1 picture", "large-224", 224, 1),
    pictures("large, 224 px, 8 pictures", "large-224", 224, 8),
    pictures("large, 224 px, 32 pictures", "large-224", 224, 32),
    pictures("large, 224 px, 1 picture, one core busy", "large-224", 224, 1, neighbour=True),
    pictures("large, 224 px, 1 picture, weights stored as bfloat16", "large-224", 224, 1, stored="bfloat16"),
    pictures("large, 224 px, 1 picture, weights stored as int8", "large-224", 224, 1, stored="int8"),
    pictures("large, 224 px, 1 picture, in bfloat16", "large-224", 224, 1, stored="bfloat16", computed="bfloat16"),
    pictures("large, 224 px, 8 pictures, in bfloat16", "large-224", 224, 8, stored="bfloat16", computed="bfloat16"),
    pictures("large, 224 px, 1 picture, values as trained", "large-224-peaked", 224, 1),
    pictures("large, 336 px, 1 picture", "large-336", 336, 1),
    pictures("large, 448 px, 1 picture", "large-448", 448, 1),
    pictures("large native, 1024 tokens, 1 picture", "large-native", 448, 1),
    pictures("large native, 4096 tokens, 1 picture", "large-native", 896, 1),
    Case("text tower, 64 captions of 16 tokens", "text", {"kind": "texts", "tokens": 16}, 64),
    Case("pooled features of these captions", "text", {"kind": "texts", "tokens": 16}, 64, POOLED),
)


def make_inputs(config: Any, given: dict[str, Any], batch: int) -> dict[str, np.ndarray]:
    """Random inputs; captions are all of one length and end with their end-of-text token."""
    rng = np.random.default_rng(0)
    if given["kind"] == "pictures":
        shape = (batch, config.num_channels, given["height"], given["width"])
        return {"pixel_values": rng.standard_normal(shape, dtype=np.float32)}
    ids = rng.integers(0, config.vocab_size - 1, (batch, given["tokens"]))
    ids[:, -1] = config.eos_token_id
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def command(peer: str, *arguments: object) -> list[str]:
    """The process of a peer."""
    return [sys.executable, "-m", PEER, peer, *map(str, arguments)]


def prepare(folder: Path, config: AnyConfig, inputs: dict[str, np.ndarray], *, peaked: bool = False) -> None:
    """The checkpoint and the graphs of it, for inputs of this size; beside a peaked one, one with random weights."""
    write_random(folder, config, peak=peaked)
    export(folder, inputs)
    if peaked:
        (folder / RANDOM).mkdir()
        write_random(folder / RANDOM, config)
    for path in folder.rglob("*.*"):
        path.read_bytes()  # into the system's cache


def store(folder: Path, dtype: str) -> None:
    """Beside the checkpoint in `folder` the same one with weights of another dtype, if it is not there."""
    if dtype != "float32" and not (folder / dtype).exists():
        convert(folder, folder / dtype, dtype=dtype)


def compare(
    case: Case,
    folder: Path,
    peers: Sequence[str],
    threads: int,
    seconds: float,
    layers: int | None,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Speed and memory of all peers on a prepared checkpoint.

    A peer that cannot be had, or that computes something else than we do, is not timed: its entry says why.
    """
    config = case.config(layers)
    inputs = make_inputs(config, case.given, case.batch)
    np.savez(folder / "inputs.npz", **inputs)
    store(folder, case.stored)
    found: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        workers = _start(stack, folder, case, [name for name in peers if case.times(name)], threads, found, tell)
        _check(workers, folder, found, case)
        tell(f"{case.name}: {', '.join(workers)} in turns")
        contestants = {name: _rested(partial(worker.ask, "run")) for name, worker in workers.items()} | _peak(
            stack, threads
        )
        with busy_core(threads) if case.neighbour else nullcontext():
            times = in_turns(contestants, seconds)
        for name, worker in workers.items():
            speed = {"seconds": summary(times[name]), "per_second": case.batch / median(times[name])}
            found[name] |= speed | {"memory": worker.ask("memory")}
    return {
        "name": case.name, "batch": case.batch, "input": case.given, "peers": found,
        "flops": total_flops(products(config, case.given, case.batch)) if case.output == STATES else None,
        "peak_gflops": 1 / median(times[PEAK]) / 1e9 if PEAK in times else None,
    }  # fmt: skip


def _peak(stack: ExitStack, threads: int) -> dict[str, Callable[[], float]]:
    """The machine's arithmetic as a contestant, whose seconds are of one operation; without kernels in C none."""
    if not available():
        return {}
    with cores.on_cores(threads):
        worker = stack.enter_context(Worker(module_command("aimv2_np.bench.worker"), cores.variables(threads)))
    worker.ask("peak", threads=threads)
    return {PEAK: _rested(lambda: 1 / worker.ask("peak", threads=threads))}


def _start(
    stack: ExitStack,
    folder: Path,
    case: Case,
    peers: Sequence[str],
    threads: int,
    found: dict[str, dict[str, Any]],
    tell: Callable[[str], None],
) -> dict[str, Worker]:
    workers = {}
    for name in peers:
        tell(f"starting {name}")
        with cores.on_cores(threads):
            worker = stack.enter_context(Worker(command(name), cores.variables(threads)))
        try:
            arguments = {
                "folder": str(case.place(name, folder)),
                "inputs": str(folder / "inputs.npz"),
                "output": case.output,
                "dtype": case.computed,
            }
            worker.ask("open", threads=threads, **arguments)
        except RuntimeError as error:
            found[name] = {"failed": str(error)[:300]}
            if name == OURS:
                raise
            continue
        workers[name] = worker
    return workers


def _check(workers: dict[str, Worker], folder: Path, found: dict[str, dict[str, Any]], case: Case) -> None:
    """Strike out whoever disagrees with us, unless it has another checkpoint."""
    path = folder / "features.npy"
    expected: np.ndarray | None = None
    for name in sorted(workers, key=lambda it: it != OURS):
        if case.place(name, folder) == folder / RANDOM:
            found[name] = {"error": None}
            continue
        workers[name].ask("features", path=str(path))
        features = np.load(path)
        expected = features if expected is None else expected
        error = relative_error(features, expected)
        found[name] = {"error": error}
        if not error <= case.agreement:
            found[name]["failed"] = (
                f"computes something else: relative error {error:.2g}, at most {case.agreement:g} expected"
            )
            del workers[name]


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """‖found - expected‖ / ‖expected‖; infinite for another shape."""
    if found.shape != expected.shape:
        return float("inf")
    return float(np.linalg.norm(found.astype(np.float64) - expected) / np.linalg.norm(expected.astype(np.float64)))


def _rested(work: Callable[[], float]) -> Callable[[], float]:
    def run() -> float:
        time.sleep(PAUSE)
        return work()

    return run


def alone(peers: Sequence[str]) -> list[str]:
    """Those that are something of their own where one picture is looked at."""
    return [name for name in peers if name not in (STREAMS, PLAIN)]


def compare_cold(
    folder: Path, config: Any, peers: Sequence[str], threads: int, rounds: int, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Fresh processes in turns: seconds from their start to the first feature of a picture in a file."""
    vision = vision_of(config)
    assert vision is not None
    draw_picture(folder / "picture.png", vision)
    size = 0 if vision.is_native else vision.image_shape[0]
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in alone(peers)}
    failed: dict[str, dict[str, Any]] = {}
    for _ in range(rounds):
        for name in [it for it in runs if it not in failed]:
            tell(f"cold start of {name}")
            try:
                runs[name].append(time_cold(command(name, folder, threads, folder / "picture.png", size), threads))
            except RuntimeError as error:
                failed[name] = {"failed": str(error)[:300]}
    return {name: failed.get(name) or summarise_cold(found) for name, found in runs.items()}


def compare_sharing(
    folder: Path, peers: Sequence[str], threads: int, processes: int, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Memory of several processes of each peer on one checkpoint. The inputs of the latest `compare` are used."""
    arguments = {"folder": str(folder), "threads": threads, "inputs": str(folder / "inputs.npz")}
    found: dict[str, Any] = {}
    for name in alone(peers):
        tell(f"{processes} processes of {name}")
        try:
            found[name] = share([command(name)] * processes, arguments, threads)
        except RuntimeError as error:
            found[name] = {"failed": str(error)[:300]}
    return found
