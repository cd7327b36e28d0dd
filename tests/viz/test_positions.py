import numpy as np
import pytest

from aimv2_np.network.positions import sincos_positions
from aimv2_np.viz import draw_position_similarity, draw_position_waves, position_similarity, position_vectors


def test_the_learned_table_row_by_row(loaded):
    table = loaded[0].vision_model.embeddings.position_embedding.weight
    np.testing.assert_array_equal(position_vectors(loaded[0]).reshape(6, 16), table)
    assert position_vectors(loaded[0]).shape == (2, 3, 16)
    assert position_vectors(loaded[0], (5, 4)).shape == (5, 4, 16)  # stretched


def test_waves_of_a_native_model(native):
    np.testing.assert_array_equal(position_vectors(native[0], (3, 5)).reshape(15, 16), sincos_positions(np, 3, 5, 16))


@pytest.mark.parametrize("grid", [None, (4, 7), (1, 1)])
def test_similarity(loaded, native, grid):
    for model in (loaded[0], native[0]):
        cosines = position_similarity(model, grid)
        rows, columns = grid or (2, 3)
        assert cosines.shape == (rows, columns, rows, columns)
        square = cosines.reshape(rows * columns, -1)
        np.testing.assert_allclose(square, square.T, atol=1e-6)
        np.testing.assert_allclose(np.diagonal(square), 1, rtol=1e-6)
        table = position_vectors(model, grid).reshape(rows * columns, -1)
        lengths = np.linalg.norm(table, axis=1)
        np.testing.assert_allclose(square[0], table @ table[0] / (lengths * lengths[0]), atol=1e-6)


def test_a_grid_needs_a_patch(native):
    with pytest.raises(ValueError, match="at least one patch"):
        position_vectors(native[0], (0, 3))


@pytest.mark.usefixtures("matplotlib")
def test_the_drawing_of_similarity(native):
    cosines, figure = draw_position_similarity(native[0], (9, 20))
    maps = [ax for ax in figure.axes if ax.images and ax.get_ylabel() != "cosine of positions"][:64]
    assert len(maps) == 64  # of 9 x 20 positions 8 x 8
    np.testing.assert_array_equal(np.asarray(maps[0].images[0].get_array()), cosines[0, 0])
    np.testing.assert_array_equal(np.asarray(maps[63].images[0].get_array()), cosines[8, 19])
    assert (maps[63].get_xlabel(), maps[0].get_ylabel()) == ("19", "0")
    draw_position_similarity(native[0], (1, 1)).figure.canvas.draw()


@pytest.mark.usefixtures("matplotlib")
def test_the_drawing_of_waves(loaded, native):
    table, figure = draw_position_waves(native[0], (3, 5))
    assert [ax.get_title() for ax in figure.axes[:4]] == ["sin(c·ω)", "cos(c·ω)", "sin(r·ω)", "cos(r·ω)"]
    np.testing.assert_array_equal(np.asarray(figure.axes[0].images[0].get_array()), table[0, :, :4].T)
    np.testing.assert_allclose(figure.axes[0].images[0].get_array()[0], np.sin(np.arange(5)))  # ω_0 = 1
    np.testing.assert_allclose(figure.axes[3].images[0].get_array()[0], np.cos(np.arange(3)))
    with pytest.raises(ValueError, match="learned table"):
        draw_position_waves(loaded[0])
