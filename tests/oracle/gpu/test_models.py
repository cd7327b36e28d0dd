"""Both towers and the model of both, on the device, against Transformers, module by module."""

from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.oracle import assert_same, counted
from tests.support.strategies import Case, text_cases, two_tower_cases, vision_cases

DTYPES = st.sampled_from(["float32", "float16"])
# What it takes to start an emulated kernel is no sign of a slow test.
SETTINGS = settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
pytestmark = [
    pytest.mark.usefixtures("cupy"),
    pytest.mark.filterwarnings("ignore:input_ids have no end-of-text token"),
]


@SETTINGS
@given(case=vision_cases(rectangular=True), dtype=DTYPES)
@counted
def test_vision(case: Case, dtype: str) -> None:
    assert_same(case, dtype=dtype, backend="cupy")


@SETTINGS
@given(case=text_cases(), dtype=DTYPES)
@counted
def test_text(case: Case, dtype: str) -> None:
    assert_same(case, dtype=dtype, backend="cupy")


@SETTINGS
@given(case=two_tower_cases(), dtype=DTYPES)
@counted
def test_both(case: Case, dtype: str) -> None:
    assert_same(case, dtype=dtype, backend="cupy")


def test_the_device_is_what_runs(cupy: ModuleType) -> None:
    """The tests above would pass on the CPU as well."""
    from tests.support.models import pixels, vision_model

    model = vision_model().to("cupy")
    assert isinstance(model(pixels()).last_hidden_state, cupy.ndarray)
