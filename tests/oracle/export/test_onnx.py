"""A model's graph computes what the model does, in ONNX Runtime, at every value that has a name."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

onnx = pytest.importorskip("onnx", reason="pip install onnx onnxruntime")
onnxruntime = pytest.importorskip("onnxruntime", reason="pip install onnx onnxruntime")

from aimv2_np import Aimv2Model, Aimv2Processor, Aimv2TextModel, Aimv2VisionModel, load, trace  # noqa: E402
from aimv2_np.comparison import compare  # noqa: E402
from aimv2_np.data import tiny_model_path  # noqa: E402
from aimv2_np.export import to_onnx  # noqa: E402
from aimv2_np.recording import record  # noqa: E402
from aimv2_np.recording.adapters import record_onnx  # noqa: E402
from tests.support.models import both_model, pixels, randomized, text_model, vision_model  # noqa: E402
from tests.support.strategies import text_configs, two_tower_configs, vision_configs  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::aimv2_np.MissingEndWarning")
MASKS = np.array([[1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])


def values_of(path) -> dict[str, Any]:
    """A session whose outputs are all values that have a name, and what it computes."""
    onnx.checker.check_model(str(path), full_check=True)
    proto = onnx.load(str(path))
    for value in proto.graph.value_info:
        proto.graph.output.append(value)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    names = [output.name for output in session.get_outputs()]
    return lambda **inputs: dict(zip(names, session.run(names, inputs), strict=True))


def check(model, path, inputs, tolerance=2e-5, call=None, **options) -> None:
    """All that a trace of the model knows is in the graph, equal to rounding; and nothing else has a name."""
    found = values_of(to_onnx(model, path, overwrite=True, **options))(**inputs)
    with trace(model) as expected:
        (call or model)(**inputs)
    assert set(expected) <= set(found)
    for name, array in expected.items():
        size = max(float(abs(array).max()), 1e-3)
        np.testing.assert_allclose(found[name], array, rtol=0, atol=tolerance * size, err_msg=name)


def texts(config, rng, rows=4) -> dict[str, Any]:
    tokens = min(6, config.max_position_embeddings)
    ids = rng.integers(0, config.vocab_size, (rows, tokens))
    return {"input_ids": ids, "attention_mask": MASKS[:rows, :tokens]}


def images(config, rng, rows=2) -> dict[str, Any]:
    shape = (rows, config.num_channels, *config.image_shape)
    return {"pixel_values": rng.standard_normal(shape).astype(np.float32)}


@settings(max_examples=15)
@given(vision_configs(rectangular=True), st.integers(1, 3))
def test_any_vision_tower(tmp_path_factory, config, rows):
    model = randomized(Aimv2VisionModel(config))
    check(model, tmp_path_factory.getbasetemp() / "v.onnx", images(config, np.random.default_rng(0), rows))


@settings(max_examples=10)
@given(text_configs())
def test_any_text_tower(tmp_path_factory, config):
    model = randomized(Aimv2TextModel(config))
    check(model, tmp_path_factory.getbasetemp() / "t.onnx", texts(config, np.random.default_rng(0)))


@settings(max_examples=10)
@given(two_tower_configs())
def test_any_two_towers(tmp_path_factory, config):
    rng = np.random.default_rng(0)
    inputs = {**images(config.vision_config, rng, 3), **texts(config.text_config, rng, 2)}
    check(randomized(Aimv2Model(config)), tmp_path_factory.getbasetemp() / "b.onnx", inputs)


def test_one_graph_for_any_number_of_images_texts_and_tokens(tmp_path):
    model, rng = both_model(), np.random.default_rng(0)
    run = values_of(to_onnx(model, tmp_path / "m.onnx"))
    for n, rows, tokens in ((1, 1, 1), (3, 2, 4), (2, 5, 9)):
        ids = rng.integers(0, 40, (rows, tokens))
        given_ = {"pixel_values": pixels(n), "input_ids": ids, "attention_mask": np.ones_like(ids)}
        np.testing.assert_allclose(
            run(**given_)["logits_per_image"], model(**given_).logits_per_image, rtol=1e-5, atol=1e-5
        )


def test_grids(tmp_path):
    native, learned = vision_model(is_native=True, use_head=True), vision_model(use_head=True)
    rng = np.random.default_rng(0)

    def stretched(**inputs):
        return learned(**inputs, interpolate_pos_encoding=True)

    for height, width in ((8, 23), (17, 12)):
        given_ = {"pixel_values": rng.standard_normal((2, 3, height, width)).astype(np.float32)}
        check(native, tmp_path / "n.onnx", given_, dynamic=True)
        check(native, tmp_path / "f.onnx", given_, size=(height, width))
        check(learned, tmp_path / "l.onnx", given_, size=(height, width), call=stretched)


def test_one_tower_of_two(tmp_path):
    model = both_model()
    vision, ids = pixels(2), {"input_ids": np.array([[3, 39, 39]]), "attention_mask": np.array([[1, 1, 0]])}
    found = values_of(to_onnx(model, tmp_path / "v.onnx", tower="vision"))(pixel_values=vision)
    expected = model(pixel_values=vision)
    np.testing.assert_allclose(found["image_embeds"], expected.image_embeds, atol=1e-6)
    np.testing.assert_allclose(found["pooler_output"], expected.vision_model_output.pooler_output, atol=1e-5)
    session = onnxruntime.InferenceSession(str(to_onnx(model, tmp_path / "t.onnx", tower="text")))
    assert [value.name for value in session.get_outputs()] == ["text_embeds", "last_hidden_state", "pooler_output"]
    np.testing.assert_allclose(session.run(["text_embeds"], ids)[0], model(**ids).text_embeds, atol=1e-6)


def test_a_recording_of_the_graph_is_compared_without_a_table(tmp_path):
    model, processor = load(tiny_model_path()), Aimv2Processor.from_pretrained(tiny_model_path())
    path = to_onnx(model, tmp_path / "m.onnx")
    inputs = {**processor(text=["a red star", "a thing"], padding=True), "pixel_values": pixels(2, 64, 64)}
    ours = record(model, inputs, tmp_path / "a.safetensors")
    theirs = record_onnx(path, inputs, tmp_path / "b.safetensors")
    assert set(ours.order) <= set(theirs.order)
    found = compare(ours, theirs)
    assert found
    assert f"The {len(ours.order) + len(ours.inputs)} activations" in found.explanation


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(tmp_path, dtype):
    model = vision_model(use_head=True)
    path = to_onnx(model, tmp_path / "h.onnx", dtype=dtype)
    onnx.checker.check_model(str(path), full_check=True)
    kinds = {tensor.data_type for tensor in onnx.load(str(path)).graph.initializer if ".weight" in tensor.name}
    assert kinds == {getattr(onnx.TensorProto, dtype.upper())}
    x = pixels(2)
    expected = model(x).pooler_output
    if dtype == "float16":
        found = values_of(path)(pixel_values=x.astype(np.float16))["pooler_output"]
        np.testing.assert_allclose(found, expected, atol=0.02)
    else:  # ONNX Runtime's CPU has no products of bfloat16
        from onnx.reference import ReferenceEvaluator

        inputs = {"pixel_values": x.astype(ml_dtypes.bfloat16)}
        (found,) = ReferenceEvaluator(str(path)).run(["pooler_output"], inputs)
        assert found.dtype == ml_dtypes.bfloat16
        np.testing.assert_allclose(found.astype(np.float32), expected, atol=0.05)


def test_modules_as_outputs(tmp_path):
    path = to_onnx(vision_model(), tmp_path / "m.onnx", outputs=["encoder.layers.*", "*.probs"])
    names = [output.name for output in onnx.load(str(path)).graph.output]
    assert names[0] == "last_hidden_state"
    assert {"encoder.layers.0", "encoder.layers.1.ffn", "encoder.layers.0.attention.probs"} <= set(names)
    with pytest.raises(ValueError, match=r"outputs is 'layers.0', which matches no module; there are embeddings"):
        to_onnx(vision_model(), tmp_path / "n.onnx", outputs="layers.0")
    assert not (tmp_path / "n.onnx").exists()


def test_other_runtimes(tmp_path):
    """ONNX's own evaluator and OpenVINO, of both towers."""
    openvino = pytest.importorskip("openvino", reason="pip install openvino")
    from onnx.reference import ReferenceEvaluator

    model = load(tiny_model_path())
    inputs = {"pixel_values": pixels(2, 64, 64), **texts(model.config.text_config, np.random.default_rng(0))}
    path, expected = to_onnx(model, tmp_path / "m.onnx"), model(**inputs)
    compiled = openvino.compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(inputs)
    (evaluated,) = ReferenceEvaluator(str(path)).run(["logits_per_image"], inputs)
    for found in (compiled["logits_per_image"], evaluated):
        np.testing.assert_allclose(found, expected.logits_per_image, atol=1e-4)


def test_wrong_calls(tmp_path):
    path = tmp_path / "m.onnx"
    for options, said in (
        ({"tower": "text"}, "tower is 'text' of Aimv2VisionModel; expected vision"),
        ({"tower": "image"}, "tower is 'image'; expected one of vision, text, both"),
        ({"dtype": "int8"}, "dtype is 'int8'; expected one of float32"),
        ({"dynamic": True}, "of a model that is not native"),
        ({"size": 3}, "size is 3"),
        ({"size": (12, 12, 12)}, "size is"),
    ):
        with pytest.raises(ValueError, match=said):
            to_onnx(vision_model(), path, **options)
    with pytest.raises(ValueError, match="size, dynamic and preprocess are of images"):
        to_onnx(text_model(), path, size=12)
    with pytest.raises(TypeError, match="model is a dict"):
        to_onnx({}, path)
    to_onnx(text_model(), path)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        to_onnx(text_model(), path)
    assert [file.name for file in tmp_path.iterdir()] == ["m.onnx"]
