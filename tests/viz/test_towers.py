"""The parts of a model that pictures are made of, and the places in it that a caller may name."""

import pytest

from aimv2_np.viz import towers
from tests.support.models import both_model, pixels, text_model, vision_model


def test_a_tower_of_two_and_alone():
    both = both_model()
    assert towers.vision_tower_of(both) is both.vision_model
    assert towers.vision_tower_of(both.vision_model) is both.vision_model
    assert towers.text_tower_of(both) is both.text_model
    assert towers.two_towers(both) is both
    assert towers.pooling_head_of(both.vision_model) is both.vision_model.head


@pytest.mark.parametrize(
    ("ask", "model", "words"),
    [
        (towers.vision_tower_of, text_model(), "vision tower"), (towers.text_tower_of, vision_model(), "text tower"),
        (towers.two_towers, vision_model(), "both"), (towers.pooling_head_of, vision_model(use_head=False), "use_head"),
    ],
)  # fmt: skip
def test_what_a_model_has_not(ask, model, words):
    with pytest.raises(ValueError, match=words):
        ask(model)


def test_layers_and_heads_count_from_both_ends():
    tower = vision_model()
    assert [towers.check_layer(tower, i) for i in (0, 1, -1, -2)] == [0, 1, 1, 0]
    assert [towers.check_number(i, 3, "head") for i in (0, 2, -3)] == [0, 2, 0]
    for i in (2, -3):
        with pytest.raises(ValueError, match=f"{i}"):
            towers.check_layer(tower, i)


def test_a_patch_is_in_the_grid_and_by_default_in_its_middle():
    assert towers.check_patch((3, 5), None) == (1, 2)
    assert towers.check_patch((3, 5), (2, 4)) == (2, 4)
    for patch in ((3, 0), (0, 5), (-1, 0)):
        with pytest.raises(ValueError, match="a row from 0 to 2 and a column from 0 to 4"):
            towers.check_patch((3, 5), patch)


def test_whole_patches_only():
    assert towers.grid_of(vision_model(is_native=True), pixels(height=15, width=21)) == (3, 5)
