"""The sheet of one picture: as many panels as there is something to show, and the arrays of `explain`."""

import numpy as np
import pytest

from aimv2_np import viz
from tests.support.pictures import photo

PICTURE = photo(30, 40)


def panels(drawing):
    """The titles of what is drawn, without scales."""
    return [ax.get_title() for ax in drawing.figure.axes if ax.get_title()]


@pytest.mark.usefixtures("matplotlib")
def test_a_panel_for_each_caption(loaded):
    with_captions = viz.draw_explanation(*loaded, PICTURE, ("a cat", "a dog"))
    without = viz.draw_explanation(*loaded, PICTURE)
    assert len(panels(with_captions)) == len(panels(without)) + 2
    assert any("a cat" in title for title in panels(with_captions))


@pytest.mark.usefixtures("matplotlib")
def test_the_arrays_are_those_of_explain(loaded):
    found, expected = (
        viz.draw_explanation(*loaded, PICTURE, ("a cat",)).array,
        viz.explain(*loaded, PICTURE, ("a cat",)),
    )
    np.testing.assert_array_equal(found.tokens, expected.tokens)
    np.testing.assert_array_equal(found.contributions, expected.contributions)
    np.testing.assert_array_equal(found.pooling, expected.pooling)


@pytest.mark.usefixtures("matplotlib")
def test_without_a_pooling_head_there_is_no_panel_for_it(loaded, native):
    titles = [panels(viz.draw_explanation(*pair, PICTURE)) for pair in (loaded, native)]
    assert [any("pooling" in title for title in each) for each in titles] == [True, False]


@pytest.mark.usefixtures("matplotlib")
def test_the_patch_and_the_layer_are_named(loaded):
    titles = panels(viz.draw_explanation(*loaded, PICTURE, patch=(1, 2), layer=0, head=1))
    assert any("patch 1, 2" in title for title in titles)
    assert any("layer 0, head 1" in title for title in titles)


@pytest.mark.usefixtures("matplotlib")
@pytest.mark.parametrize("wrong", [{"patch": (9, 0)}, {"layer": 9}, {"head": 9}])
def test_places_that_are_not_there(loaded, wrong):
    with pytest.raises(ValueError, match="9"):
        viz.draw_explanation(*loaded, PICTURE, **wrong)


@pytest.mark.usefixtures("no_matplotlib")
def test_without_matplotlib(loaded):
    with pytest.raises(ImportError, match="viz"):
        viz.draw_explanation(*loaded, PICTURE)
