"""A recorder knows paths by the identity of what is called; nested recordings each get their own."""

import numpy as np
import pytest

from aimv2_np import trace
from aimv2_np.tree.recorder import join, numbered, observe, recorded, recording
from tests.support.models import pixels, vision_model


@pytest.mark.parametrize(
    ("prefix", "name", "path"), [("a.b", "c", "a.b.c"), ("", "c", "c"), ("a", "", "a"), ("", "", "")]
)
def test_paths_are_joined(prefix, name, path):
    assert join(prefix, name) == path


def test_outside_of_a_recording_nothing_is_kept():
    assert not recording()
    observe("x", np.ones(2))
    assert recorded(object(), lambda x: x + 1, 1) == 2


def test_what_is_computed_in_another_way_goes_under_the_modules_path():
    model = vision_model()
    norm = model.encoder.layers[1].rms_norm1
    with trace(model, "encoder.layers.1.rms_norm1*") as activations:
        assert recording()
        recorded(norm, lambda: np.zeros(3))
    assert list(activations) == ["encoder.layers.1.rms_norm1"]


def test_parts_are_numbered():
    model = vision_model()
    with trace(model, "embeddings*") as activations, numbered(7):
        model.embeddings(pixels(1))
    assert set(activations) >= {"embeddings.7", "embeddings.patch_embed.7"}


def test_a_recording_within_a_recording():
    model = vision_model()
    with trace(model, "rms_norm") as outer, trace(model.encoder, "layers.0") as inner:
        model(pixels(1))
    assert (list(outer), list(inner)) == (["rms_norm"], ["layers.0"])


def test_an_error_ends_the_recording_of_its_module():
    model = vision_model()
    with trace(model) as activations:
        with pytest.raises(ZeroDivisionError):
            recorded(model.encoder, lambda: 1 / 0)
        model(pixels(1))
    assert "encoder" in activations
