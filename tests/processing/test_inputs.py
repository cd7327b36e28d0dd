import copy
import json
import pickle

import numpy as np
import pytest

from aimv2_np import Aimv2Processor, load
from aimv2_np.data import tiny_model_path
from tests.support.pictures import photo


def test_names_are_attributes_as_in_transformers():
    processor, model = Aimv2Processor.from_pretrained(tiny_model_path()), load(tiny_model_path())
    inputs = processor(text="a red star", images=photo(64, 64))
    assert inputs.pixel_values is inputs["pixel_values"]
    assert processor.image_processor(photo(64, 64)).pixel_values.shape == (1, 3, 64, 64)
    assert processor.tokenizer("a red star").input_ids.shape == (1, 5)
    assert model(**inputs).logits_per_image.shape == (1, 1)
    with pytest.raises(AttributeError, match=r"no attribute 'to'; a model moves them itself: model\(\*\*inputs\)"):
        inputs.to("cuda")
    with pytest.raises(AttributeError, match="no attribute 'pixels'; it holds input_ids, attention_mask, pixel_values"):
        inputs.pixels  # noqa: B018


def test_it_is_a_dictionary():
    ids = Aimv2Processor.from_pretrained(tiny_model_path()).tokenizer("a red star")
    for again in (pickle.loads(pickle.dumps(ids)), copy.deepcopy(ids)):
        np.testing.assert_array_equal(again.input_ids, ids.input_ids)
    assert json.dumps({name: array.tolist() for name, array in ids.items()}).startswith('{"input_ids"')
