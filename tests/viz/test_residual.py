import numpy as np
import pytest

from aimv2_np.viz import draw_residual_stream, residual_stream
from tests.support.pictures import photo


def rms(x):
    return np.sqrt((np.asarray(x, np.float64) ** 2).mean(axis=-1))


def test_lengths_are_those_of_the_hidden_states_and_updates(loaded):
    model, processor = loaded
    pixels = processor(images=[photo(20, 30), photo(31, 17, seed=1)])["pixel_values"]
    stream = residual_stream(model, pixels)
    states = model.vision_model(pixels, output_hidden_states=True).hidden_states
    assert (stream.states.shape, stream.attention.shape, stream.ffn.shape) == ((3, 2, 6), (2, 2, 6), (2, 2, 6))
    np.testing.assert_allclose(stream.states, [rms(x) for x in states], rtol=1e-6)
    for i, layer in enumerate(model.vision_model.encoder.layers):
        attention = layer.attention(layer.rms_norm1(states[i]))
        np.testing.assert_allclose(stream.attention[i], rms(attention), rtol=1e-5)  # float32, one layer
        np.testing.assert_allclose(stream.ffn[i], rms(states[i + 1] - states[i] - attention), rtol=1e-4)


@pytest.mark.usefixtures("matplotlib")
def test_the_drawing(loaded):
    model, processor = loaded
    stream, figure = draw_residual_stream(model, processor, photo(20, 30))
    left, right = figure.axes
    np.testing.assert_allclose(left.lines[0].get_ydata(), np.median(stream.states[:, 0], axis=1))
    expected = np.median(stream.ffn[:, 0] / stream.states[:-1, 0], axis=1)
    np.testing.assert_allclose(right.lines[1].get_ydata(), expected)
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["attention", "MLP"]
    assert left.get_xlabel() == "layers passed"
    figure.canvas.draw()
