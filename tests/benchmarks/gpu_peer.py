"""One implementation on a GPU in a process of its own: `python -m tests.benchmarks.gpu_peer NAME`.

Asked by `compare_gpu.py`. The input is on the device before the clock starts, TF32 is off, and nothing but a single
implementation is imported.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.peer import alone, read_picture

Features = Callable[[], Any]  # runs once; last_hidden_state, on the device
WARM_UP = 3  # passes: compiles, tunes, records
MODES = {
    "torch.compile": "default",
    "torch.compile, reduce-overhead": "reduce-overhead",
    "torch.compile, max-autotune": "max-autotune",
}


class Ours:
    """This package with CuPy."""

    def __init__(self, folder: Path, dtype: str) -> None:
        from aimv2_np import load

        self.model = load(folder, backend="cupy", dtype=dtype)
        import cupy

        self.cupy = cupy

    def features(self, pixels: np.ndarray) -> Features:
        given = self.cupy.asarray(pixels).astype(self.model.some_array().dtype)
        return lambda: self.model(given, interpolate_pos_encoding=True).last_hidden_state

    def to_host(self, array: Any) -> np.ndarray:
        from aimv2_np import to_numpy

        return to_numpy(array).astype(np.float32)

    def seconds(self, run: Features) -> float:
        start, stop = self.cupy.cuda.Event(), self.cupy.cuda.Event()
        start.record()
        run()
        stop.record()
        stop.synchronize()
        return float(self.cupy.cuda.get_elapsed_time(start, stop)) / 1e3

    def taken(self) -> int:
        """Bytes of the device that are not free; asked before and after, of a device that nobody else uses."""
        self.cupy.cuda.get_current_stream().synchronize()
        free, total = self.cupy.cuda.runtime.memGetInfo()
        return int(total - free)


class Torch:
    """What the peers on PyTorch have in common: one of them makes `network`, pixels → last_hidden_state."""

    def __init__(self, folder: Path, dtype: str, network: Callable[[Path, Any], Any], mode: str | None = None) -> None:
        import torch

        self.torch = torch
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        torch.cuda.init()
        self.dtype = getattr(torch, dtype)
        self.network = network(folder, self.dtype)
        if mode is not None:
            self.network = torch.compile(self.network, mode=None if mode == "default" else mode)

    def features(self, pixels: np.ndarray) -> Features:
        given = self.torch.from_numpy(pixels).to("cuda", self.dtype)

        def run() -> Any:
            with self.torch.inference_mode():
                return self.network(given)

        return run

    def to_host(self, tensor: Any) -> np.ndarray:
        found: np.ndarray = tensor.float().cpu().numpy()
        return found

    def seconds(self, run: Features) -> float:
        start, stop = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        stop.record()
        stop.synchronize()
        return float(start.elapsed_time(stop)) / 1e3

    def taken(self) -> int:
        self.torch.cuda.synchronize()
        free, total = self.torch.cuda.mem_get_info()
        return int(total - free)


def transformers(attention: str) -> Callable[[Path, Any], Any]:
    """Transformers' model with one of its attentions."""

    def make(folder: Path, dtype: Any) -> Any:
        from transformers.models.aimv2.modeling_aimv2 import Aimv2VisionModel

        model = Aimv2VisionModel.from_pretrained(folder, attn_implementation=attention, dtype=dtype).eval().to("cuda")
        return lambda pixels: model(pixel_values=pixels).last_hidden_state

    return make


def timm(folder: Path, dtype: Any) -> Any:
    """timm's model of the same architecture, with the same weights in its layout."""
    import json

    import timm as library
    from safetensors.torch import load_file

    config = json.loads((folder / "config.json").read_text())
    sizes = {1024: "large", 1536: "huge", 2048: "1b", 3072: "3b"}
    name = f"aimv2_{sizes[config['hidden_size']]}_patch14_{config['image_size']}"
    if config.get("is_native") or name not in library.list_models("aimv2*"):
        raise RuntimeError(f"timm has no model of this architecture ({name})")
    model = library.create_model(name, num_classes=0)
    model.load_state_dict(load_file(folder / "timm" / "model.safetensors"), strict=True)
    return model.eval().to("cuda", dtype).forward_features


OURS = "aimv2_np"
PEERS: dict[str, Callable[[Path, str], Any]] = {
    OURS: Ours,
    "Transformers, sdpa": lambda folder, dtype: Torch(folder, dtype, transformers("sdpa")),
    **{
        name: lambda folder, dtype, mode=mode: Torch(folder, dtype, transformers("sdpa"), mode)
        for name, mode in MODES.items()
    },
    "timm": lambda folder, dtype: Torch(folder, dtype, timm),
}


class Server:
    """What the other side may ask for."""

    def __init__(self, name: str) -> None:
        self._make = PEERS[name]

    def open(self, folder: str, dtype: str, inputs: str, features: str) -> dict[str, Any]:
        """Load, run until all is compiled, write what comes out to `features`; seconds and bytes that it took."""
        began = time.perf_counter()
        self._peer = self._make(Path(folder), dtype)
        self._run = self._peer.features(np.load(inputs))
        for _ in range(WARM_UP):
            found = self._run()
        np.save(features, self._peer.to_host(found))
        return {"seconds": time.perf_counter() - began, "taken": self._peer.taken()}

    def run(self) -> float:
        """Seconds of one pass, by the device's clock."""
        return float(self._peer.seconds(self._run))


def cold(name: str, folder: Path, dtype: str, picture: Path, size: int) -> None:
    """From the start of the process to the first features in host memory."""
    marks = [time.perf_counter()]
    peer = PEERS[name](folder, dtype)
    marks.append(time.perf_counter())
    pixels = read_picture(picture, size or None)
    marks.append(time.perf_counter())
    peer.to_host(peer.features(pixels)())
    marks.append(time.perf_counter())
    talk = alone("talk")
    talk.speak(dict(zip(("load", "prepare", "run"), np.diff(marks).tolist(), strict=True)))
    talk.speak({})


def main() -> None:
    name, *arguments = sys.argv[1:]
    if arguments:
        folder, dtype, picture, size = arguments
        cold(name, Path(folder), dtype, Path(picture), int(size))
        return
    server = Server(name)
    alone("talk").serve({"open": server.open, "run": server.run})


if __name__ == "__main__":
    main()
