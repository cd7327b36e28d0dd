import warnings

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="pip install onnx onnxruntime")
onnxruntime = pytest.importorskip("onnxruntime", reason="pip install onnx onnxruntime")

import torch  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from aimv2_np.comparison.compare import compare  # noqa: E402
from aimv2_np.recording import record  # noqa: E402
from aimv2_np.recording.adapters import record_arrays, record_onnx  # noqa: E402
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


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """The same with the graph's outputs called as Transformers calls them, and the nodes' tensors as outputs too."""
    folder, model = tmp_path_factory.mktemp("named"), vision_model()
    names = ["last_hidden_state", "pooler_output"]
    path = folder / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = (torch.from_numpy(pixels()),)
        torch.onnx.export(
            their_model(model), example, str(path), input_names=["pixel_values"], output_names=names, dynamo=False
        )
    graph = onnx.load(path)
    kept = {out.name for out in graph.graph.output}
    for node in graph.graph.node:
        if node.op_type in ("MatMul", "Gemm", "Add", "Mul", "Conv", "Softmax"):
            graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.output if name not in kept)
    onnx.save(graph, folder / "open.onnx")
    return folder, record(model, {"pixel_values": pixels()}, folder / "ours.safetensors")


def spoil(folder, name, factor=1.5):
    """A copy of the graph with one of its weights changed."""
    graph = onnx.load(folder / "open.onnx")
    weight = next(it for it in graph.graph.initializer if it.name == name)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(factor), weight.name))
    onnx.save(graph, folder / "spoiled.onnx")
    return folder / "spoiled.onnx"


def by_session(path, target):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return record_onnx(session, {"pixel_values": pixels()}, target, overwrite=True)


def by_openvino(path, target):
    openvino = pytest.importorskip("openvino", reason="pip install openvino")
    compiled = openvino.compile_model(openvino.Core().read_model(str(path)), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled({"pixel_values": pixels()})
    arrays = {name: found[out] for out in compiled.outputs for name in out.get_names()}
    return record_arrays(arrays, target, inputs={"pixel_values": pixels()}, overwrite=True)


@pytest.mark.parametrize("runtime", [by_session, by_openvino])
def test_the_product_before_the_gain_is_not_the_final_norm(named, runtime, tmp_path):
    """The only product under the norm's own name is the inner one, as the outer one is the graph's output."""
    folder, ours = named
    comparison = compare(ours, runtime(folder / "open.onnx", tmp_path / "a.safetensors"))
    assert comparison.equal, comparison.explanation
    final = next(difference for difference in comparison.differences if difference.path == "rms_norm")
    assert final.theirs == "last_hidden_state"
    spoiled = compare(ours, runtime(spoil(folder, "rms_norm.weight"), tmp_path / "a.safetensors"))
    assert spoiled.first.path == "rms_norm"


def test_without_the_graphs_outputs_the_final_norm_is_not_compared(named, tmp_path):
    folder, ours = named
    recording = by_session(folder / "open.onnx", tmp_path / "a.safetensors")
    arrays = {name: recording.activations[name] for name in recording.order if name.startswith("/")}
    comparison = compare(ours, arrays)
    assert comparison.equal, comparison.explanation
    assert "rms_norm" in comparison.missing


def test_a_file_tells_every_modules_output(named, tmp_path):
    folder, ours = named
    recording = record_onnx(folder / "model.onnx", {"pixel_values": pixels()}, tmp_path / "a.safetensors")
    comparison = compare(ours, recording)
    assert comparison.equal, comparison.explanation
    assert comparison.missing == ()
    ffn = record_onnx(folder / "model.onnx", {"pixel_values": pixels()}, tmp_path / "b.safetensors", "*.ffn")
    assert ffn.order == ("encoder.layers.0.ffn", "encoder.layers.1.ffn")


def test_the_names_of_the_newer_exporter(named, tmp_path):
    """It calls tensors `mul_3` and writes the modules into each node's metadata."""
    folder, ours = named
    graph = onnx.load(folder / "model.onnx")
    final = {out.name for out in graph.graph.output}
    renamed = {}
    for i, node in enumerate(graph.graph.node):
        parts = [part for part in node.name.split("/")[1:-1] if part]
        scopes = ["", *(".".join(parts[: end + 1]) for end in range(len(parts))), f"node_{i}"]
        node.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=repr(scopes))
        node.name = f"node_{i}"
        renamed |= {name: f"val_{i}" for name in node.output if name not in final}
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    onnx.save(graph, tmp_path / "dynamo.onnx")
    recording = record_onnx(tmp_path / "dynamo.onnx", {"pixel_values": pixels()}, tmp_path / "a.safetensors")
    assert "encoder.layers.0.ffn" not in recording.order
    comparison = compare(ours, recording)
    assert comparison.equal, comparison.explanation
    assert comparison.missing == ()
