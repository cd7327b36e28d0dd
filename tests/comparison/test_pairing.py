"""aimv2_np/comparison/pairing.py: what follows half precision inherits it; inputs on which the reference cannot run."""

import numpy as np
import pytest

from aimv2_np.comparison import compare
from tests.comparison.test_forcing import INPUTS
from tests.support.planted import PLANTED, port
from tests.support.port import Port, recorded


def half(array):
    return array.astype(np.float16)


class Mixed(Port):
    """Products in float16; norms, sums and unit vectors in float32, and saved so."""

    def product(self, x, weight):
        return half(half(x).astype(np.float32) @ half(weight).astype(np.float32).T).astype(np.float32)

    def keep(self, path, value):
        is_half = path.endswith(("_proj", "_projection", "patch_embed"))
        return super().keep(path, value if not is_half else half(value)).astype(np.float32)


@pytest.mark.parametrize("name", ["vision", "text", "both"])
def test_norms_in_float32_between_half_products_are_not_accused(name):
    make, given = INPUTS[name]
    model = make()
    result = compare(recorded(model, given), Mixed(model).run(**given), model=model)
    assert result.equal, result.explanation


def test_a_fault_between_half_products_is_named():
    make, given = INPUTS["vision"]
    model = make()
    faulty = type("Faulty", (port(PLANTED["no scale, learned"], 1), Mixed), {})
    result = compare(recorded(model, given), faulty(model).run(**given), model=model)
    assert result.diagnosis.identifier == "missing_scale"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("pixel_values", lambda x: (40 * x).astype(np.uint8)),
        ("pixel_values", lambda x: x > 0),
        ("input_ids", lambda ids: ids + 1000),
        ("input_ids", lambda ids: ids - 1000),
        ("input_ids", lambda ids: ids + 0.5),
        ("input_ids", lambda ids: (ids + 1).astype(np.float32)),
    ],
)
def test_inputs_of_another_kind_are_a_difference_and_no_traceback(name, change):
    make, given = INPUTS["both"]
    model = make()
    reference = recorded(model, given)
    result = compare(reference, {**reference, f"inputs/{name}": change(given[name])}, model=model)
    assert result.first.path == f"inputs/{name}"
    assert result.explanation
