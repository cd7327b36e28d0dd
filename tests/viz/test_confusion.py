import numpy as np
import pytest

from aimv2_np.viz import draw_confusion

pytest.importorskip("matplotlib")


def test_rows_are_shares_and_cells_hold_numbers():
    confusion = np.array([[3, 1, 0], [0, 2, 2], [0, 0, 0]])
    figure = draw_confusion(["a", "b", "$c$"], confusion)
    ax = figure.axes[0]
    np.testing.assert_allclose(ax.images[0].get_array(), [[0.75, 0.25, 0], [0, 0.5, 0.5], [0, 0, 0]])
    assert [text.get_text() for text in ax.texts] == [str(n) for n in confusion.ravel()]
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("is", "taken for")
    figure.canvas.draw()  # a name with dollar signs is text


def test_many_classes_have_no_numbers():
    assert not draw_confusion([f"{i}" * 30 for i in range(30)], np.eye(30, dtype=int)).axes[0].texts


def test_a_matrix_that_does_not_fit():
    with pytest.raises(ValueError, match=r"shape \(2, 2\)"):
        draw_confusion(["a", "b", "c"], np.eye(2))
