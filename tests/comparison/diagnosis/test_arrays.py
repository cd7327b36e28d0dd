"""What the recorded arrays tell alone, without any model."""

import pytest

from tests.support import faults


@pytest.mark.parametrize(
    ("port", "identifier", "words"),
    [
        (faults.QkvOrder, "qkv_order", "exchanges its projections"),
        (faults.QkvRotated, "qkv_order", "exchanges its projections"),
        (faults.GateUpSwapped, "gate_up_swapped", "gate_proj"),
        (faults.ColumnOrder, "patches_column_order", "they run row by row"),
    ],
)
def test_without_a_model(diagnosed, port, identifier, words):
    found = diagnosed(port, with_model=False)
    assert found.identifier == identifier
    assert words in found.sentence
