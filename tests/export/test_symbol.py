import numpy as np
import pytest

from aimv2_np.backends.arrays import is_array, namespace
from aimv2_np.export.functions import Functions
from aimv2_np.export.graph import Graph
from aimv2_np.export.symbol import Size


@pytest.fixture
def x():
    return Graph(Functions).input("x", ("batch", 6), np.float32)


def test_it_stands_for_an_array(x):
    assert is_array(x)
    assert namespace(x).__name__ == "onnx"
    assert (x.ndim, x.dtype) == (2, np.float32)
    assert repr(x) == "Symbol('x', float32, (batch, 6))"
    assert x.T.shape == (6, Size("batch", lambda: None))


def test_it_has_no_numbers(x):
    with pytest.raises(TypeError, match="known only when the graph runs; use its shape"):
        len(x)
    assert len(x.T) == 6
    for wrong in (np.asarray, np.sin, bool):
        with pytest.raises(TypeError):
            wrong(x)
    with pytest.raises(TypeError, match="no numbers while its graph is written"):
        bool(x > 1)


def test_arrays_of_numpy_leave_it_to_the_symbol(x):
    y = np.ones((6,), np.float32) + x
    assert y.shape == x.shape
    assert [node.kind for node in x.graph.nodes] == ["Add"]


def test_sizes():
    rows, columns = (Size(name, lambda: None) for name in ("height", "width"))
    assert rows == Size("height", lambda: None)
    assert rows != columns
    assert len({rows, Size("height", lambda: None)}) == 1
    assert repr(rows // 14 * (columns // 14)) == "height//14*width//14"
    assert rows * 1 == 1 * rows == rows
    assert rows != 3
