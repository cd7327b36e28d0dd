"""Products in int8, by ONNX Runtime's quantiser: how far off, by module, and what is left as it was."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="pip install onnx onnxruntime")
onnxruntime = pytest.importorskip("onnxruntime", reason="pip install onnx onnxruntime")

from aimv2_np import Aimv2ImageProcessor, Aimv2Processor, load  # noqa: E402
from aimv2_np.comparison import Tolerances, compare  # noqa: E402
from aimv2_np.comparison.loss import measure_graph_loss  # noqa: E402
from aimv2_np.data import tiny_model_path  # noqa: E402
from aimv2_np.export import file, to_onnx  # noqa: E402
from aimv2_np.recording import record  # noqa: E402
from aimv2_np.recording.adapters import record_onnx  # noqa: E402
from tests.support.models import pixels, vision_model  # noqa: E402


@pytest.fixture(scope="module")
def model():
    return load(tiny_model_path())


def test_every_module_is_off_by_no_more_than_int8_rounds(model, tmp_path, caplog):
    processor = Aimv2Processor.from_pretrained(tiny_model_path())
    inputs = {**processor(text=["a red star", "a thing"], padding=True), "pixel_values": pixels(2, 64, 64)}
    graph = to_onnx(model, tmp_path / "m.onnx", int8=True)
    onnx.checker.check_model(str(graph), full_check=True)
    ours = record(model, inputs, tmp_path / "a.safetensors")
    theirs = record_onnx(graph, inputs, tmp_path / "b.safetensors")
    assert set(ours.order) <= set(theirs.order)
    assert not compare(ours, theirs)
    assert compare(ours, theirs, model=model, tolerances=Tolerances(quantised="int8"))
    assert not caplog.records  # the quantiser's advice is followed


def test_weights_have_seven_bits_and_a_factor_for_each_output(model, tmp_path):
    whole, narrow = (
        onnx.load(str(to_onnx(model, tmp_path / f"{int8}.onnx", int8=int8))).graph for int8 in (False, True)
    )
    floats = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in whole.initializer}
    products = {node.input[1] for node in whole.node if node.op_type == "MatMul"} & floats.keys()
    kept = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in narrow.initializer}
    assert len(products) > 7 * 7  # seven of every layer's, and of head and projections
    for name in products:
        weight, scale = kept[f"{name}_quantized"], kept[f"{name}_scale"]
        assert weight.dtype == np.int8
        assert abs(weight.astype(int)).max() <= 64
        assert scale.shape == weight.shape[1:]
        assert (abs(weight * scale - floats[name]) <= 0.51 * scale + 1e-7).all()
    assert not products & kept.keys()
    assert kept.keys() >= {"text_model.embeddings.token_embedding.weight", "vision_model.rms_norm.weight"}


@pytest.mark.parametrize("options", [
    {}, {"tower": "text"}, {"tower": "vision", "size": (80, 64)},
    {"preprocess": Aimv2ImageProcessor.from_pretrained(tiny_model_path())},
])  # fmt: skip
def test_the_loss_of_any_graph(model, tmp_path, options):
    exact, rounded = (
        measure_graph_loss(model, to_onnx(model, tmp_path / f"{int8}.onnx", int8=int8, **options))
        for int8 in (False, True)
    )
    assert exact.cosines.keys() == rounded.cosines.keys() > set()
    assert min(exact.cosines.values()) > 1 - 1e-6
    assert 0.999 < min(rounded.cosines.values()) < max(exact.cosines.values())
    assert exact.layers[0][1] < 1e-5 < rounded.layers[0][1] < 0.1


def test_a_tower_without_a_head_of_one_channel(tmp_path):
    model = vision_model(num_channels=1, is_native=True)
    loss = measure_graph_loss(model, to_onnx(model, tmp_path / "m.onnx", dynamic=True))
    assert min(loss.cosines.values()) > 1 - 1e-6
    assert len(loss.layers) == model.config.num_hidden_layers


def test_large_weights_stay_in_a_second_file(model, tmp_path, monkeypatch):
    small = to_onnx(model, tmp_path / "small.onnx", tower="vision", int8=True)
    monkeypatch.setattr(file, "LARGEST", 1000)
    large = to_onnx(model, tmp_path / "large.onnx", tower="vision", int8=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large.onnx", "large.onnx.data", "small.onnx"]
    x = {"pixel_values": pixels(1, 64, 64)}
    found = [onnxruntime.InferenceSession(str(path)).run(None, x) for path in (small, large)]
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)
    before = large.read_bytes()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        to_onnx(model, large, int8=True)
    large.unlink()
    with pytest.raises(FileExistsError, match=r"large\.onnx\.data exists already"):
        to_onnx(model, large, tower="vision", int8=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large.onnx.data", "small.onnx"]
    to_onnx(model, large, tower="vision", int8=True, overwrite=True)
    assert large.read_bytes() == before


def test_wrong_calls(model, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="dtype is 'float16' with int8; expected float32"):
        to_onnx(model, tmp_path / "m.onnx", int8=True, dtype="float16")
    monkeypatch.setattr("aimv2_np.export.int8.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="int8 needs onnxruntime"):
        to_onnx(model, tmp_path / "m.onnx", int8=True)
    assert not list(tmp_path.iterdir())
