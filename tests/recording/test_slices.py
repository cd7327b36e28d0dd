import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.recording.slices import parse_slice, parse_slices

ends = st.none() | st.integers(-9, 9)
part = st.integers(-2, 1) | st.builds(slice, ends, ends, st.none() | st.integers(1, 3) | st.integers(-3, -1))


def written(index):
    if isinstance(index, int):
        return str(index)
    start, stop, step = ("" if end is None else str(end) for end in (index.start, index.stop, index.step))
    return f"{start}:{stop}" + (f":{step}" if step else "")


@given(st.lists(part, min_size=1, max_size=3))
def test_it_means_what_numpy_means(index):
    x = np.arange(2 * 2 * 2).reshape(2, 2, 2)
    np.testing.assert_array_equal(x[parse_slice(" , ".join(map(written, index)))], x[tuple(index)])


@pytest.mark.parametrize("text", ["", "a", "0,,1", "1.5", "::0", "...", "0:1:2:3", "9" * 20, ",".join("0" * 40), "٣:"])
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="no slice"):
        parse_slice(text)


def test_with_globs():
    assert parse_slices(["*.ffn=0, :16", "a=:"]) == {"*.ffn": "0, :16", "a": ":"}
    for text in ("0,:16", "=0", "*.ffn=", "*.ffn=x"):
        with pytest.raises(ValueError, match=r"names no modules|no slice"):
            parse_slices([text])
