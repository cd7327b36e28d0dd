"""The kinds of features: each is what its description says, of one size and of many, and of models that have it."""

import numpy as np
import pytest

from aimv2_np.tasks.embedding.kinds import KINDS, check_name, chosen_kind
from tests.support.models import assert_close, both_model, pixels, text_model, vision_model


def test_each_kind_is_what_it_is_called():
    model, images = both_model(), pixels(3)
    out = model.vision_model(images)
    found = {name: np.asarray(kind.compute(model, images)) for name, kind in KINDS.items()}
    assert_close(found["tokens"], out.last_hidden_state, 8)
    assert_close(found["mean"], out.last_hidden_state.mean(1), 32)
    assert_close(found["pooled"], out.pooler_output, 8)
    assert_close(found["projected"], model.get_image_features(images), 32)
    head = model.vision_model.head
    assert_close(np.asarray(head.output_proj(found["cls"])), out.pooler_output, 32)


@pytest.mark.parametrize("name", ["mean", "tokens"])
def test_pictures_of_many_sizes_one_by_one(name):
    model = vision_model(is_native=True, use_head=False)
    images = [pixels(1, 12, 12)[0], pixels(1, 8, 16, seed=1)[0]]
    together = KINDS[name].compute(model, images)
    for image, found in zip(images, together, strict=True):
        assert_close(np.asarray(found), np.asarray(KINDS[name].compute(model, image[None]))[0], 64)


@pytest.mark.parametrize(
    ("model", "kind"), [(both_model(), "projected"), (vision_model(), "pooled"), (vision_model(use_head=False), "mean")]
)
def test_what_is_made_unasked_is_there(model, kind):
    assert chosen_kind(None, model) == kind
    assert chosen_kind(kind, model) == kind


@pytest.mark.parametrize(
    ("model", "kind", "message"),
    [
        (vision_model(), "projected", "two-tower"), (vision_model(use_head=False), "pooled", "use_head"),
        (vision_model(use_head=False), "cls", "mean, tokens"), (both_model(), "median", "expected one of"),
        (text_model(), "mean", "vision"),
    ],
)  # fmt: skip
def test_what_a_model_has_not(model, kind, message):
    with pytest.raises(ValueError, match=message):
        chosen_kind(kind, model)


def test_names_are_checked_before_there_is_a_model():
    for name in KINDS:
        check_name(name)
    with pytest.raises(ValueError, match="'x'"):
        check_name("x")
