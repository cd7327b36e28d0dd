import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from beartype import beartype
from jaxtyping import TypeCheckError, jaxtyped

from aimv2_np.network.attention import attention
from aimv2_np.network.linear import linear
from aimv2_np.network.patches import patch_embed
from aimv2_np.network.rms_norm import rms_norm
from aimv2_np.shapes import Array, Float
from tests.support.shape_checks import checked_once

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(("op", "arguments"), [
    (linear, (np.zeros((2, 3)), np.zeros((5, 4)))),  # inputs of another width
    (linear, (np.zeros((2, 3)), np.zeros((5, 3)), np.zeros(3))),  # a bias as long as the input
    (linear, (np.zeros((2, 3), int), np.zeros((5, 3)))),  # integers
    (rms_norm, (np.zeros((2, 3)), np.ones(2), 1e-5)),
    (rms_norm, (np.zeros((2, 3)), np.ones((1, 3)), 1e-5)),
    (attention, (np.zeros((1, 2, 3, 4)), np.zeros((1, 2, 5, 4)), np.zeros((1, 2, 6, 4)), 1.0)),
    (attention, (*(np.zeros((1, 2, 3, 4)),) * 3, 1.0, np.ones((1, 2, 3, 3), bool))),  # a mask per head
    (attention, (*(np.zeros((1, 2, 3, 4)),) * 3, 1.0, np.ones((1, 1, 3, 3)))),  # a mask of numbers
    (patch_embed, (np.zeros((1, 1, 4, 4)), np.zeros((2, 3, 2, 2)), np.zeros(2))),  # one channel for a weight of three
])  # fmt: skip
def test_wrong_shapes_do_not_pass_the_tests(op, arguments):
    """The annotations of the layers are checked at every call in this suite; this is the check of the check."""
    with pytest.raises(TypeCheckError):
        op.textbook(*arguments)


def test_what_passed_once_lets_nothing_else_pass():
    x, right, wrong = np.zeros((2, 3)), np.zeros((2, 5)), np.zeros((3, 5))
    results = iter((right, wrong, right, wrong))

    def product(x: Float[Array, "*batch I"], size: int) -> Float[Array, "*batch O"]:
        return next(results)

    call = checked_once(jaxtyped(typechecker=beartype), product)
    assert call(x, 5) is right
    with pytest.raises(TypeCheckError):
        call(x, 5)  # the same arguments, and a result of another shape
    assert call(x, size=5) is right
    for other in (x.astype(int), "x", [x]):
        with pytest.raises(TypeCheckError):
            call(other, 5)
    with pytest.raises(TypeCheckError):
        call(x, size=5)
    with pytest.raises(TypeCheckError):
        call(x, "5")


def test_without_jaxtyping_annotations_are_plain_python():
    code = (
        "import sys; from typing import Annotated, get_type_hints\n"
        "from aimv2_np import shapes; from aimv2_np.network.linear import linear\n"
        "assert 'jaxtyping' not in sys.modules and shapes.Float is Annotated\n"
        "hints = get_type_hints(linear.textbook, include_extras=True)\n"
        "assert hints['x'].__metadata__ == ('*batch I',), hints\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == 0, result.stderr
