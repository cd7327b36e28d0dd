"""One implementation in a process of its own: `python -m tests.benchmarks.peer NAME`, asked by `measure.py`.

Imports nothing but what the implementation needs: the package's own start is not to be counted as a peer's.
"""

import importlib.util
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

Inputs = dict[str, np.ndarray]
Run = Callable[[Inputs], np.ndarray]
STATES, POOLED = "last_hidden_state", "pooler_output"  # what a peer may be asked for; of pictures the states only
BENCH = Path(__file__).parents[2] / "aimv2_np" / "bench"


def alone(name: str) -> ModuleType:
    """A file of `aimv2_np.bench` without the package around it."""
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def ours(folder: Path, threads: int, output: str, dtype: str) -> Run:
    """This package; it takes as many cores as it is given."""
    from aimv2_np import load

    model = load(folder, dtype=dtype)
    if output == POOLED:
        return lambda inputs: model.features(**inputs)
    return lambda inputs: model(**inputs).last_hidden_state


def plain(folder: Path, threads: int, output: str, dtype: str) -> Run:
    """This package in float32, whatever the case asks for."""
    return ours(folder, threads, output, "float32")


def onnxruntime(folder: Path, threads: int, output: str, dtype: str) -> Run:
    """ONNX Runtime, all graph optimisations."""
    import onnxruntime as ort

    if dtype != "float32":
        raise RuntimeError(f"its CPU provider has no {dtype}")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = ort.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run([output], inputs)[0]


def openvino(folder: Path, threads: int, output: str, dtype: str) -> Run:
    """OpenVINO for latency: all cores on one request."""
    import openvino as ov

    precision = {"float32": "f32", "bfloat16": "bf16"}[dtype]
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads}
    model = ov.Core().compile_model(folder / "openvino.xml", "CPU", settings)
    return lambda inputs: model(inputs)[output]


def openvino_streams(folder: Path, threads: int, output: str, dtype: str) -> Run:
    """OpenVINO for throughput: one stream per core, each with its share of the batch."""
    import openvino as ov

    settings = {
        "PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": threads,
    }  # fmt: skip
    model = ov.Core().compile_model(folder / "openvino.xml", "CPU", settings)
    requests = [model.create_infer_request() for _ in range(threads)]

    def run(inputs: Inputs) -> np.ndarray:
        shares = zip(*(np.array_split(array, threads) for array in inputs.values()), strict=True)
        busy = []
        for request, share in zip(requests, shares, strict=True):
            if len(share[0]):
                request.start_async(dict(zip(inputs, share, strict=True)))
                busy.append(request)
        for request in busy:
            request.wait()
        return np.concatenate([request.get_tensor(output).data for request in busy])

    return run


def transformers(attention: str, *, compiled: bool = False) -> Callable[[Path, int, str, str], Run]:
    """Transformers' model with one of its attentions, in inference mode; compiled by PyTorch or not."""

    def make(folder: Path, threads: int, output: str, dtype: str) -> Run:
        import torch
        from transformers import AutoConfig
        from transformers.models.aimv2 import modeling_aimv2 as modeling

        torch.set_num_threads(threads)
        config = AutoConfig.from_pretrained(folder)
        kind = {"aimv2_text_model": modeling.Aimv2TextModel}.get(config.model_type, modeling.Aimv2VisionModel)
        model = kind.from_pretrained(folder, attn_implementation=attention, dtype=getattr(torch, dtype)).eval()
        network: Any = torch.compile(model) if compiled else model

        def run(inputs: Inputs) -> np.ndarray:
            with torch.inference_mode():
                tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
                if "pixel_values" in tensors:
                    tensors["pixel_values"] = tensors["pixel_values"].to(model.dtype)
                found: np.ndarray = getattr(network(**tensors), output).float().numpy()
                return found

        return run

    return make


OURS, PLAIN, STREAMS = "aimv2_np", "aimv2_np, random in float32", "OpenVINO, streams"
PEERS: dict[str, Callable[[Path, int, str, str], Run]] = {
    OURS: ours,
    PLAIN: plain,  # where the case's own weights or arithmetic are others
    "OpenVINO": openvino,
    STREAMS: openvino_streams,
    "ONNX Runtime": onnxruntime,
    "Transformers, sdpa": transformers("sdpa"),
    "Transformers, eager": transformers("eager"),
    "torch.compile": transformers("sdpa", compiled=True),
}


def read_picture(path: Path, size: int | None) -> np.ndarray:
    """(1, 3, H, W) as CLIP's processor makes it, with nothing but Pillow: no implementation has to start another."""
    from PIL import Image

    image = Image.open(path).convert("RGB")
    if size is not None:
        width, height = (size * edge // min(image.size) for edge in image.size)
        left, top = (width - size) // 2, (height - size) // 2
        image = image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + size, top + size))
    mean = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
    std = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
    pixels = (np.asarray(image, np.float32) / 255 - mean) / std
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))[None]


class Server:
    """What the other side may ask for."""

    def __init__(self, name: str) -> None:
        self._make, self._memory = PEERS[name], alone("memory")
        self._run: Run | None = None
        self._inputs: Inputs = {}

    def open(self, folder: str, threads: int, inputs: str, output: str = STATES, dtype: str = "float32") -> None:
        """Load the checkpoint in `folder` and the inputs in a file of arrays; run once."""
        with np.load(inputs) as arrays:
            self._inputs = dict(arrays)
        self._run = self._make(Path(folder), threads, output, dtype)
        self._run(self._inputs)

    def hold(self, **arguments: Any) -> None:
        """`open`, under the name that it has where memory of several processes is measured."""
        self.open(**arguments)

    def features(self, path: str) -> None:
        """Run and write the output to a file."""
        assert self._run is not None
        np.save(path, self._run(self._inputs))

    def run(self) -> float:
        """Seconds of one pass."""
        assert self._run is not None
        began = time.perf_counter()
        self._run(self._inputs)
        return time.perf_counter() - began

    def memory(self) -> dict[str, int | None]:
        """What the process takes; "worst", what of it belongs to no file at the worst moment of one more pass."""
        memory: dict[str, int | None] = asdict(self._memory.read_memory())
        worst = None
        if self._memory.reset_peak():
            self.run()
            worst = self._memory.read_memory().peak_anonymous
        return memory | {"worst": worst}


def cold(name: str, folder: Path, threads: int, picture: Path, size: int | None) -> None:
    """From the start to the first feature; says so, then how much memory it took."""
    talk = alone("talk")
    marks = [time.perf_counter()]
    run = PEERS[name](folder, threads, STATES, "float32")
    marks.append(time.perf_counter())
    pixels = read_picture(picture, size)
    marks.append(time.perf_counter())
    run({"pixel_values": pixels})
    marks.append(time.perf_counter())
    talk.speak(dict(zip(("load", "prepare", "run"), np.diff(marks).tolist(), strict=True)))
    talk.speak(asdict(alone("memory").read_memory()))


def main() -> None:
    name, *arguments = sys.argv[1:]
    if arguments:
        folder, threads, picture, size = arguments
        cold(name, Path(folder), int(threads), Path(picture), int(size) or None)
        return
    server = Server(name)
    functions = {it: getattr(server, it) for it in ("open", "hold", "features", "run", "memory")}
    alone("talk").serve(functions)


if __name__ == "__main__":
    main()
