"""What a comparison makes of a port with a fault."""

from collections.abc import Callable
from typing import Any

import pytest

from aimv2_np.comparison import compare
from tests.support.models import both_model, pixels, tokens
from tests.support.port import Port, recorded


@pytest.fixture
def diagnosed() -> Callable[..., Any]:
    """(port, model, inputs) -> the diagnosis of the port's run against the model's; some inputs are there already."""

    def run(port: type[Port], model: Any = None, with_model: bool = True, **changes: Any) -> Any:
        model = both_model() if model is None else model
        given = {"pixel_values": pixels(), "input_ids": tokens(), **changes}
        given = {name: value for name, value in given.items() if value is not None}
        other = port(model).run(**given)
        result = compare(recorded(model, given), other, model=model if with_model else None)
        assert result.diagnosis is not None, result.explanation
        return result.diagnosis

    return run
