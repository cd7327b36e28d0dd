import numpy as np
import pytest

from aimv2_np import Aimv2Processor
from aimv2_np.training.pretraining import both
from tests.support.models import pixels, vision_config
from tests.support.training import processor, task


def test_prefixes_are_every_number_from_one_to_all_patches_but_one():
    """As likely, each picture's own, and the same whenever asked for."""
    found = task().prefixes(range(4000))
    counts = np.bincount(found, minlength=9)
    assert counts[0] == 0
    assert len(counts) == 9  # of 9 patches at most 8
    assert counts[1:].min() > 420
    assert counts[1:].max() < 580
    np.testing.assert_array_equal(task().prefixes(range(100, 120)), found[100:120])


def test_the_model_is_the_vision_tower_without_a_head():
    made = task()
    model = made.model(made.network)
    assert not model.config.use_head
    assert model(pixels()).pooler_output is None
    np.testing.assert_array_equal(model.state_dict()["rms_norm.weight"], made.network.vision_model.rms_norm.weight)


def test_it_is_saved_and_loaded(tmp_path):
    from aimv2_np import load

    made = task()
    made.model(made.network).save_pretrained(tmp_path)
    x = pixels()
    np.testing.assert_array_equal(load(tmp_path)(x)[0], made.model(made.network)(x)[0])


def test_without_a_prefix_pixels_are_not_learned_from():
    with pytest.raises(ValueError, match=r"pixel_weight is 0.4 without a prefix.*expected 0"):
        task(prefix=False)
    made = task(prefix=False, pixel_weight=0.0)
    assert made.batch(range(3))[1] is None


@pytest.mark.parametrize("weight", [float("nan"), -1.0])
def test_weights_of_losses_are_no_less_than_nothing(weight):
    with pytest.raises(ValueError, match=r"pixel_weight is .*; expected a number of at least 0"):
        task(pixel_weight=weight)


def test_one_patch_is_nothing_to_predict():
    from dataclasses import replace

    with pytest.raises(ValueError, match="one patch; expected at least two"):
        replace(task(), vision=vision_config(image_size=4))


@pytest.mark.parametrize("name", ["image_processor", "tokenizer"])
def test_a_processor_of_one_kind_is_refused(name):
    whole = processor()
    parts = {"image_processor": whole.image_processor, "tokenizer": whole.tokenizer, name: None}
    with pytest.raises(ValueError, match=f"the processor has no {name}; expected both"):
        both(Aimv2Processor(**parts))
