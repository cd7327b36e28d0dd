"""What a diagnosis knows of two recordings: which tower a path is of, what was recorded, how the text was read."""

import numpy as np
import pytest

from aimv2_np.comparison.comparison import Comparison
from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.recording import Recording
from tests.support.models import both_model, pixels, text_model, tokens, vision_model
from tests.support.port import recorded


def recording(model, **given):
    arrays = recorded(model, given)
    return Recording.from_arrays({path: array for path, array in arrays.items() if "/" not in path}, given)


def context(reference, other=None, given=None):
    other = reference if other is None else other
    names = {path: path for path in other.order}
    return Context(reference, other, names, Comparison(()), lambda path, array: (0.0, True), given)


@pytest.mark.parametrize(
    ("reference", "path", "text"),
    [
        (recording(both_model(), pixel_values=pixels(), input_ids=tokens()), "text_model.rms_norm", True),
        (recording(both_model(), pixel_values=pixels(), input_ids=tokens()), "vision_model.rms_norm", False),
        (recording(text_model(), input_ids=tokens()), "rms_norm", True),
        (recording(vision_model(), pixel_values=pixels()), "rms_norm", False),
    ],
)
def test_which_tower_a_path_is_of(reference, path, text):
    assert context(reference).is_text(path) is text


@pytest.mark.parametrize(
    ("options", "causal"), [("{}", True), ('{"causal": false}', False), ("no json", True), ("[]", True)]
)
def test_whether_the_text_was_causal(options, causal):
    reference = recording(text_model(), input_ids=tokens())
    reference.metadata["options"] = options
    assert context(reference).causal is causal


def test_of_two_towers_the_one_that_was_recorded():
    model = both_model()
    reference = recording(model.vision_model, pixel_values=pixels())
    found = context(reference, given=model).model
    assert type(found) is type(model.vision_model)
    np.testing.assert_array_equal(found.rms_norm.weight, model.vision_model.rms_norm.weight)


def test_an_input_that_only_the_other_side_has_is_borrowed():
    other = recording(vision_model(), pixel_values=pixels())
    reference = recording(vision_model(), pixel_values=pixels())
    reference.inputs.clear()
    found = context(reference, other)
    assert found.borrowed
    np.testing.assert_array_equal(found.input("pixel_values"), pixels())
    assert not context(other).borrowed
