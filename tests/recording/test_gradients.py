"""Recordings that hold gradients, beside activations and apart from them."""

import numpy as np
import pytest

from aimv2_np import trace
from aimv2_np.recording import Recording, record
from aimv2_np.recording.statistics import project
from tests.support.models import both_model, pixels, tokens, vision_model

BOTH = {"pixel_values": pixels(), "input_ids": tokens()}
GRADIENT = "gradient:"


def test_they_are_those_of_a_trace(tmp_path):
    model = both_model()
    found = record(model, BOTH, tmp_path / "a.safetensors", gradients=True)
    with trace(model, gradients=True, inner=False) as activations:
        model(**BOTH)
    heads = {path for path in activations if path.rpartition(".")[2] in ("q", "k", "v")}
    assert list(found.order) == [path for path in activations if path not in heads]
    for path in found.order:
        np.testing.assert_array_equal(found.activations[path], activations[path])
    assert found.metadata["loss"] == "contrastive"
    assert "activations and" in repr(found)


def test_forward_and_backward_are_recordings_of_their_own(tmp_path):
    model = both_model()
    whole = record(model, BOTH, tmp_path / "a.safetensors", gradients=True)
    plain = record(model, BOTH, tmp_path / "b.safetensors")
    assert whole.forward.order == plain.order
    assert (whole.forward.shapes, whole.forward.dtypes) == (plain.shapes, plain.dtypes)
    assert len(whole.forward.activations) == len(plain.order)
    weights = set(model.state_dict())
    assert set(whole.backward.order) == set(plain.order) | weights | {"pixel_values"}
    assert len(whole.backward.order) + len(plain.order) == len(whole.order)
    path = "vision_model.encoder.layers.0.ffn"
    np.testing.assert_array_equal(whole.backward.array(path), whole.array(GRADIENT + path))
    assert not plain.backward.order
    assert plain.backward.array(path) is None


def test_statistics_of_gradients_are_under_the_paths_of_what_they_are_by(tmp_path):
    model, inputs = vision_model(), {"pixel_values": pixels()}
    found = record(model, inputs, tmp_path / "a.safetensors", gradients=True, statistics=True)
    arrays = record(model, inputs, tmp_path / "b.safetensors", gradients=True)
    path = "encoder.layers.1.ffn.up_proj.weight"
    expected = project(path, arrays.backward.activations[path])
    np.testing.assert_array_equal(found.backward.statistics[path].projection, expected)
    assert found.backward.statistics[path].rms == pytest.approx(arrays.backward.statistics[path].rms)


@pytest.mark.parametrize(
    ("inputs", "loss", "said"),
    [
        ({"input_ids": tokens()}, None, "sum of text_embeds"),
        ({"input_ids": tokens(1), "pixel_values": pixels()}, None, "sum of logits_per_text"),
        (BOTH, lambda a: a["text_embeds"][0, 0], "given"),
    ],
)
def test_the_recording_says_what_the_loss_was(tmp_path, inputs, loss, said):
    found = record(both_model(), inputs, tmp_path / "a.safetensors", gradients=True, loss=loss)
    assert Recording.load(found.metadata and tmp_path / "a.safetensors").metadata["loss"] == said


def test_a_loss_without_gradients(tmp_path):
    with pytest.raises(ValueError, match="loss is given without gradients"):
        record(vision_model(), {"pixel_values": pixels()}, tmp_path / "a.safetensors", loss=lambda a: a["head"].sum())


def test_gradients_of_half_precision_are_called_by_its_name(tmp_path):
    model = vision_model().to(dtype="float16")
    found = record(model, {"pixel_values": pixels()}, tmp_path / "a.safetensors", gradients=True).backward
    assert set(found.dtypes.values()) == {"float16"}
    assert found.activations["encoder.layers.0"].dtype == np.float32
