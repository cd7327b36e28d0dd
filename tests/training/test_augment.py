import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from aimv2_np.training.augment import Augmentation


@given(width=st.integers(1, 60), height=st.integers(1, 60), seed=st.integers(0, 99), least=st.floats(0.1, 1))
def test_a_part_lies_in_the_picture(width, height, seed, least):
    augmentation = Augmentation(area=(least, 1.0))
    left, top, w, h = augmentation.part((width, height), np.random.default_rng(seed))
    assert 0 <= left <= left + w <= width
    assert 0 <= top <= top + h <= height
    assert w >= 1
    assert h >= 1


def test_areas_and_shapes_are_those_asked_for():
    rng = np.random.default_rng(0)
    parts = np.array([Augmentation().part((400, 400), rng) for _ in range(500)])
    areas, ratios = parts[:, 2] * parts[:, 3] / 160_000, parts[:, 2] / parts[:, 3]
    assert areas.min() >= 0.39
    assert areas.max() > 0.95
    assert areas.mean() == pytest.approx(0.65, abs=0.02)  # some of the largest do not fit and are drawn again
    assert ratios.min() >= 0.74
    assert ratios.max() <= 1.35
    assert np.log(ratios).mean() == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize(("size", "expected"), [((1000, 10), (13, 10)), ((10, 1000), (10, 13))])
def test_of_a_narrow_picture_the_middle_is_shown(size, expected):
    """No part of 40 % of its area has an allowed shape."""
    left, top, *part = Augmentation().part(size, np.random.default_rng(0))
    assert tuple(part) == expected
    assert (left, top) == ((size[0] - part[0]) // 2, (size[1] - part[1]) // 2)


def test_half_of_them_are_mirrored():
    picture = Image.fromarray(np.arange(64, dtype=np.uint8)[None].repeat(64, 0))
    rng = np.random.default_rng(0)
    rising = [float(np.diff(np.asarray(Augmentation()(picture, rng, (8, 8)), float)[0]).mean()) > 0 for _ in range(200)]
    assert 70 < sum(rising) < 130
    kept = Augmentation(flip=0.0)
    assert all(np.diff(np.asarray(kept(picture, rng, (8, 8)), float)[0]).mean() > 0 for _ in range(20))


def test_it_comes_out_as_large_as_asked_for():
    picture = Image.new("RGB", (30, 20))
    assert Augmentation()(picture, np.random.default_rng(0), (7, 9)).size == (9, 7)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"area": (0.0, 1.0)}, "area is .*; expected two numbers"),
        ({"area": (0.5, 1.5)}, "area is"),
        ({"ratio": (2.0, 1.0)}, "ratio is"),
        ({"flip": 2}, "flip is 2; expected a share"),
    ],
)
def test_what_is_no_augmentation_is_refused(fields, said):
    with pytest.raises(ValueError, match=said):
        Augmentation(**fields)
