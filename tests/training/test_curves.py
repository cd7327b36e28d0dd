import numpy as np
import pytest

from aimv2_np.training.curves import draw_curves, save_curves, smooth
from aimv2_np.training.log import Log

LINES = [{"step": i + 1, "loss": 5 / (i + 1), "text": 3.0, "rate": 1e-3, "norm": 1.0, "seconds": 0.1} for i in range(9)]


def test_a_smooth_curve_is_the_mean_of_what_came_before():
    np.testing.assert_allclose(smooth(np.arange(300.0))[:5], [0.0, 0.5, 1.0, 2.0, 3.0])
    np.testing.assert_allclose(smooth(np.arange(4.0)), np.arange(4.0))


def test_losses_rate_and_gradient_are_drawn():
    pytest.importorskip("matplotlib")
    figure = draw_curves(LINES)
    losses, rate, norm = (ax for part in figure.subfigs for ax in part.axes)
    assert [text.get_text() for text in losses.get_legend().get_texts()] == ["loss", "text"]
    np.testing.assert_array_equal(losses.lines[0].get_ydata(), [line["loss"] for line in LINES])
    assert (rate.get_title(), norm.get_title()) == ("rate", "length of the gradient")
    with pytest.raises(ValueError, match="lines is empty"):
        draw_curves([])


def test_they_are_saved_beside_the_log(tmp_path):
    pytest.importorskip("matplotlib")
    with Log(tmp_path, 0) as log:
        for line in LINES:
            log.write(line)
    assert save_curves(tmp_path).read_bytes().startswith(b"\x89PNG")
    save_curves(tmp_path)
