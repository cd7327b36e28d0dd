"""Pictures larger than the grid, through windows of its size: each patch's vector is the mean over its windows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.models import assert_close, pixels, vision_model

pytestmark = pytest.mark.filterwarnings("ignore::aimv2_np.UntrainedSizeWarning")
ULPS = 200  # the same network in other batches, see test_packing


@settings(max_examples=40)
@given(size=st.tuples(st.integers(3, 8), st.integers(3, 8)), stride=st.integers(1, 3),
       max_tokens=st.sampled_from([1, 40, None]))  # fmt: skip
def test_windows_are_averaged_where_they_overlap(size, stride, max_tokens):
    model = vision_model().to(dtype="float64")
    x = pixels(2, 4 * size[0] + 1, 4 * size[1] + 3)
    found = model.extract_windows(x, [-2, -1], stride=stride, max_tokens=max_tokens)
    assert found.grid == size
    for layer, got in zip((-2, -1), found.to_feature_map(), strict=True):
        total, count = np.zeros((2, 16, *size)), np.zeros(size)
        for r in sorted({min(r, size[0] - 3) for r in range(0, size[0], stride)}):
            for c in sorted({min(c, size[1] - 3) for c in range(0, size[1], stride)}):
                window = x[:, :, 4 * r : 4 * r + 12, 4 * c : 4 * c + 12]
                total[:, :, r : r + 3, c : c + 3] += model.extract_features(window, [layer]).to_feature_map()[0]
                count[r : r + 3, c : c + 3] += 1
        np.testing.assert_allclose(got, total / count, atol=1e-12)


@pytest.mark.parametrize("native", [False, True])
def test_one_window_is_the_plain_result(native):
    model = vision_model(is_native=native)
    plain = model.extract_features(pixels(), [-2, -1])
    for found in (model.extract_windows(pixels(), [-2, -1]), model.extract_windows(pixels(), [-2, -1], window=3)):
        for value, wanted in zip(found.values, plain.values, strict=True):
            assert_close(value, wanted, ulps=ULPS)
    if native:  # a picture smaller than the window
        small = model.extract_windows(pixels(1, 8, 20), window=9).values[0]
        assert_close(small, model.extract_features(pixels(1, 8, 20)).values[0], ulps=ULPS)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((8, 20), {}, "2x5 patches, smaller than the model's 3x3; resize the images to 12x12"),
        ((20, 20), {"window": 4}, "window is 4, and the model has learned positions for 3x3"),
        ((20, 20), {"window": 0}, "window is 0"),
        ((20, 20), {"stride": 4}, "stride is 4, more than the window's 3x3"),
        ((20, 20), {"stride": (1, 2, 3)}, r"stride is \(1, 2, 3\)"),
        ((20, 20), {"layers": [7]}, "layers holds 7"),
    ],
)
def test_windows_that_make_no_sense(shape, options, message):
    with pytest.raises(ValueError, match=message):
        vision_model().extract_windows(pixels(1, *shape), **options)
