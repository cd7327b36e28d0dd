"""ONNX Runtime's own dynamic quantisation of an exported model, judged by what arises in each module."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from aimv2_np.comparison import Tolerances, compare
from aimv2_np.recording import record
from aimv2_np.recording.adapters import record_onnx
from tests.oracle.recording.test_runtimes import exported
from tests.support.models import pixels, vision_model
from tests.support.oracle import their_model

GIVEN = {"pixel_values": pixels()}
INT8 = Tolerances(quantised="int8")


@pytest.fixture(scope="module", params=[False, True], ids=["one factor", "a factor for each channel"])
def quantised(request, tmp_path_factory):
    """(model, its recording, folder, function from graph to the recording of its quantised form)."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    folder, model = tmp_path_factory.mktemp("quantised"), vision_model()
    exported(their_model(model).eval(), folder / "model.onnx", dynamo=False)

    def recorded(name):
        quantize_dynamic(folder / name, folder / "int8.onnx", per_channel=request.param, weight_type=QuantType.QInt8)
        return record_onnx(folder / "int8.onnx", GIVEN, folder / f"{name}.safetensors", overwrite=True)

    return model, record(model, GIVEN, folder / "ours.safetensors"), folder, recorded


def test_it_is_not_accused(quantised):
    model, reference, _, recorded = quantised
    result = compare(reference, recorded("model.onnx"), model=model, tolerances=INT8)
    assert result.equal, result.explanation
    assert result.coverage.share > 0.9
    assert max(each.own for each in result.differences if each.own is not None) > 0.005


def test_graphs_of_the_newer_exporter_by_the_names_of_what_they_were_made_of(tmp_path):
    from onnxruntime.quantization import quantize_dynamic

    model = vision_model()
    exported(their_model(model).eval(), tmp_path / "model.onnx", dynamo=True)
    quantize_dynamic(tmp_path / "model.onnx", tmp_path / "int8.onnx")
    reference = record(model, GIVEN, tmp_path / "ours.safetensors")
    options = {"alone": {}, "named": {"quantised_from": tmp_path / "model.onnx"}}
    shares = {}
    for name, given in options.items():
        other = record_onnx(tmp_path / "int8.onnx", GIVEN, tmp_path / f"{name}.safetensors", **given)
        result = compare(reference, other, model=model, tolerances=INT8)
        assert result.equal, result.explanation
        shares[name] = result.coverage.share
    assert shares["alone"] < 0.5
    assert shares["named"] > 0.9


@pytest.mark.filterwarnings("ignore")
def test_static_quantisation_rounds_what_lies_between(tmp_path):
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Calibration(CalibrationDataReader):
        def __init__(self):
            self.left = [GIVEN]

        def get_next(self):
            return self.left.pop() if self.left else None

    model = vision_model()
    exported(their_model(model).eval(), tmp_path / "model.onnx", dynamo=False)
    quantize_static(
        tmp_path / "model.onnx", tmp_path / "int8.onnx", Calibration(), quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["MatMul"],
    )  # fmt: skip
    reference = record(model, GIVEN, tmp_path / "ours.safetensors")
    other = record_onnx(tmp_path / "int8.onnx", GIVEN, tmp_path / "static.safetensors")
    result = compare(reference, other, model=model, tolerances=INT8)
    assert "say so (--quantised int8-static)" in result.explanation
    result = compare(reference, other, model=model, tolerances=Tolerances(quantised="int8-static"))
    assert result.equal, result.explanation


def test_without_the_mode_its_rounding_is_named_to_the_last_digit(quantised):
    model, reference, _, recorded = quantised
    result = compare(reference, recorded("model.onnx"), model=model)
    assert result.first.path == "embeddings.patch_embed"
    assert result.diagnosis.identifier == "int8_activations"
    assert result.diagnosis.relative < 1e-6


def test_a_real_fault_beneath_it_is_named(quantised):
    model, reference, folder, recorded = quantised
    graph = onnx.load(folder / "model.onnx")
    weight = next(each for each in graph.graph.initializer if each.name == "encoder.layers.1.rms_norm2.weight")
    weight.CopyFrom(numpy_helper.from_array(np.ones_like(numpy_helper.to_array(weight)), weight.name))
    onnx.save(graph, folder / "faulty.onnx")
    result = compare(reference, recorded("faulty.onnx"), model=model, tolerances=INT8)
    assert result.first.path == "encoder.layers.1.rms_norm2"
    assert result.diagnosis.identifier == "wrong_norm_gain"
    assert [each.path for each in result.wrong] == ["encoder.layers.1.rms_norm2"]
