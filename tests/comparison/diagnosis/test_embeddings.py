"""Mistakes before the first block: in the pixels, in the order of patches, in the positions."""

import pytest

from tests.support import faults
from tests.support.models import pixels, vision_model
from tests.support.port import Port


class Tokens(Port):
    """A picture that was left between 0 and 1."""

    def pixels(self, pixels):
        return pixels * faults.STD + faults.MEAN


@pytest.mark.parametrize(
    ("port", "identifier"),
    [
        (faults.Bgr, "bgr"),
        (Tokens, "missing_normalisation"),
        (faults.NotNormalised, "missing_normalisation"),
        (faults.ImageNet, "wrong_normalisation"),
        (faults.ColumnOrder, "patches_column_order"),
        (faults.NoPositions, "missing_positions"),
        (faults.PositionsBeforeNorm, "positions_before_norm"),
    ],
)
def test_named_in_a_picture_that_is_no_square(diagnosed, port, identifier):
    model = vision_model(image_size=(8, 16))
    assert diagnosed(port, model, pixel_values=pixels(height=8, width=16), input_ids=None).identifier == identifier


def test_waves_of_rows_before_those_of_columns(diagnosed):
    model = vision_model(is_native=True, use_head=False)
    found = diagnosed(faults.HeightFirst, model, pixel_values=pixels(height=8, width=20), input_ids=None)
    assert found.identifier == "positions_h_first"
