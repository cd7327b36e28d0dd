"""Warnings about pictures: each with its picture, the first of a kind, those of libtiff too."""

import warnings

import pytest
from PIL import Image

from aimv2_np.tasks.embedding.complaints import about, once_a_kind


@pytest.fixture
def damaged(tmp_path):
    """A TIFF whose pixels libtiff complains of."""
    path = tmp_path / "a.tif"
    Image.new("RGB", (64, 64), "red").save(path, compression="tiff_lzw")
    data = bytearray(path.read_bytes())
    data[10:12] = b"\xff\xff"
    path.write_bytes(data)
    return path


def decode(path):
    with Image.open(path) as image, pytest.raises(OSError, match="decod"):
        image.load()


def test_the_first_of_a_kind_with_its_picture():
    with warnings.catch_warnings(record=True) as caught, once_a_kind():
        warnings.simplefilter("always")
        for name in ("a", "b", "c"):
            with about(name):
                warnings.warn(f"odd {name}", stacklevel=1)
            with about(name):
                warnings.warn("another odd one", RuntimeWarning, stacklevel=1)
    assert [str(warning.message) for warning in caught] == ["a: odd a", "a: another odd one"]


def test_other_warnings_are_let_through():
    with warnings.catch_warnings(record=True) as caught, once_a_kind():
        warnings.simplefilter("always")
        for number in range(2):
            warnings.warn(f"mine {number}", stacklevel=1)
    assert [str(warning.message) for warning in caught] == ["mine 0", "mine 1"]


def test_what_libtiff_writes_is_a_warning_about_a_picture(damaged, capfd):
    with warnings.catch_warnings(record=True) as caught, once_a_kind():
        warnings.simplefilter("always")
        with about("b.tif"):
            decode(damaged)
        with about("c.tif"):
            decode(damaged)
    assert caught
    assert all(str(warning.message).startswith("b.tif: libtiff says: ") for warning in caught)
    assert capfd.readouterr().err == ""
    decode(damaged)  # nobody's
    assert capfd.readouterr().err != ""
