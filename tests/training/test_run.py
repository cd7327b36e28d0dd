"""From pictures with captions to a saved model in one call."""

import numpy as np
import pytest

from aimv2_np import Aimv2VisionModel, load
from aimv2_np.training import Augmentation, Schedule, default_recipe, run_contrastive, run_lit, run_pretraining
from aimv2_np.training.recipe import Recipe
from tests.support.training import Squares

QUICK = {"recipe": Recipe(Schedule(2), batch_size=3), "augmentation": None}


def test_the_default_recipes():
    """Pre-training's is AIMv2's, with as large a part of the steps for the warm-up."""
    recipe = default_recipe("pretrain", 1000)
    assert recipe.schedule == Schedule(1000, 1e-3, 10, 1e-6, 1e-5)
    assert (recipe.optimizer.betas, recipe.optimizer.weight_decay, recipe.clip) == ((0.9, 0.95), 1e-4, 1.0)
    assert default_recipe("lit").optimizer.weight_decay == 0.2


def test_pretraining_then_locked_image_tuning(tmp_path):
    pictures = Squares(side=64)
    vision = run_pretraining(pictures, tmp_path / "one", **QUICK)
    assert isinstance(load(tmp_path / "one" / "model"), Aimv2VisionModel)
    model = run_lit(pictures, tmp_path / "two", vision, **QUICK)
    assert model.config.vision_config.use_head
    np.testing.assert_array_equal(
        model.state_dict()["vision_model.rms_norm.weight"], vision.state_dict()["rms_norm.weight"]
    )


def test_pictures_of_the_users_are_augmented_and_the_world_is_not(tmp_path):
    asked = []

    def stop(numbers):
        raise KeyboardInterrupt

    for name, data in (("squares", Squares(side=64)), ("world", "world")):
        options = {"recipe": QUICK["recipe"], "progress": stop, "save_every": 1}
        with pytest.raises(KeyboardInterrupt):
            run_contrastive(data, tmp_path / name, **options)
        from aimv2_np.training.state import State

        asked.append(State.load(tmp_path / name)[1]["task"]["augmentation"])
    assert asked == [{"area": [0.4, 1.0], "ratio": [3 / 4, 4 / 3], "flip": Augmentation().flip}, None]


def test_an_option_that_there_is_not(tmp_path):
    with pytest.raises(TypeError, match=r"there is no option 'steps'; expected like, recipe, .*the recipe says"):
        run_pretraining("world", tmp_path, steps=3)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("data", [None, 5, [("a.png", "red")], {"a.png": "red"}])
def test_data_that_is_none(tmp_path, data):
    with pytest.raises(
        TypeError, match=r"data is an? \w+, without .*facts, name; expected a path, 'world', or pictures"
    ):
        run_pretraining(data, tmp_path)


def test_a_recipe_that_is_none(tmp_path):
    with pytest.raises(TypeError, match=r"recipe is an int; expected a Recipe, or None"):
        run_pretraining("world", tmp_path, recipe=5)


def test_no_pictures(tmp_path):
    with pytest.raises(ValueError, match=r"there are no pictures; expected at least one with its caption"):
        run_pretraining(Squares(0, side=64), tmp_path, **QUICK)


@pytest.mark.parametrize("objective", ["pretrain", "contrastive", "lit"])
def test_the_default_recipe_leaves_weights_that_have_no_gradient_nearly_as_they_are(objective):
    recipe = default_recipe(objective)
    weights = {"linear.weight": np.ones((2, 2))}
    zeros, first, second = ({name: np.zeros((2, 2)) for name in weights} for _ in range(3))
    for step in range(recipe.schedule.steps):
        rate = recipe.schedule.rate(step)
        recipe.optimizer.update(weights, zeros, first, second, step + 1, rate, recipe.schedule.peak)
    assert 0.8 < weights["linear.weight"].min() < 1
