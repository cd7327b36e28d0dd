"""Implementations against each other: the same checkpoint, the same inputs, the same cores, in turns."""

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from aimv2_np import Aimv2TextConfig
from aimv2_np.bench import cores
from aimv2_np.bench.models import PEAKED, configuration, draw_picture, shortened, vision_of, write_random
from aimv2_np.bench.run import share, summarise_cold, time_cold
from aimv2_np.bench.talk import Worker
from aimv2_np.bench.timing import in_turns, summary
from aimv2_np.config import AnyConfig
from tests.benchmarks.graphs import export
from tests.benchmarks.peer import OURS, POOLED, STATES

PEER = "tests.benchmarks.peer"
# Of the largest element, root mean square: two float32 programs differ by a few 1e-6, another network by much more.
AGREEMENT = 1e-5
PEAKED_AGREEMENT = 1e-2  # scores of a hundred round a hundred times as much, and e^x has that relative to itself
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
    """

    name: str
    model: str
    given: dict[str, Any]
    batch: int
    output: str = STATES

    def config(self, layers: int | None = None) -> AnyConfig:
        """The configuration, with all blocks or `layers` of them."""
        return shortened(Aimv2TextConfig(), layers) if self.model == "text" else configuration(self.model, layers)

    @property
    def peaked(self) -> bool:
        """Whether the weights make peaked attention and outliers, as trained ones do."""
        return self.model.endswith(PEAKED)


def pictures(name: str, model: str, size: int, batch: int) -> Case:
    """Square pictures."""
    return Case(name, model, {"kind": "pictures", "height": size, "width": size}, batch)


CASES = (
    pictures("large, 224 px, 1 picture", "large-224", 224, 1),
    pictures("large, 224 px, 8 pictures", "large-224", 224, 8),
    pictures("large, 224 px, 32 pictures", "large-224", 224, 32),
    pictures("large, 336 px, 1 picture", "large-336", 336, 1),
    pictures("large, 448 px, 1 picture", "large-448", 448, 1),
    pictures("large, 448 px, 1 picture, peaked attention", "large-448-peaked", 448, 1),
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
    """The checkpoint and the graphs of it, for inputs of this size."""
    write_random(folder, config, peak=peaked)
    export(folder, inputs)
    for path in folder.iterdir():
        path.read_bytes()  # into the system's cache


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
    found: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        workers = _start(stack, folder, case, [it for it in peers if _makes_sense(it, case)], threads, found, tell)
        _check(workers, folder, found, PEAKED_AGREEMENT if case.peaked else AGREEMENT)
        tell(f"{case.name}: {', '.join(workers)} in turns")
        times = in_turns({name: _rested(worker) for name, worker in workers.items()}, seconds)
        for name, worker in workers.items():
            speed = {"seconds": summary(times[name]), "per_second": case.batch / median(times[name])}
            found[name] |= speed | {"memory": worker.ask("memory")}
    return {"name": case.name, "batch": case.batch, "input": case.given, "peers": found}


def _makes_sense(peer: str, case: Case) -> bool:
    return case.batch > 1 or peer != "OpenVINO, streams"


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
            arguments = {"folder": str(folder), "inputs": str(folder / "inputs.npz"), "output": case.output}
            worker.ask("open", threads=threads, **arguments)
        except RuntimeError as error:
            found[name] = {"failed": str(error)[:300]}
            if name == OURS:
                raise
            continue
        workers[name] = worker
    return workers


def _check(workers: dict[str, Worker], folder: Path, found: dict[str, dict[str, Any]], agreement: float) -> None:
    """Strike out whoever disagrees with us."""
    path = folder / "features.npy"
    expected: np.ndarray | None = None
    for name in sorted(workers, key=lambda it: it != OURS):
        workers[name].ask("features", path=str(path))
        features = np.load(path)
        expected = features if expected is None else expected
        error = relative_error(features, expected)
        found[name] = {"error": error}
        if not error <= agreement:
            found[name]["failed"] = (
                f"computes something else: relative error {error:.2g}, at most {agreement:g} expected"
            )
            del workers[name]


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """‖found - expected‖ / ‖expected‖; infinite for another shape."""
    if found.shape != expected.shape:
        return float("inf")
    return float(np.linalg.norm(found.astype(np.float64) - expected) / np.linalg.norm(expected.astype(np.float64)))


def _rested(worker: Worker) -> Callable[[], float]:
    def run() -> float:
        time.sleep(PAUSE)
        seconds: float = worker.ask("run")
        return seconds

    return run


def compare_cold(
    folder: Path, config: Any, peers: Sequence[str], threads: int, rounds: int, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Fresh processes in turns: seconds from their start to the first feature of a picture in a file."""
    vision = vision_of(config)
    assert vision is not None
    draw_picture(folder / "picture.png", vision)
    size = 0 if vision.is_native else vision.image_shape[0]
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in peers if name != "OpenVINO, streams"}
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
    for name in peers:
        if name == "OpenVINO, streams":
            continue
        tell(f"{processes} processes of {name}")
        try:
            found[name] = share([command(name)] * processes, arguments, threads)
        except RuntimeError as error:
            found[name] = {"failed": str(error)[:300]}
    return found
