"""A model and its arguments, from pictures and texts as people name them."""

import numpy as np
import pytest

from aimv2_np import Aimv2Model
from aimv2_np.recording.inputs import load_with_inputs
from tests.support.models import text_model
from tests.support.pictures import photo
from tests.support.two_towers import save_two_towers, save_vision_tower


@pytest.fixture(scope="module")
def two_towers(tmp_path_factory):
    return save_two_towers(tmp_path_factory.mktemp("checkpoints") / "two-towers")


def test_pictures_and_texts_become_arguments(two_towers):
    model, given = load_with_inputs(two_towers, [photo(30, 20)], ["a cat", "a much longer caption"])
    assert isinstance(model, Aimv2Model)
    assert given["pixel_values"].shape[0] == 1
    assert given["input_ids"].shape == given["attention_mask"].shape
    assert len(given["input_ids"]) == 2
    assert given["attention_mask"].min() == 0  # the shorter one is padded
    assert model(**given).logits_per_image.shape == (1, 2)


@pytest.mark.parametrize("names", [{"images"}, {"texts"}])
def test_one_of_them_alone(two_towers, names):
    chosen = {"images": [photo(30, 20)], "texts": ["a cat"]}
    _, given = load_with_inputs(two_towers, **{name: chosen[name] for name in names})
    assert ("pixel_values" in given, "input_ids" in given) == ("images" in names, "texts" in names)


def test_the_dtype_is_the_models(two_towers):
    model, _ = load_with_inputs(two_towers, texts=["a cat"], dtype="float64")
    assert {array.dtype for array in model.state_dict().values()} == {np.dtype("float64")}


def test_large_pictures_of_a_native_model_are_made_small(tmp_path):
    folder = save_vision_tower(tmp_path / "native", is_native=True, use_head=False, image_size=16, patch_size=8)
    _, given = load_with_inputs(folder, [photo(64, 80), photo(16, 16)], max_patches=12)
    sizes = [it.shape[-2:] for it in given["pixel_values"]]
    assert all((height // 8) * (width // 8) <= 12 for height, width in sizes)


def test_neither_pictures_nor_texts(two_towers):
    with pytest.raises(ValueError, match=r"images .*texts"):
        load_with_inputs(two_towers)


@pytest.mark.parametrize(("kind", "given"), [("vision", {"texts": ["a cat"]}), ("text", {"images": [photo(9, 9)]})])
def test_a_tower_that_is_not_there(tmp_path, kind, given):
    if kind == "vision":
        save_vision_tower(tmp_path / "model")
    else:
        text_model().save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match=f"{kind} tower only"):
        load_with_inputs(tmp_path / "model", **given)
