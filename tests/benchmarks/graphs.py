"""The files that ONNX Runtime and OpenVINO read, from a checkpoint in Transformers' layout."""

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.peer import POOLED, STATES

ONNX, OPENVINO = "model.onnx", "openvino.xml"
DATA = "model.onnx.data"


def export(folder: Path, inputs: dict[str, np.ndarray]) -> None:
    """Write both files beside the checkpoint, for inputs of the shape of these but for the batch.

    In processes of their own: PyTorch keeps what exporting took. OpenVINO's file is left out where it is not installed.
    Raises subprocess.CalledProcessError with what the exporter said.
    """
    np.savez(folder / "example.npz", **inputs)
    for step in ("onnx", "openvino"):
        command = [sys.executable, "-m", "tests.benchmarks.graphs", step, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
        if done.returncode:
            raise RuntimeError(f"exporting {step} failed: {done.stderr.strip()[-600:]}")


def _export_onnx(folder: Path) -> None:
    import onnx
    import torch
    from transformers.models.aimv2 import modeling_aimv2 as modeling

    with np.load(folder / "example.npz") as arrays:
        inputs = {name: torch.from_numpy(array[:2]) for name, array in arrays.items()}
    texts = json.loads((folder / "config.json").read_text())["model_type"] == "aimv2_text_model"
    outputs = [STATES, POOLED] if texts else [STATES]
    kind: Any = modeling.Aimv2TextModel if texts else modeling.Aimv2VisionModel
    # Causality of texts is in the eager attention only; of pictures sdpa is exported, as one product less is traced.
    model = kind.from_pretrained(folder, attn_implementation="eager" if texts else "sdpa", dtype=torch.float32).eval()

    class Features(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: torch.Tensor) -> list[torch.Tensor]:
            found = self.model(**dict(zip(inputs, tensors, strict=True)))
            return [found[name] for name in outputs]

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the exporter says of itself
        torch.onnx.export(
            Features(), tuple(inputs.values()), str(folder / ONNX), input_names=list(inputs),
            output_names=outputs, opset_version=18, dynamo=False,
            dynamic_axes={name: {0: "batch"} for name in [*inputs, *outputs]},
        )  # fmt: skip
    # Weights beside the graph are mapped into memory, those inside are copied.
    graph = onnx.load(folder / ONNX)
    onnx.save(graph, folder / ONNX, save_as_external_data=True, location=DATA, size_threshold=1024)


def _export_openvino(folder: Path) -> None:
    try:
        import openvino as ov
    except ImportError:
        return
    # Its own format is mapped into memory too; the default would round the weights to float16.
    ov.save_model(ov.convert_model(folder / ONNX), folder / OPENVINO, compress_to_fp16=False)


STEPS = {"onnx": _export_onnx, "openvino": _export_openvino}

if __name__ == "__main__":
    STEPS[sys.argv[1]](Path(sys.argv[2]))
