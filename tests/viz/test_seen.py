"""Pictures as the model sees them: the image processor's arithmetic undone."""

import numpy as np
import pytest

from aimv2_np import Aimv2ImageProcessor, Aimv2Processor
from aimv2_np.viz.seen import see
from tests.support.models import vision_model
from tests.support.pictures import photo


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("rescale", [True, False])
def test_colours_are_those_of_the_picture(normalize, rescale):
    processor = Aimv2ImageProcessor(do_resize=False, do_center_crop=False, do_normalize=normalize, do_rescale=rescale)
    picture = photo(8, 12)
    (seen,) = see(vision_model(is_native=True), processor, [picture])
    np.testing.assert_array_equal(seen.colors, np.asarray(picture))
    np.testing.assert_array_equal(seen.pixel_values[0], processor(picture)["pixel_values"][0])


def test_what_fills_no_patch_is_cut_off():
    processor = Aimv2ImageProcessor(do_resize=False, do_center_crop=False)
    (seen,) = see(vision_model(is_native=True), processor, [photo(11, 14)])
    assert seen.colors.shape == (8, 12, 3)


def test_pictures_of_several_sizes():
    processor = Aimv2ImageProcessor(do_resize=False, do_center_crop=False)
    found = see(vision_model(is_native=True), processor, [photo(8, 8), photo(12, 20)])
    assert [seen.colors.shape for seen in found] == [(8, 8, 3), (12, 20, 3)]


def test_nothing_to_see():
    with pytest.raises(ValueError, match="images"):
        see(vision_model(), Aimv2ImageProcessor(), [])


def test_a_processor_of_texts_alone(loaded):
    model, processor = loaded
    with pytest.raises(ValueError, match="image processor"):
        see(model.vision_model, Aimv2Processor(None, processor.tokenizer), [photo(8, 8)])
