import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="pip install onnx onnxruntime")
onnxruntime = pytest.importorskip("onnxruntime", reason="pip install onnx onnxruntime")

from aimv2_np.export import file, to_onnx  # noqa: E402
from tests.support.models import pixels, vision_model  # noqa: E402


def test_large_weights_come_into_a_second_file(tmp_path, monkeypatch):
    model, x = vision_model(use_head=True), pixels(2)
    small = to_onnx(model, tmp_path / "small.onnx")
    monkeypatch.setattr(file, "LARGEST", 1000)
    large = to_onnx(model, tmp_path / "large.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large.onnx", "large.onnx.data", "small.onnx"]
    assert large.stat().st_size < small.stat().st_size
    onnx.checker.check_model(str(large), full_check=True)
    found = [onnxruntime.InferenceSession(str(path)).run(None, {"pixel_values": x}) for path in (small, large)]
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_neither_file_is_left_where_one_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(file, "LARGEST", 1000)
    (tmp_path / "m.onnx.data").write_text("somebody's")
    with pytest.raises(FileExistsError, match=r"m\.onnx\.data exists already"):
        to_onnx(vision_model(), tmp_path / "m.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx.data"]


def test_the_file_says_what_it_is_of(tmp_path):
    proto = onnx.load(str(to_onnx(vision_model(), tmp_path / "m.onnx")))
    about = {entry.key: entry.value for entry in proto.metadata_props}
    assert about["model"] == "Aimv2VisionModel"
    assert '"hidden_size": 16' in about["config"]
    assert proto.producer_name == "aimv2_np"
    dims = [d.dim_param or d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
    assert dims == ["batch", 3, 12, 12]
