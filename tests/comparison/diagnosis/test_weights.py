import pytest

from aimv2_np import Aimv2VisionModel
from aimv2_np.comparison import compare
from aimv2_np.comparison.diagnosis.fault import with_fields
from aimv2_np.comparison.diagnosis.weights import recorded_model
from aimv2_np.recording import record
from tests.support.models import pixels, vision_config, vision_model


def faulty(model):
    """A copy of a vision tower whose first norm has another ε."""
    norm = model.encoder.layers[0].rms_norm1
    return model.map(lambda _, array: array), with_fields(norm, eps=0.1)


@pytest.mark.parametrize("origin", ["folder", "new", "moved"])
def test_the_model_of_a_recording_is_found(origin, tmp_path):
    if origin == "new":
        model = Aimv2VisionModel(vision_config(initializer_range=0.5))
    else:
        vision_model().save_pretrained(tmp_path / "model")
        model = Aimv2VisionModel.from_pretrained(tmp_path / "model")
    given = {"pixel_values": pixels()}
    record(model, given, tmp_path / "reference")
    other, norm = faulty(model)
    other.encoder.layers[0].rms_norm1 = norm
    record(other, given, tmp_path / "other")
    if origin == "moved":
        (tmp_path / "model").rename(tmp_path / "elsewhere")
    result = compare(tmp_path / "reference", tmp_path / "other")
    assert result.first.path == "encoder.layers.0.rms_norm1"
    if origin == "moved":
        assert result.diagnosis is None
        assert "--model" in result.explanation
        result = compare(tmp_path / "reference", tmp_path / "other", model=tmp_path / "elsewhere")
    assert result.diagnosis.identifier == "wrong_eps"


def test_another_model_in_its_place_is_not_taken_for_it(tmp_path):
    vision_model().save_pretrained(tmp_path / "model")
    model = Aimv2VisionModel.from_pretrained(tmp_path / "model")
    reference = record(model, {"pixel_values": pixels()}, tmp_path / "reference")
    assert recorded_model(reference) is not None
    vision_model(seed=1).save_pretrained(tmp_path / "model", overwrite=True)
    assert recorded_model(reference) is None
    reference.metadata["model"] = "no JSON"
    assert recorded_model(reference) is None
