"""Each function gives, where a graph runs, what NumPy's gives; and at once where all is known."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="pip install onnx onnxruntime")
onnxruntime = pytest.importorskip("onnxruntime", reason="pip install onnx onnxruntime")

from aimv2_np.backends.arrays import namespace  # noqa: E402
from aimv2_np.export.file import write  # noqa: E402
from aimv2_np.export.functions import Functions  # noqa: E402
from aimv2_np.export.graph import Graph  # noqa: E402

X = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
IDS = np.array([[2, 0, 1], [1, 1, 0]])


def run(path, function, *arrays, names=("a", "b", "c")):
    """What a function of symbols gives in ONNX Runtime, all sizes unknown before."""
    graph = Graph(Functions)
    inputs = [
        graph.input(name, [f"n{n}" for n in array.shape], array.dtype)
        for name, array in zip(names, arrays, strict=False)
    ]
    output = graph.call(function(*inputs), "output")
    write(path, graph, inputs, {"output": output}, {}, overwrite=True)
    onnx.checker.check_model(str(path), full_check=True)
    session = onnxruntime.InferenceSession(str(path))
    found = session.run(None, dict(zip(names, arrays, strict=False)))[0]
    return found, output


CASES = {
    "arithmetic": lambda x: 2 - (x * x + 1) / (0.5 + abs(x)) - x**2.0,
    "functions": lambda x: namespace(x).sqrt(namespace(x).exp(-x)) + namespace(x).tanh(namespace(x).sin(x)),
    "larger": lambda x: namespace(x).maximum(x, 0) + namespace(x).clip(x, -0.5, 0.5),
    "where": lambda x: namespace(x).where(x > 0, x, -2 * x) + namespace(x).where(x != x, 1, 0.5),
    "logic": lambda x: ((x > 0) & (x < 1) | ~(x >= -1)).astype(np.float32),
    "where of bools": lambda x: namespace(x).where(x > 0.5, x > 1, x > -1).astype(np.int64),
    "sums": lambda x: x.sum(axis=-1, keepdims=True) + x.max(axis=1, keepdims=True) + namespace(x).mean(x, axis=0),
    "any": lambda x: (x > 1).any(axis=1) == False,  # noqa: E712
    "largest": lambda x: (x > 0).argmax(axis=2),
    "product": lambda x: x @ x.swapaxes(-1, -2),
    "reshaped": lambda x: x.reshape(x.shape[0], x.shape[1] * x.shape[2]),
    "flat": lambda x: x.reshape(-1, x.shape[2]),
    "turned": lambda x: x.transpose(2, 0, 1) + x.T.swapaxes(1, 2),
    "new axes": lambda x: x[:, None, :, None] + x[..., None],
    "beginnings": lambda x: x[:1, :, :2],
    "joined": lambda x: namespace(x).concatenate([x, x * 2, np.zeros_like(X)], axis=0),
    "repeated": lambda x: namespace(x).broadcast_to(x[:, :1], (x.shape[0], 5, 4)) if x.ndim == 3 else x,
    "numbers": lambda x: namespace(x).arange(x.shape[1])[:, None] * np.array([0.5, 2.0]),
}


@pytest.mark.parametrize("name", CASES)
def test_as_numpy(tmp_path, name):
    function = CASES[name]
    found, output = run(tmp_path / "m.onnx", function, X)
    expected = function(X)
    assert found.dtype == expected.dtype == output.dtype
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    known = function(Graph(Functions).constant(X))
    assert known.shape == expected.shape
    if getattr(known, "known", False):
        np.testing.assert_allclose(known.value, expected, rtol=1e-5, atol=1e-5)


def test_rows(tmp_path):
    table = np.arange(12, dtype=np.float32).reshape(3, 4)
    found, _ = run(tmp_path / "m.onnx", lambda ids: ids.graph.constant(table)[ids], IDS)
    np.testing.assert_array_equal(found, table[IDS])
    found, _ = run(tmp_path / "m.onnx", lambda x, ends: x[namespace(x).arange(x.shape[0]), ends], X, np.array([2, 0]))
    np.testing.assert_array_equal(found, X[np.arange(2), [2, 0]])


def test_what_has_no_operator_says_so():
    x = Graph(Functions).input("x", ("n", 3), np.float32)
    with pytest.raises(TypeError, match="median has no operator in a graph here"):
        namespace(x).median(x)
    with pytest.raises(TypeError, match="expected slices from the start, None, or rows"):
        x[1:]
    with pytest.raises(ValueError, match="expected the same sizes, or 1"):
        x + np.ones((2,), np.float32)
