import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.viz import draw_patch_colors, draw_patch_similarity, patch_colors, patch_similarity, principal_components
from tests.support.pictures import photo


@given(st.integers(4, 40), st.integers(3, 12), st.integers(0, 99))
def test_components_are_those_of_the_singular_value_decomposition(rows, size, seed):
    x = np.random.default_rng(seed).normal(size=(rows, size)) * np.arange(1, size + 1) + 3
    mean, axes, coordinates = principal_components(x)
    _, s, vt = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(mean, x.mean(axis=0))
    # The eigenvectors of a product: half of float64's digits where two axes explain nearly as much.
    for axis, column, expected, length in zip(axes, coordinates.T, vt, s, strict=False):
        sign = np.sign(expected[abs(expected).argmax()])
        np.testing.assert_allclose(axis, sign * expected, atol=1e-6)
        np.testing.assert_allclose(abs(column), abs(x @ expected - x.mean(axis=0) @ expected), atol=1e-6 * length)
    assert (axes[np.arange(3), abs(axes).argmax(axis=1)] > 0).all()


def test_rows_that_do_not_vary_have_no_components():
    _, axes, coordinates = principal_components(np.full((5, 4), 0.1))
    assert not axes.any()
    assert not coordinates.any()
    line = np.outer(np.arange(5.0), [3.0, -4.0, 0.0, 0.0])
    _, axes, coordinates = principal_components(line)
    np.testing.assert_allclose(axes[0], [-0.6, 0.8, 0, 0], atol=1e-12)
    assert not axes[1:].any()
    assert principal_components(np.ones((3, 2))).axes.shape == (3, 2)


def test_colours_are_joint_and_fill_their_range():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(40, 8)), rng.normal(size=(60, 8)) + 5
    colors = patch_colors([a.astype(np.float32), b.astype(np.float32)])
    assert [it.shape for it in colors] == [(40, 3), (60, 3)]
    together = np.concatenate(colors)
    assert (together.min(axis=0) == 0).all()
    assert (together.max(axis=0) == 1).all()
    assert min(colors[1][:, 0]) > max(colors[0][:, 0])  # what tells the pictures apart is the first component
    np.testing.assert_allclose(together, patch_colors([np.concatenate([a, b]).astype(np.float32)])[0], atol=1e-6)


def test_a_single_patch_is_grey():
    (colors,) = patch_colors([np.ones((1, 16), np.float32)])
    np.testing.assert_array_equal(colors, np.full((1, 3), 0.5))


def test_similarity_is_the_cosine(loaded):
    model, processor = loaded
    pixels = processor(images=[photo(20, 30), photo(31, 17, seed=1)])["pixel_values"]
    tokens = model.vision_model(pixels).last_hidden_state.astype(np.float64)
    cosines = patch_similarity(model, pixels, (1, 0))
    assert cosines.shape == (2, 2, 3)
    for mine, x in zip(cosines, tokens, strict=True):
        expected = x @ x[3] / (np.linalg.norm(x, axis=1) * np.linalg.norm(x[3]))
        np.testing.assert_allclose(mine.ravel(), expected, atol=1e-6)  # float32: a few ε
        assert mine[1, 0] == pytest.approx(1, abs=1e-6)
    with pytest.raises(ValueError, match="patch is 2"):
        patch_similarity(model, pixels, (2, 0))


@pytest.mark.usefixtures("matplotlib")
def test_the_drawings(native):
    model, processor = native
    pictures = [photo(24, 40), photo(33, 16, seed=1)]
    maps, figure = draw_patch_colors(model, processor, pictures)
    assert [it.shape for it in maps] == [(3, 5, 3), (4, 2, 3)]
    titles = ["picture 0", "features as colours", "picture 1", "features as colours"]
    assert [ax.get_title() for ax in figure.axes] == titles
    np.testing.assert_array_equal(np.asarray(figure.axes[3].images[0].get_array()), np.rint(255 * maps[1]))
    cosines, figure = draw_patch_similarity(model, processor, pictures[0], (2, 4))
    np.testing.assert_array_equal(np.asarray(figure.axes[1].images[1].get_array()), cosines)
    assert figure.axes[1].images[1].get_clim() == (pytest.approx(cosines.min()), 1)
    assert figure.axes[2].get_ylabel() == "cosine of features"
