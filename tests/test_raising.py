"""A caller who lets NumPy raise at every rounding to zero, as one does while debugging, still gets answers."""

import numpy as np
import pytest

from aimv2_np import Aimv2Model, Aimv2Processor, compare, viz
from aimv2_np.data import sample_pictures, tiny_model_path
from aimv2_np.tasks import classify
from tests.support.models import pixels, vision_model

CAPTIONS = ["a red circle", "a blue star"]


@pytest.fixture
def raising():
    with np.errstate(all="raise"):
        yield
        with pytest.raises(FloatingPointError):
            np.exp(np.float32([-100]))


@pytest.fixture(scope="module")
def peaked():
    """The embedded model with attention and logits so peaked that most of a softmax underflows."""
    model = Aimv2Model.from_pretrained(tiny_model_path())
    sharper = ("q_proj.weight", "k_proj.weight")
    return model.map(lambda path, a: a * np.float32(30) if path.endswith(sharper) else a)


@pytest.fixture(scope="module")
def processor():
    return Aimv2Processor.from_pretrained(tiny_model_path())


@pytest.mark.usefixtures("raising")
def test_pictures_and_texts_are_compared(peaked, processor):
    images = [it.picture for it in sample_pictures()[:2]]
    inputs = processor(text=CAPTIONS, images=images, padding=True)
    assert peaked(**inputs).logits_per_image.shape == (2, 2)
    assert classify(images, CAPTIONS, model=peaked, processor=processor).probabilities.shape == (2, 2)


@pytest.mark.usefixtures("raising")
def test_what_the_network_sees(peaked, processor):
    pixel_values = processor(images=sample_pictures()[0].picture)["pixel_values"]
    for see in (viz.attention_rollout, viz.pooling_attention, viz.feature_lens):
        assert np.isfinite(see(peaked, pixel_values)).all()
    viz.patch_attention(peaked, pixel_values, (0, 0))
    viz.residual_stream(peaked, pixel_values)


@pytest.mark.usefixtures("raising")
def test_casts_and_comparisons():
    model = vision_model().map(lambda _, a: a * np.float32(1e-6))
    assert model.to(dtype="float16").dtype == "float16"
    compare({"x": np.full(4, 1e-30, np.float32)}, {"x": np.full(4, 1e-38, np.float32)})
    vision_model().to(dtype="float16")(pixels())
