"""A contact sheet: each hit's picture in its place; what is not there or cannot be read has a grey place."""

import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from aimv2_np.tasks.contact_sheet import BLANK, GAP, MAX_PICTURES, SIDE, TITLE, draw_sheet, save_sheet
from aimv2_np.tasks.search import Hit

RED, BLUE = (250, 0, 0), (0, 0, 250)


@pytest.fixture
def folder(tmp_path):
    Image.new("RGB", (50, 50), RED).save(tmp_path / "red.png")
    Image.new("RGB", (400, 200), BLUE).save(tmp_path / "blue.png")
    (tmp_path / "broken.png").write_text("no picture")
    return tmp_path


def middle(sheet, place):
    """The colour in the middle of a picture's place, some pixels off the words that may stand there."""
    left, top = GAP + place * (SIDE + GAP), TITLE + GAP
    return sheet.getpixel((left + SIDE // 2, top + SIDE // 2 + 20))


def test_pictures_stand_in_the_order_of_the_hits(folder):
    sheet = draw_sheet([Hit(0, "blue.png", 0.9), Hit(0, "red.png", 0.5)], "what was asked", folder)
    assert (middle(sheet, 0), middle(sheet, 1)) == (BLUE, RED)


def test_what_cannot_be_shown_is_grey(folder):
    sheet = draw_sheet([Hit(0, "gone.png", 0.9), Hit(0, "broken.png", 0.5), Hit(0, "red.png", 0.1)], "title", folder)
    assert [middle(sheet, i) for i in range(3)] == [BLANK, BLANK, RED]


def test_pictures_in_archives(folder):
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.write(folder / "red.png", "in/red.png")
    with tarfile.open(folder / "a.tar", "w") as tar:
        tar.add(folder / "blue.png", "in/blue.png")
    names = ["a.zip/in/red.png", "a.tar/in/blue.png", "a.zip/in/blue.png", "a.parquet/row 1"]
    sheet = draw_sheet([Hit(0, name, 0.9) for name in names], "title", folder)
    assert [middle(sheet, i) for i in range(4)] == [RED, BLUE, BLANK, BLANK]


def test_a_large_picture_is_made_small_and_keeps_its_shape(folder):
    sheet = np.asarray(draw_sheet([Hit(0, "blue.png", 1.0)], "title", folder))
    rows, columns = np.nonzero((sheet == BLUE).all(-1))
    assert np.ptp(columns) + 1 == SIDE
    assert np.ptp(rows) + 1 == SIDE // 2


@pytest.mark.parametrize("count", [0, MAX_PICTURES + 1])
def test_how_many(count):
    with pytest.raises(ValueError, match=f"{MAX_PICTURES}"):
        draw_sheet([Hit(0, "a.png", 1.0)] * count, "title")


def test_a_file_that_is_there_is_kept_unless_asked(folder):
    sheet, path = draw_sheet([Hit(0, "red.png", 1.0)], "title", folder), folder / "sheet.png"
    save_sheet(sheet, path)
    with pytest.raises(FileExistsError):
        save_sheet(sheet, path)
    save_sheet(sheet, path, overwrite=True)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), np.asarray(sheet))


@pytest.mark.parametrize("name", ["sheet.jpg", "sheet"])
def test_a_name_that_says_another_format(folder, name):
    sheet = draw_sheet([Hit(0, "red.png", 1.0)], "title", folder)
    with pytest.raises(ValueError, match=r"expected \.png"):
        save_sheet(sheet, folder / name)
    assert not (folder / name).exists()
