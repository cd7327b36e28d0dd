"""Gradients of models on a GPU are arrays there, and those of NumPy."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from aimv2_np import compare, gradient_of, to_numpy, trace, value_and_grad
from aimv2_np.recording import record
from tests.support.models import both_model, pixels, text_model, tokens


def loss(model):
    return model(tokens(), pixels(), return_loss=True).loss


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-4), ("float16", 0.1)])
def test_of_both_towers(cupy: ModuleType, dtype: str, bound: float) -> None:
    """Half precision rounds activations to 1e-3, and the loss is of cosines times a temperature."""
    expected_value, expected = value_and_grad(loss, both_model().to(dtype="float64"))
    value, found = value_and_grad(loss, both_model().to("cupy", dtype))
    assert float(value) == pytest.approx(float(expected_value), rel=bound)
    largest = max(np.linalg.norm(array) for array in expected.values())
    for path, array in found.items():
        assert isinstance(array, cupy.ndarray)
        assert array.dtype == np.float32
        assert np.linalg.norm(to_numpy(array) - expected[path]) <= bound * (
            np.linalg.norm(expected[path]) + 0.01 * largest
        ), path


def test_of_pixels(cupy: ModuleType) -> None:
    model = both_model().vision_model
    expected = gradient_of(lambda x: (model(x).pooler_output ** 2).sum(), pixels())
    moved = model.to("cupy")
    found = gradient_of(lambda x: (moved(x).pooler_output ** 2).sum(), cupy.asarray(pixels()))
    np.testing.assert_allclose(to_numpy(found), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_of_texts_of_several_lengths(cupy: ModuleType) -> None:
    model, ids = text_model(max_position_embeddings=20), tokens(4, 20)
    ids[[0, 2], 3] = model.config.eos_token_id
    _, expected = value_and_grad(lambda m: (m.features(ids) ** 2).sum(), model)
    _, found = value_and_grad(lambda m: (m.features(ids) ** 2).sum(), model.to("cupy"))
    for path, array in found.items():
        np.testing.assert_allclose(to_numpy(array), expected[path], rtol=0, atol=1e-4 * np.abs(expected[path]).max())


@pytest.mark.parametrize("inner", [False, True])
def test_by_path(cupy: ModuleType, inner: bool, tmp_path: Path) -> None:
    """A trace keeps them on the GPU, a recording brings them home."""
    model, inputs = both_model(), {"pixel_values": pixels(), "input_ids": tokens()}
    moved = model.to("cupy")
    with trace(moved, gradients=True, inner=inner) as found:
        moved(**inputs)
    assert all(isinstance(array, cupy.ndarray) for array in found.values())
    one = record(moved, inputs, tmp_path / "a.safetensors", gradients=True, inner=inner)
    other = record(model, inputs, tmp_path / "b.safetensors", gradients=True, inner=inner)
    assert one.order == other.order
    assert compare(other, one, model=model).equal
    assert compare(one, other, model=moved).equal
