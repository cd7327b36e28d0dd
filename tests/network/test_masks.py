import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.network.masks import make_mask


@pytest.mark.parametrize("causal", [True, False])
@given(batch=st.integers(1, 3), tokens=st.integers(1, 5), data=st.data())
def test_equals_the_definition(batch, tokens, data, causal):
    row = st.lists(st.integers(0, 1), min_size=tokens, max_size=tokens)
    padding = np.array(data.draw(st.lists(row, min_size=batch, max_size=batch)))
    mask = make_mask(np, tokens, padding, causal=causal)
    full = np.broadcast_to(mask, (batch, 1, tokens, tokens))
    for b, _, i, j in np.ndindex(full.shape):
        assert full[b, 0, i, j] == ((not causal or j <= i) and padding[b, j] == 1)


def test_without_padding():
    assert make_mask(np, 4, None, causal=False) is None
    mask = make_mask(np, 3, None, causal=True)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, [[[[1, 0, 0], [1, 1, 0], [1, 1, 1]]]])
