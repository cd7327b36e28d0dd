import pytest
from PIL import Image

from aimv2_np import viz
from tests.support.pictures import photo

CALLS = {
    "draw_attention_rollout": (photo(20, 30),),
    "draw_caption_contributions": (photo(20, 30), ["a cat"]),
    "draw_caption_relevance": (photo(20, 30), ["a cat"]),
    "draw_caption_saliency": (photo(20, 30), ["a cat"]),
    "draw_caption_similarity": (photo(20, 30), ["a cat"]),
    "draw_explanation": (photo(20, 30),),
    "draw_lens": (photo(20, 30), ["a cat"]),
    "draw_patch_attention": (photo(20, 30),),
    "draw_patch_colors": ([photo(20, 30)],),
    "draw_patch_similarity": (photo(20, 30),),
    "draw_pooling_attention": ([photo(20, 30)],),
    "draw_residual_stream": (photo(20, 30),),
    "draw_text_attention": ("a cat",),
}
OF_COUNTS = {"draw_confusion"}  # tests/viz/test_confusion.py
OF_THE_MODEL = {"draw_position_similarity": (), "draw_position_waves": ()}


def test_these_are_all():
    assert {name for name in viz.__all__ if name.startswith("draw_")} == CALLS.keys() | OF_THE_MODEL.keys() | OF_COUNTS


@pytest.mark.usefixtures("no_matplotlib")
@pytest.mark.parametrize("name", [*CALLS, *OF_THE_MODEL])
def test_without_matplotlib_the_error_names_the_extra(loaded, name):
    arguments = (*loaded, *CALLS[name]) if name in CALLS else (loaded[0],)
    with pytest.raises(ImportError, match=r"pip install 'aimv2-np\[viz\]'"):
        getattr(viz, name)(*arguments)


@pytest.mark.usefixtures("matplotlib")
@pytest.mark.parametrize("name", CALLS)
def test_every_drawing_becomes_a_file(loaded, name, tmp_path):
    drawing = getattr(viz, name)(*loaded, *CALLS[name])
    viz.save_png(drawing, tmp_path / "a.png", software="somebody")
    with Image.open(tmp_path / "a.png") as image:
        image.load()
        assert image.info["Software"] == "somebody"
        assert len(image.convert("RGB").getcolors(2**24)) > 20
    with pytest.raises(FileExistsError):
        viz.save_png(drawing.figure, tmp_path / "a.png")


@pytest.mark.usefixtures("matplotlib")
def test_ticks_are_few_whole_numbers_from_zero():
    figure, (ax,) = viz.drawing.panels(1)
    viz.drawing.patch_axes(ax, (1, 73), "")
    assert list(ax.get_xticks()) == list(range(0, 73, 20))
    assert list(ax.get_yticks()) == [0]
    figure.canvas.draw()
