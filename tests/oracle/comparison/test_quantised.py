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
