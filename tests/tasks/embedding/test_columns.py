"""Arrays written piece by piece: the file is that of the safetensors library, and rows come in pieces of any size."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load

from aimv2_np.tasks.embedding.columns import Column, regroup, write_safetensors


def column(name, array, *ends):
    return Column(name, array.dtype, array.shape, lambda: iter(np.split(array, ends)))


def test_safetensors_reads_what_was_written_in_pieces():
    arrays = {
        "bytes": np.arange(5, dtype=np.uint8),
        "features": np.arange(12, dtype=np.float32).reshape(4, 3),
        "ends": np.arange(2, dtype=np.int64),
    }
    file = io.BytesIO()
    write_safetensors(file, [column(name, array, 1) for name, array in arrays.items()], {"kind": "pooled"})
    found = load(file.getvalue())
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    assert b'"kind":"pooled"' in file.getvalue()


def test_how_many_bytes():
    assert column("x", np.zeros((3, 5), np.float32)).nbytes == 60


@given(rows=st.integers(1, 20), data=st.data())
def test_regrouped_rows_are_the_same_rows(rows, data):
    array = np.arange(2 * rows).reshape(rows, 2)
    ends = data.draw(st.lists(st.integers(0, rows), max_size=4).map(sorted))
    cuts = data.draw(st.sets(st.integers(1, rows), max_size=4)) | {rows}
    sizes = np.diff([0, *sorted(cuts)]).tolist()
    pieces = list(regroup(np.split(array, ends), sizes))
    assert [len(piece) for piece in pieces] == sizes
    np.testing.assert_array_equal(np.concatenate(pieces), array)


def test_more_rows_than_there_are():
    with pytest.raises(RuntimeError):
        list(regroup([np.zeros(2)], [3]))
