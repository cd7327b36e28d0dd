import numpy as np
import pytest

pytest.importorskip("onnx", reason="pip install onnx onnxruntime")
pytest.importorskip("onnxruntime", reason="pip install onnx onnxruntime")

from aimv2_np import Aimv2ImageProcessor
from aimv2_np.export import to_onnx
from tests.oracle.export.test_onnx import values_of
from tests.support.models import text_model, vision_model

LEVELS = 1  # of 255 by which ONNX Runtime's Resize may differ from Pillow's, after each has rounded twice


def photograph(height, width, seed=0):
    """Something smooth with noise on it."""
    rng = np.random.default_rng(seed)
    waves = np.sin(np.arange(height)[:, None, None] / 7 + rng.random(3)) + np.cos(np.arange(width)[:, None] / 5)
    return np.clip(127 + 60 * waves + rng.normal(0, 9, (height, width, 3)), 0, 255).astype(np.uint8)


def levels(processor, found, image):
    """The largest difference from our processor, in levels of 255, and the share of numbers that differ."""
    scale = 255 * np.array(processor.image_std)[:, None, None] if processor.do_normalize else 255
    apart = abs((found - processor([image])["pixel_values"]) * scale).round(3)
    return apart.max(), (apart > 0.5).mean()


@pytest.mark.parametrize("sides", [(40, 64), (57, 33), (12, 12), (200, 150), (7, 9)])
@pytest.mark.parametrize(
    "processor",
    [
        Aimv2ImageProcessor(size=12, crop_size=12),
        Aimv2ImageProcessor(size=15, crop_size=12, resample=2),
        Aimv2ImageProcessor(size={"height": 12, "width": 12}, do_center_crop=False, do_normalize=False),
    ],
    ids=["edge", "bilinear", "sides"],
)
def test_as_the_processor(tmp_path, sides, processor):
    model, image = vision_model(use_head=True), photograph(*sides)
    path = to_onnx(model, tmp_path / "m.onnx", preprocess=processor)
    found = values_of(path)(images=np.stack([image, image]))
    assert found["pixel_values"].shape == (2, 3, 12, 12)
    most, share = levels(processor, found["pixel_values"][:1], image)
    assert most <= LEVELS
    assert share <= 0.2  # of few numbers; of photographs brought to 224 pixels it is 0.01
    expected = model(found["pixel_values"]).pooler_output
    np.testing.assert_allclose(found["pooler_output"], expected, atol=1e-5)


def test_pictures_of_any_size_for_a_native_model(tmp_path):
    processor = Aimv2ImageProcessor(do_resize=False, do_center_crop=False)
    model, image = vision_model(is_native=True), photograph(14, 23)
    path = to_onnx(model, tmp_path / "m.onnx", preprocess=processor, dynamic=True)
    found = values_of(path)(images=image[None])
    np.testing.assert_allclose(found["pixel_values"], processor([image])["pixel_values"], atol=1e-6)
    expected = model(found["pixel_values"]).last_hidden_state
    np.testing.assert_allclose(found["last_hidden_state"], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"resample": 1}, "resample is 1; expected 2 or 3"),
        ({"size": {"shortest_edge": 12, "longest_edge": 30}}, "expected shortest_edge, or height and width"),
        ({"size": 10, "crop_size": 12}, "nothing is padded in a graph"),
        ({"size": 16, "crop_size": 16}, "images of 16 x 16 pixels, and the graph takes 12 x 12"),
        ({"do_center_crop": False}, "keeps any size, and the graph takes one"),
    ],
)
def test_what_a_graph_cannot_do_is_refused(tmp_path, settings, said):
    processor = Aimv2ImageProcessor(**{"size": 12, "crop_size": 12, **settings})
    with pytest.raises(ValueError, match=said):
        to_onnx(vision_model(), tmp_path / "m.onnx", preprocess=processor)


def test_texts_have_no_images(tmp_path):
    with pytest.raises(ValueError, match="size, dynamic and preprocess are of images"):
        to_onnx(text_model(), tmp_path / "m.onnx", preprocess=Aimv2ImageProcessor())
