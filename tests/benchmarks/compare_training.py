"""One step of training against PyTorch's on the same cores, in turns: time, and the memory that each takes.

    python -m tests.benchmarks.compare_training [--case vit tiny] [--rounds 5]

Cases: `vit`, a vision tower of 12 layers of 384 at 224 pixels, 16 pictures, forwards, backwards and AdamW; `tiny`, a
step of pre-training of the embedded model's size, 64 pictures, with both losses. Both sides take float32 and the same
batch. Needs the extra `oracle`.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from aimv2_np import Aimv2Config, Aimv2Processor, Aimv2VisionConfig, Aimv2VisionModel
from aimv2_np.backends.parallel import usable_cores
from aimv2_np.bench.machine import describe_machine
from aimv2_np.data import tiny_model_path
from aimv2_np.training import Pretrain, Recipe, Schedule
from aimv2_np.training.state import State
from aimv2_np.training.step import take_step
from aimv2_np.training.world import World

VIT = Aimv2VisionConfig(
    hidden_size=384, intermediate_size=1024, num_hidden_layers=12, num_attention_heads=6, image_size=224, patch_size=14,
    use_head=False,
)  # fmt: skip
RECIPE = Recipe(Schedule(1000, 1e-4), batch_size=16)
BATCHES = {"vit": 16, "tiny": 64}


class Vit:
    """The mean square of the last hidden state, of pictures drawn at random."""

    facts: dict[str, Any] = {}  # noqa: RUF012 (never changed)

    def __init__(self) -> None:
        self.network = Aimv2VisionModel(VIT).network

    def trained(self, path: str) -> bool:
        return True

    def batch(self, places: range) -> np.ndarray:
        return np.random.default_rng(0).standard_normal((len(places), 3, 224, 224), np.float32)

    def losses(self, network: Any, batch: np.ndarray) -> dict[str, Any]:
        return {"loss": (network(batch).last_hidden_state ** 2).mean()}


def task_of(case: str) -> Any:
    if case == "vit":
        return Vit()
    place = tiny_model_path()
    config = Aimv2Config.from_pretrained(place)
    return Pretrain(config.vision_config, config.text_config, World(), Aimv2Processor.from_pretrained(place))


def ours(case: str) -> Callable[[], float]:
    task = task_of(case)
    weights = task.network.state_dict()
    state = State.new(weights, list(weights), averaged=False)
    network = task.network.map(lambda path, _: state.weights[path])
    batch = task.batch(range(BATCHES[case]))
    return lambda: take_step(task, network, RECIPE, state, [batch])["loss"]


def theirs(case: str) -> Callable[[], float]:
    import torch
    from torch.nn.utils import clip_grad_norm_

    from tests.support.reference_pretraining import ReferencePretraining

    torch.set_num_threads(usable_cores())
    task = task_of(case)
    if case == "vit":
        from transformers import Aimv2VisionConfig as TheirConfig
        from transformers import Aimv2VisionModel as TheirModel

        values = {name: value for name, value in VIT.to_dict().items() if name != "model_type"}
        model: Any = TheirModel(TheirConfig(**values, attn_implementation="sdpa"))
        pixels = torch.from_numpy(task.batch(range(BATCHES[case])))

        def loss() -> Any:
            return (model(pixels).last_hidden_state ** 2).mean()
    else:
        model = ReferencePretraining(task.vision, task.decoder)
        pairs, prefix = task.batch(range(BATCHES[case]))
        inputs = [torch.from_numpy(np.asarray(it)) for it in (pairs.pixels, pairs.ids, pairs.keys, prefix)]

        def loss() -> Any:
            text, patches = model(*inputs)
            return text + 0.4 * patches

    for name, array in task.network.state_dict().items():
        model.state_dict()[name].copy_(torch.from_numpy(array))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=1e-4, fused=True)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        value = loss()
        value.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return float(value.detach())

    return step


def worker(side: str, case: str) -> None:
    """Take a step for each line on standard input; tell how long it took, the loss, and the memory at most."""
    step = {"ours": ours, "theirs": theirs}[side](case)
    step()
    for _ in sys.stdin:
        began = time.perf_counter()
        loss = step()
        seconds = time.perf_counter() - began
        print(json.dumps([seconds, loss, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024]), flush=True)


def compare(case: str, rounds: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.benchmarks.compare_training", "--case", case, "--side"]
    workers = {
        side: subprocess.Popen([*command, side], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for side in ("ours", "theirs")
    }
    taken: dict[str, list[list[float]]] = {side: [] for side in workers}
    for _ in range(rounds):
        for side, process in workers.items():
            assert process.stdin is not None
            assert process.stdout is not None
            print(file=process.stdin, flush=True)
            taken[side].append(json.loads(process.stdout.readline()))
    for process in workers.values():
        process.communicate()
    ratios = [b[0] / a[0] for a, b in zip(taken["ours"], taken["theirs"], strict=True)]
    return {
        "case": case, "machine": describe_machine(), "cores": usable_cores(),
        "seconds": {side: float(np.median([it[0] for it in steps])) for side, steps in taken.items()},
        "ours × theirs": float(np.median(ratios)),
        "memory, MB": {side: round(max(it[2] for it in steps) / 1e6) for side, steps in taken.items()},
        "loss": {side: steps[0][1] for side, steps in taken.items()},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", choices=sorted(BATCHES), default=sorted(BATCHES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    for case in args.case:
        if args.side:
            worker(args.side, case)
        else:
            print(json.dumps(compare(case, args.rounds), indent=2, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
