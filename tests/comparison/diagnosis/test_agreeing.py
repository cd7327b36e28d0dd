"""A module's array that differs where its output agrees is another step of it, and no cause is named for it."""

import pytest

from aimv2_np.comparison import compare
from tests.support.models import pixels, vision_model
from tests.support.port import recorded


@pytest.mark.parametrize(
    ("path", "agreeing"),
    [("rms_norm", "last_hidden_state"), ("encoder.layers.0.rms_norm1", "encoder.layers.0")],
)
def test_the_product_before_the_gain_under_the_norms_own_name(path, agreeing):
    model, given = vision_model(), {"pixel_values": pixels()}
    reference = recorded(model, given)
    gain = dict(model.named_modules())[path].weight
    result = compare(reference, {**reference, path: reference[path] / gain}, model=model)
    assert result.first.path == path
    assert result.diagnosis is None
    assert f"{agreeing}, which is computed from it or is the same, agrees" in result.explanation
