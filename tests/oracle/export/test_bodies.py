import numpy as np
import pytest

pytest.importorskip("onnx", reason="pip install onnx onnxruntime")
pytest.importorskip("onnxruntime", reason="pip install onnx onnxruntime")

from aimv2_np.export.bodies import OPERATORS
from aimv2_np.network.activations import ACTIVATIONS
from aimv2_np.network.swiglu import gated
from tests.oracle.export.test_functions import run


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation(tmp_path, name):
    gate = np.linspace(-12, 12, 48, dtype=np.float32).reshape(2, 24)
    up = np.ones_like(gate)
    found, output = run(tmp_path / "m.onnx", lambda a, b: gated.bodies[type(a)](a, b, name), gate, up)
    np.testing.assert_allclose(found, ACTIVATIONS[name](gate), atol=2e-6, rtol=2e-6)
    if name in OPERATORS:
        assert len(output.graph.nodes) <= 8
