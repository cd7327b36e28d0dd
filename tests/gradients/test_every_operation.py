"""An operation has its derivative: by hand, or chained from functions that have one, which is then tested here."""

from importlib import import_module

import numpy as np
import pytest

import aimv2_np.gradients  # noqa: F401  # registers
from aimv2_np.backends.operation import Operation
from aimv2_np.gradients import Variable
from aimv2_np.network.patches import patch_embed
from tests.support.gradients import check
from tests.support.paths import ROOT

NAMES = sorted(path.stem for path in (ROOT / "aimv2_np" / "network").glob("*.py") if path.stem != "__init__")
# Operation → shapes of arguments.
CHAINED = {patch_embed: ((2, 3, 4, 6), (5, 3, 2, 2), (5,))}


def operations():
    """File and operation, of those that are equations themselves and do not call modules."""
    for name in NAMES:
        for value in vars(import_module(f"aimv2_np.network.{name}")).values():
            own = isinstance(value, Operation) and value.textbook.__module__ == f"aimv2_np.network.{name}"
            if own and not value.composite:
                yield name, value


@pytest.mark.parametrize(("file", "operation"), [pytest.param(*it, id=it[1].textbook.__name__) for it in operations()])
def test_an_operation_has_a_derivative(file, operation):
    assert (Variable in operation.bodies) != (operation in CHAINED), (
        f"{operation.textbook.__name__} of network/{file}.py has no derivative by hand: register one in "
        f"aimv2_np/gradients/{file}.py, with its equation and a test in tests/gradients/test_{file}.py, and import it "
        "in gradients/__init__.py; or, if its steps' own are to be chained, list it in CHAINED of this file; not both"
    )


@pytest.mark.parametrize("operation", CHAINED, ids=lambda it: it.textbook.__name__)
def test_what_is_chained_is_the_slope(operation):
    rng = np.random.default_rng(0)
    check(operation, *(rng.standard_normal(shape) for shape in CHAINED[operation]))
