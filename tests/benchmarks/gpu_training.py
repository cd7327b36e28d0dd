"""Training on a GPU: that it is right, and how fast a step is. Exits with 1 where it is not right.

python -m tests.benchmarks.gpu_training agreement    # ten steps in each precision against NumPy's in float32
python -m tests.benchmarks.gpu_training speed        # a step in bfloat16, and torch.compile's where torch has CUDA

`speed` takes the vision tower of `compare_training` (12 layers of 384, 224 pixels), 64 pictures: forwards, backwards,
clipping and AdamW on float32 weights, by the host's clock, which waits for the device. Both have the pictures there.
"""

import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np

from aimv2_np.backends import devices
from aimv2_np.training import train
from aimv2_np.training.loop import moved
from aimv2_np.training.precision import PRECISIONS
from aimv2_np.training.state import State
from aimv2_np.training.step import take_step
from tests.benchmarks.compare_training import RECIPE, VIT, Vit
from tests.support.training import recipe, task

STEPS, BATCH, ROUNDS, WARM_UP = 10, 64, 20, 3
# Of a loss after ten steps: what the roundings of one pass amount to. float32 sums in another order on another device.
WITHIN = {None: 1e-4, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def losses(backend: str, precision: str | None) -> np.ndarray:
    """Of ten steps of a small pre-training."""
    lines: list[Any] = []
    with tempfile.TemporaryDirectory() as folder:
        train(task(), recipe(STEPS, precision=precision), folder, backend=backend, progress=lines.append)
    return np.array([line["loss"] for line in lines])


def agreement() -> bool:
    """Whether the losses on the device are those of NumPy in float32, to rounding; and the same in a second run."""
    expected, good = losses("numpy", None), True
    for precision, within in WITHIN.items():
        found, again = losses("cupy", precision), losses("cupy", precision)
        error = float(np.max(np.abs(found / expected - 1)))
        same = bool(np.array_equal(found, again))
        right = error <= within
        print(f"{precision or 'float32'}: {STEPS} steps, off by {error:.2g}, the same bits again: {same}, {right=}")
        good = good and right
    return good


def ours(precision: str | None, batch: int = BATCH) -> Callable[[], float]:
    """A step of this package's training on the device."""
    made = Vit()
    weights = made.network.state_dict()
    state = State.new(weights, list(weights), averaged=False, precision=precision).to("cupy")
    network = made.network.map(lambda path, _: state.weights[path])
    pixels, how = moved(made.batch(range(batch)), "cupy"), replace(RECIPE, precision=precision)
    return lambda: take_step(made, network, how, state, [pixels])["loss"]  # a number, for which the host has waited


def theirs(compiled: bool, batch: int = BATCH) -> Callable[[], float]:
    """A step of Transformers' model on the device, in bfloat16 by autocast, weights in float32."""
    import torch
    from torch.nn.utils import clip_grad_norm_
    from transformers import Aimv2VisionConfig as TheirConfig
    from transformers import Aimv2VisionModel as TheirModel

    values = {name: value for name, value in VIT.to_dict().items() if name != "model_type"}
    model: Any = TheirModel(TheirConfig(**values, attn_implementation="sdpa")).to("cuda")
    made = Vit()
    for name, array in made.network.state_dict().items():
        model.state_dict()[name].copy_(torch.from_numpy(array))
    run = torch.compile(model) if compiled else model
    pixels = torch.from_numpy(made.batch(range(batch))).to("cuda")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=1e-4, fused=True)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16):
            hidden = run(pixels).last_hidden_state
        loss = (hidden.float() ** 2).mean()
        loss.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return float(loss.detach())

    return step


def seconds(step: Callable[[], float], rounds: int = ROUNDS) -> float:
    """Median of a step; the loss that it returns makes the host wait for the step before."""
    for _ in range(WARM_UP):
        step()
    times = []
    for _ in range(rounds):
        began = perf_counter()
        step()
        times.append(perf_counter() - began)
    return float(np.median(times))


def speed(batch: int = BATCH, rounds: int = ROUNDS) -> bool:
    """A table of steps; PyTorch's where it has CUDA."""
    devices.find_cupy("bfloat16")
    print(f"| {batch} pictures | ms a step | pictures a second |")
    print("|---|---:|---:|")
    cases: dict[str, Callable[[], Callable[[], float]]] = {
        f"here, {precision or 'float32'}": lambda precision=precision: ours(precision, batch)  # type: ignore[misc]
        for precision in (None, *PRECISIONS)
    }
    if _torch_has_cuda():
        cases["PyTorch, autocast to bfloat16"] = lambda: theirs(False, batch)
        cases["torch.compile, autocast to bfloat16"] = lambda: theirs(True, batch)
    for name, make in cases.items():
        taken = seconds(make(), rounds)
        print(f"| {name} | {1e3 * taken:.1f} | {batch / taken:.0f} |", flush=True)
    return True


def _torch_has_cuda() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


def main() -> None:
    actions: dict[str, Callable[[], bool]] = {"agreement": agreement, "speed": speed}
    sys.exit(not actions[sys.argv[1]]())


if __name__ == "__main__":
    main()
