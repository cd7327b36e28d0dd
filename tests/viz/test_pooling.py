import numpy as np
import pytest
from PIL import Image

from aimv2_np import Aimv2Model, Aimv2Processor, Aimv2TextModel, Aimv2VisionModel
from aimv2_np.viz import draw_pooling_attention, pooling_attention, save_png
from tests.support.pictures import photo
from tests.support.two_towers import save_two_towers, text_config, vision_config


def test_the_map_is_the_softmax_of_the_query_with_the_keys(loaded):
    model, processor = loaded
    pixels = processor(images=[photo(20, 30), photo(31, 17, seed=1)])["pixel_values"]
    maps = pooling_attention(model, pixels)
    assert maps.shape == (2, 2, 3)
    tokens = model.vision_model(pixels).last_hidden_state.astype(np.float64)  # (2, 6, 16)
    head = model.vision_model.head
    q = head.cls_token.reshape(2, 8)
    k = (tokens @ head.k_proj.weight.T).reshape(2, 6, 2, 8)
    e = np.exp(np.einsum("hd,bnhd->bhn", q, k) / np.sqrt(8))
    expected = (e / e.sum(axis=2, keepdims=True)).mean(axis=1).reshape(2, 2, 3)
    # float32 against float64: a dot product of 16 terms and an exponential, a few ε each.
    np.testing.assert_allclose(maps, expected, rtol=1e-5)
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), 1, rtol=1e-6)


def test_rows_and_columns_are_those_of_the_picture():
    # The keys are made such that the query singles out one patch, whose place in the map is then known.
    model = Aimv2VisionModel(vision_config(is_native=True, num_attention_heads=1))
    pixels = np.random.default_rng(0).normal(size=(1, 3, 24, 34)).astype(np.float32)  # 3 x 4 patches and a bit
    assert pooling_attention(model, pixels).shape == (1, 3, 4)
    tokens = model(pixels).last_hidden_state[0]
    model.head.k_proj.weight[:] = 0
    model.head.k_proj.weight[0] = tokens[6] / (tokens[6] @ tokens[6])  # token 6 is row 1, column 2
    others = np.delete(tokens, 6, axis=0) @ model.head.k_proj.weight[0]
    assert others.max() < 0.95  # of the 1 that token 6 scores
    model.head.cls_token[:] = 0
    model.head.cls_token[..., 0] = 200.0
    weights = pooling_attention(model, pixels)[0]
    assert np.unravel_index(weights.argmax(), weights.shape) == (1, 2)
    assert weights[1, 2] > 0.5


def test_half_precision_gives_maps_in_float32(loaded):
    model, processor = loaded
    pixels = processor(images=photo(20, 30))["pixel_values"]
    maps = pooling_attention(model.to(dtype="float16"), pixels)
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps, pooling_attention(model, pixels), atol=0.02)  # float16: 11 bits


@pytest.mark.parametrize(
    ("model", "message"),
    [(Aimv2VisionModel(vision_config(use_head=False)), "no pooling head"), (Aimv2TextModel(text_config()), "vision")],
)
def test_models_without_a_pooling_head(model, message):
    with pytest.raises(ValueError, match=message):
        pooling_attention(model, np.zeros((1, 3, 16, 24), np.float32))


@pytest.mark.usefixtures("matplotlib")
def test_the_drawing_is_a_picture_of_the_pictures(loaded, tmp_path):
    model, processor = loaded
    red, blue = (Image.new("RGB", (48, 32), colour) for colour in ("#ff0000", "#0000ff"))
    drawing = draw_pooling_attention(model, processor, [red, blue], [r"$\broken{ $", "ein Bild"])
    figure = drawing.figure
    save_png(drawing, tmp_path / "attention.png", software="somebody")
    with Image.open(tmp_path / "attention.png") as image:
        image.load()
        assert image.format == "PNG"
        assert image.info["Software"] == "somebody"
        pixels = np.asarray(image.convert("RGB")).astype(int)
    for colour in ((255, 0, 0), (0, 0, 255)):  # each picture is there, as large as it was meant to be, upright
        covered = (abs(pixels - colour).max(axis=2) <= 1).sum()
        assert covered > 0.05 * pixels.shape[0] * pixels.shape[1]
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50  # and so are letters and a scale of colours
    assert [ax.get_title() for ax in figure.axes if ax.get_title()] == [r"$\broken{ $", "ein Bild"]


@pytest.mark.usefixtures("matplotlib")
def test_the_drawing_shows_what_the_model_sees(loaded):
    model, processor = loaded
    picture = photo(50, 70)
    drawn, figure = draw_pooling_attention(model, processor, [picture])
    seen, heat = figure.axes[0].images[0], figure.axes[1].images[1]
    expected = np.asarray(picture.resize((24, 16), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(np.asarray(seen.get_array()), expected, atol=1)  # rounded once more
    maps = pooling_attention(model, processor(images=picture)["pixel_values"])
    np.testing.assert_array_equal(drawn[0], maps[0])
    np.testing.assert_allclose(np.asarray(heat.get_array()), 6 * maps[0], rtol=1e-5)
    assert heat.get_extent() == seen.get_extent()


@pytest.mark.usefixtures("matplotlib")
def test_native_pictures_keep_their_sizes(tmp_path):
    folder = save_two_towers(tmp_path / "native", is_native=True)
    model, processor = Aimv2Model.from_pretrained(folder), Aimv2Processor.from_pretrained(folder)
    figure = draw_pooling_attention(model, processor, [photo(33, 20), photo(17, 47)]).figure
    shapes = [ax.images[0].get_array().shape[:2] for ax in figure.axes[:4]]  # both pictures, then both maps
    assert shapes == [(32, 16), (16, 40), (32, 16), (16, 40)]  # cut to whole patches
    assert figure.axes[2].images[1].get_array().shape == (4, 2)


@pytest.mark.usefixtures("matplotlib")
def test_nothing_is_overwritten_unasked(loaded, tmp_path):
    figure = draw_pooling_attention(*loaded, [photo(20, 20)])
    path = tmp_path / "mine.png"
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        save_png(figure, path)
    assert path.read_text() == "mine"
    save_png(figure, path, overwrite=True)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("matplotlib")
def test_arguments_that_do_not_fit(loaded):
    with pytest.raises(ValueError, match="images is empty"):
        draw_pooling_attention(*loaded, [])
    with pytest.raises(ValueError, match="2 entries for 1 images"):
        draw_pooling_attention(*loaded, [photo(20, 20)], ["a", "b"])
    with pytest.raises(ValueError, match="no image processor"):
        draw_pooling_attention(loaded[0], Aimv2Processor(tokenizer=loaded[1].tokenizer), [photo(20, 20)])


@pytest.mark.usefixtures("no_matplotlib")
def test_without_matplotlib_the_error_names_the_extra(loaded):
    with pytest.raises(ImportError, match=r"aimv2-np\[viz\]"):
        draw_pooling_attention(*loaded, [photo(20, 20)])
    pixels = loaded[1](images=photo(20, 20))["pixel_values"]
    assert pooling_attention(loaded[0], pixels).shape == (1, 2, 3)  # the array needs no drawing library
