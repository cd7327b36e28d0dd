"""The recipes of docs/runtimes.md, as they stand there: each runtime's recording is the reference's."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from aimv2_np.comparison import compare
from aimv2_np.recording import record
from aimv2_np.recording.adapters import record_onnx, record_torch
from tests.support.models import pixels, vision_model
from tests.support.oracle import their_model

PAGE = (Path(__file__).parents[3] / "docs" / "runtimes.md").read_text("utf-8")


def recipe(section, function):
    """A function of the first block of code below a heading of the page."""
    text = PAGE.partition(f"\n## {section}\n")[2]
    names = {}
    exec(compile(re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0], f"docs/runtimes.md: {section}", "exec"), names)
    return names[function]


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return record(vision_model(), {"pixel_values": pixels()}, tmp_path_factory.mktemp("ours") / "ours.safetensors")


@pytest.fixture(scope="module")
def theirs():
    return their_model(vision_model()).eval()


def agrees(reference, recording, row, missing=()):
    """It is the same, but for `missing`, and the page's table says how much was compared."""
    comparison = compare(reference, recording)
    assert comparison.equal, comparison.explanation
    assert set(comparison.missing) == set(missing)
    coverage = comparison.coverage
    assert f"| {row} | {len(coverage.compared)} of {coverage.modules} |" in PAGE


def exported(model, path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (torch.from_numpy(pixels()),), str(path), input_names=["pixel_values"],
            output_names=["last_hidden_state", "pooler_output"], **options,
        )  # fmt: skip
    return path


def test_eager(reference, theirs, tmp_path):
    agrees(reference, record_torch(theirs, {"pixel_values": pixels()}, tmp_path / "a"), "PyTorch, eager")


def test_exported_programs(reference, theirs, tmp_path):
    pictures = torch.from_numpy(pixels())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(theirs, (pictures,))
    recording = recipe("torch.export", "record_exported")(program, {"pixel_values": pictures}, tmp_path / "a")
    agrees(reference, recording, "`torch.export`")


POSITIONS = {"embeddings.position_embedding"}
WHOLE = {"encoder", *(f"encoder.layers.{i}.{part}" for i in range(2) for part in ("attention", "ffn"))}


@pytest.mark.parametrize(
    ("dynamo", "row", "missing"),
    [
        (False, "an ONNX file, older exporter", ()),
        (True, "an ONNX file, newer exporter (`dynamo=True`)", POSITIONS),
    ],
)
def test_onnx(dynamo, row, missing, reference, theirs, tmp_path):
    pytest.importorskip("onnxruntime")
    if dynamo:
        pytest.importorskip("onnxscript")
    path = exported(theirs, tmp_path / "model.onnx", dynamo=dynamo)
    agrees(reference, record_onnx(path, {"pixel_values": pixels()}, tmp_path / "a"), row, missing)


@pytest.mark.parametrize(("source", "missing"), [("PyTorch", POSITIONS), ("ONNX", WHOLE)])
def test_openvino(source, missing, reference, theirs, tmp_path):
    openvino = pytest.importorskip("openvino")
    if source == "PyTorch":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = openvino.convert_model(theirs, example_input=(torch.from_numpy(pixels()),))
    else:
        model = openvino.Core().read_model(str(exported(theirs, tmp_path / "model.onnx", dynamo=False)))
    recording = recipe("OpenVINO", "record_openvino")(model, {"pixel_values": pixels()}, tmp_path / "a")
    agrees(reference, recording, f"OpenVINO, from {source}", missing)


def test_mlx(tmp_path):
    mx = pytest.importorskip("mlx.core")
    from mlx import nn

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = nn.Linear(4, 6), nn.Linear(6, 4)

        def __call__(self, x):
            return self.down(nn.silu(self.up(x)))

    class Tower(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = [Block(), Block()]

        def __call__(self, x):
            for block in self.blocks:
                x = x + block(x)
            return x

    x = mx.array(np.ones((2, 4), np.float32))
    recording = recipe("MLX", "record_mlx")(Tower(), {"x": x}, tmp_path / "a")
    assert set(recording.order) == {f"blocks.{i}{part}" for i in range(2) for part in ("", ".up", ".down")}
    np.testing.assert_array_equal(recording.activations["blocks.0"], recording.activations["blocks.0.down"])
