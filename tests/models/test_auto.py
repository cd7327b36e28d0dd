"""`load`: the model that a folder holds, whichever it is."""

import json

import numpy as np
import pytest

from aimv2_np import Aimv2Model, Aimv2TextModel, Aimv2VisionModel, load
from tests.support.models import both_model, pixels, text_model, tokens, vision_model


@pytest.mark.parametrize(("build", "kind"), [
    (vision_model, Aimv2VisionModel), (text_model, Aimv2TextModel), (both_model, Aimv2Model),
])  # fmt: skip
def test_picks_the_class_and_gives_the_same_model(tmp_path, build, kind):
    model = build()
    model.save_pretrained(tmp_path / "saved")
    for place in (tmp_path / "saved", str(tmp_path / "saved")):
        loaded = load(place)
        assert type(loaded) is kind
        assert loaded.config == model.config
        assert list(loaded.state_dict()) == list(model.state_dict())
        for path, array in loaded.state_dict().items():
            np.testing.assert_array_equal(array, model.state_dict()[path])


def test_options_reach_the_model(tmp_path):
    vision_model().save_pretrained(tmp_path / "saved")
    assert load(tmp_path / "saved", dtype="float64").dtype == "float64"
    assert load(tmp_path / "saved", local_files_only=True).backend == "numpy"
    with pytest.raises(ValueError, match="dtype is 'int8'"):
        load(tmp_path / "saved", dtype="int8")
    with pytest.raises(ValueError, match="backend is 'tpu'"):
        load(tmp_path / "saved", backend="tpu")


def test_a_model_from_a_file_is_as_good_as_the_one_that_was_saved(tmp_path):
    model = both_model()
    model.save_pretrained(tmp_path / "saved")
    loaded = load(tmp_path / "saved")
    expected, got = model(tokens(), pixels()), loaded(tokens(), pixels())
    np.testing.assert_array_equal(got.logits_per_image, expected.logits_per_image)


def test_one_tower_of_two(tmp_path):
    model = both_model()
    model.save_pretrained(tmp_path / "saved")
    vision, text = (kind.from_pretrained(tmp_path / "saved") for kind in (Aimv2VisionModel, Aimv2TextModel))
    output = model(tokens(), pixels())
    np.testing.assert_array_equal(vision(pixels()).pooler_output, output.vision_model_output.pooler_output)
    np.testing.assert_array_equal(text(tokens()).pooler_output, output.text_model_output.pooler_output)


def test_apples_name_for_vision_alone(tmp_path):
    """Apple's configurations say "aimv2" for vision-only checkpoints too."""
    model = vision_model()
    model.save_pretrained(tmp_path / "saved")
    config = tmp_path / "saved" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "model_type": "aimv2"}))
    assert type(load(tmp_path / "saved")) is Aimv2VisionModel


def test_another_network(tmp_path):
    vision_model().save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(ValueError, match=r"model_type is 'clip'; expected 'aimv2'"):
        load(tmp_path / "saved")


def test_the_class_that_does_not_fit(tmp_path):
    vision_model().save_pretrained(tmp_path / "saved")
    with pytest.raises(ValueError, match="Aimv2VisionConfig"):
        Aimv2Model.from_pretrained(tmp_path / "saved")


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "no" / "such" / "folder")
