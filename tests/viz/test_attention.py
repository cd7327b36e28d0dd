import numpy as np
import pytest

from aimv2_np.viz import attention, draw_patch_attention, patch_attention
from tests.support.pictures import photo

PATCH = (1, 2)


def pixels_of(processor, *sizes):
    pictures = [photo(*size, seed=i) for i, size in enumerate(sizes)]
    return processor(images=pictures)["pixel_values"]


@pytest.mark.parametrize("layer", [0, 1, -1, -2])
def test_it_is_a_row_of_the_models_attention(loaded, layer):
    model, processor = loaded
    pixels = pixels_of(processor, (20, 30), (31, 17))
    maps = patch_attention(model, pixels, PATCH, layer)
    attentions = model.vision_model(pixels, output_attentions=True).attentions[layer]
    assert maps.shape == (2, 2, 2, 3)
    # The fast body and the textbook's: sums of 8 products in another order, then e^x.
    np.testing.assert_allclose(maps.reshape(2, 2, 6), attentions[:, :, 5], rtol=1e-5)
    np.testing.assert_allclose(maps.sum(axis=(2, 3)), 1, rtol=1e-6)


def test_any_grid_of_a_native_model(native):
    model, processor = native
    for size, grid in (((24, 70), (3, 8)), ((8, 8), (1, 1)), ((47, 9), (5, 1))):
        maps = patch_attention(model, processor(photo(*size))["pixel_values"], (0, 0))
        assert maps.shape == (1, 2, *grid)
        np.testing.assert_allclose(maps.sum(axis=(2, 3)), 1, rtol=1e-6)


def test_learned_positions_are_stretched_on_request(loaded):
    pixels = np.random.default_rng(0).normal(size=(1, 3, 32, 40)).astype(np.float32)
    with pytest.raises(ValueError, match="grid of 4x5"):
        patch_attention(loaded[0], pixels, (3, 4))
    maps = patch_attention(loaded[0], pixels, (3, 4), interpolate_pos_encoding=True)
    assert maps.shape == (1, 2, 4, 5)


def test_no_more_rows_are_computed_than_asked_for(loaded, monkeypatch):
    model, processor = loaded
    seen = []
    original = attention.attention_rows
    monkeypatch.setattr(attention, "attention_rows", lambda q, k: seen.append(q.shape) or original(q, k))
    patch_attention(model, pixels_of(processor, (20, 30)), PATCH, 0)
    assert seen == [(1, 2, 1, 8)]


def test_half_precision_gives_float32(loaded):
    model, processor = loaded
    pixels = pixels_of(processor, (20, 30))
    half = patch_attention(model.to(dtype="float16"), pixels, PATCH)
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, patch_attention(model, pixels, PATCH), atol=0.02)  # float16: 11 bits


@pytest.mark.parametrize(
    ("patch", "layer", "message"),
    [((2, 0), 0, "patch is 2"), ((0, -1), 0, "patch is 0, -1"), ((0, 0), 2, "layer is 2"), ((0, 0), -3, "layer is -3")],
)
def test_places_that_are_not_there(loaded, patch, layer, message):
    model, processor = loaded
    with pytest.raises(ValueError, match=message):
        patch_attention(model, pixels_of(processor, (20, 30)), patch, layer)


@pytest.mark.usefixtures("matplotlib")
def test_the_drawing(loaded):
    model, processor = loaded
    weights, figure = draw_patch_attention(model, processor, photo(20, 30), PATCH, 0)
    expected = patch_attention(model, pixels_of(processor, (20, 30)), PATCH, 0)[0]
    np.testing.assert_array_equal(weights, expected)
    panels = [ax for ax in figure.axes if ax.get_xlabel() == "patch column"]
    assert [ax.get_title() for ax in panels] == ["patch 1, 2 in layer 0", "mean of the heads", "head 0", "head 1"]
    assert {ax.get_ylabel() for ax in panels} == {"patch row"}
    for ax, it in zip(panels[1:], [expected.mean(axis=0), *expected], strict=True):
        np.testing.assert_allclose(np.asarray(ax.images[-1].get_array()), 6 * it, rtol=1e-6)
        assert ax.images[-1].get_extent() == [-0.5, 2.5, 1.5, -0.5]  # row 0 is at the top
        assert ax.get_ylim() == (1.5, -0.5)
    frame = panels[0].lines[0].get_xydata()
    assert (frame.min(axis=0) == (1.5, 0.5)).all()  # around column 2, row 1
    assert (frame.max(axis=0) == (2.5, 1.5)).all()


@pytest.mark.usefixtures("matplotlib")
def test_the_drawing_of_one_head(loaded):
    model, processor = loaded
    weights, figure = draw_patch_attention(model, processor, photo(20, 30), head=-1)
    assert weights.shape == (1, 2, 3)
    assert [ax.get_title() for ax in figure.axes if ax.get_title()] == ["patch 1, 1 in layer 1", "head 1"]
    with pytest.raises(ValueError, match="head is 2"):
        draw_patch_attention(model, processor, photo(20, 30), head=2)
