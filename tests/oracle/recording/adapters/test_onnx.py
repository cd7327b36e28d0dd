import warnings

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="pip install onnx onnxruntime")
onnxruntime = pytest.importorskip("onnxruntime", reason="pip install onnx onnxruntime")

import torch  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from aimv2_np.comparison.compare import compare  # noqa: E402
from aimv2_np.recording import record  # noqa: E402
from aimv2_np.recording.adapters import record_onnx  # noqa: E402
from tests.support.models import pixels, vision_model  # noqa: E402
from tests.support.oracle import their_model  # noqa: E402

W = np.arange(6, dtype=np.float32).reshape(3, 2)
X = np.array([[1, -2, 3]], np.float32)


@pytest.fixture
def graph(tmp_path):
    """relu(x W) and its shape, an integer that is no activation."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["/ffn/MatMul_output_0"]),
        helper.make_node("Relu", ["/ffn/MatMul_output_0"], ["y"], name="/ffn/Relu"),
        helper.make_node("Shape", ["y"], ["shape"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])
    body = helper.make_graph(nodes, "tiny", [x], [y], [numpy_helper.from_array(W, "w")])
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = tmp_path / "tiny.onnx"
    onnx.save(model, path)
    return path


def test_all_tensors_of_a_file(graph, tmp_path):
    found = record_onnx(graph, {"x": X.astype(np.float64)}, tmp_path / "a.safetensors")
    assert found.order == ("/ffn/MatMul_output_0", "/ffn/Relu_output_0", "y")  # the last two are one tensor
    np.testing.assert_array_equal(found.activations["/ffn/Relu_output_0"], found.activations["y"])
    np.testing.assert_allclose(found.activations["/ffn/MatMul_output_0"], X @ W)
    np.testing.assert_allclose(found.activations["y"], np.maximum(X @ W, 0))
    assert found.source == "onnxruntime"
    np.testing.assert_array_equal(found.inputs["x"], X)


def test_the_outputs_of_a_session(graph, tmp_path):
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    assert record_onnx(session, {"x": X}, tmp_path / "a.safetensors").order == ("y",)


def test_globs_and_wrong_inputs(graph, tmp_path):
    assert record_onnx(graph, {"x": X}, tmp_path / "a.safetensors", "*MatMul*").order == ("/ffn/MatMul_output_0",)
    with pytest.raises(ValueError, match="inputs are pixels; the graph expects x"):
        record_onnx(graph, {"pixels": X}, tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match="expected globs that match"):
        record_onnx(graph, {"x": X}, tmp_path / "b.safetensors", "shape")
    assert not (tmp_path / "b.safetensors").exists()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Transformers' vision tower as PyTorch's exporter writes it, and our recording of the same weights."""
    folder, model = tmp_path_factory.mktemp("exported"), vision_model()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the exporter says of itself
        example = (torch.from_numpy(pixels()),)
        path = folder / "model.onnx"
        torch.onnx.export(their_model(model), example, str(path), input_names=["pixel_values"], dynamo=False)
    return path, record(model, {"pixel_values": pixels()}, folder / "ours.safetensors")


def test_an_exported_model_agrees_module_by_module(exported, tmp_path):
    path, ours = exported
    comparison = compare(ours, record_onnx(path, {"pixel_values": pixels()}, tmp_path / "a.safetensors"))
    assert comparison.equal, comparison.explanation
    compared = {difference.path for difference in comparison.differences}
    assert {"embeddings.patch_embed", "encoder.layers.1.ffn.down_proj", "rms_norm"} <= compared
    assert sum(path.startswith("encoder.layers.") for path in compared) >= 2 * 9


def test_a_fault_in_the_graph_is_found_where_it_is(exported, tmp_path):
    path, ours = exported
    graph = onnx.load(path)
    spoiled = next(it for it in graph.graph.initializer if it.name == "encoder.layers.1.rms_norm2.weight")
    spoiled.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(spoiled) * np.float32(1.01), spoiled.name))
    onnx.save(graph, tmp_path / "spoiled.onnx")
    theirs = record_onnx(tmp_path / "spoiled.onnx", {"pixel_values": pixels()}, tmp_path / "a.safetensors")
    comparison = compare(ours, theirs)
    assert not comparison.equal
    assert comparison.first.path == "encoder.layers.1.rms_norm2"
