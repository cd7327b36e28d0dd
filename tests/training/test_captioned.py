"""Pictures with captions in folders, archives and tables."""

import io
import os
import tarfile

import numpy as np
import pytest
from PIL import Image

from aimv2_np.training.captioned import open_captioned
from aimv2_np.training.world import World
from tests.support.captioned import BLUE, COLOURS, RED, archive, png, told


@pytest.fixture
def folder(tmp_path):
    """Three pictures, one below, and a caption for two of them."""
    (tmp_path / "below").mkdir()
    for name, colour in COLOURS.items():
        (tmp_path / ("below" if name == "c" else "") / f"{name}.png").write_bytes(png(colour))
    (tmp_path / "a.txt").write_text("﻿red\n", encoding="utf-8")
    (tmp_path / "below" / "c.txt").write_text("ein blaues Rechteck, größer", encoding="utf-8")
    return tmp_path


LEFT_OUT = "1 of . pictures of .* have no caption and are left out"  # b.png, by a warning


def test_a_folder(folder):
    with pytest.warns(UserWarning, match=LEFT_OUT):
        found = open_captioned(folder)
    assert told(found) == [RED, BLUE]
    assert found.name(0).endswith("a.png")


def test_archives(folder, tmp_path):
    """One, and several by a pattern."""
    for number, names in enumerate((["a.png", "a.txt", "b.png"], ["below/c.png", "below/c.txt"])):
        with tarfile.open(tmp_path / f"shard-{number}.tar", "w") as tar:
            for name in names:
                tar.add(folder / name, name)
    with pytest.warns(UserWarning, match=LEFT_OUT):
        assert told(open_captioned(tmp_path / "shard-0.tar")) == [RED]
    with pytest.warns(UserWarning, match=LEFT_OUT):
        both = open_captioned(str(tmp_path / "shard-*.tar"))
    assert told(both) == [RED, BLUE]
    assert both.name(1) == f"{tmp_path}/shard-1.tar/below/c.png"


def test_an_archive_whose_names_begin_with_the_folder_it_was_made_in(folder):
    """As `tar -c .` writes them: ./a.png."""
    with tarfile.open(folder / "dot.tar", "w") as tar:
        for name in ("a.png", "a.txt"):
            member = tar.gettarinfo(folder / name)
            member.name = f"./{name}"
            with (folder / name).open("rb") as file:
                tar.addfile(member, file)
    assert told(open_captioned(folder / "dot.tar")) == [RED]


def test_an_archive_that_was_written_anew(folder):
    """In the same process: its captions are found where they lie now."""
    for order in (["a.txt", "a.png"], ["a.png", "a.txt"]):
        with tarfile.open(folder / "new.tar", "w") as tar:
            for name in order:
                tar.add(folder / name, name)
        assert told(open_captioned(folder / "new.tar")) == [RED]


def test_of_a_damaged_archive_a_warning_tells(folder):
    with tarfile.open(folder / "cut.tar", "w") as tar:
        for name in ("a.png", "a.txt", "below/c.png", "below/c.txt"):
            tar.add(folder / name, name)
    with tarfile.open(folder / "cut.tar") as tar:
        third = tar.getmembers()[2].offset
    (folder / "cut.tar").write_bytes((folder / "cut.tar").read_bytes()[: third + 100])
    with pytest.warns(UserWarning, match=r"cut\.tar: it cannot be read to its end"):
        assert told(open_captioned(folder / "cut.tar")) == [RED]


def test_json_beside_a_picture(folder):
    (folder / "b.json").write_text('{"caption": " green"}')
    assert told(open_captioned(folder))[1] == ([0, 255, 0], "green")
    (folder / "b.json").write_text("{")
    with pytest.raises(ValueError, match=r"b\.json is no JSON .*; expected a field 'caption' in it, or a text"):
        open_captioned(folder)


@pytest.mark.parametrize("data", ["größer".encode("latin1"), "red".encode("utf-16"), "red".encode("utf-16-le")])
def test_a_text_that_is_not_in_utf8_is_refused(folder, data):
    (folder / "b.txt").write_bytes(data)
    with pytest.raises(ValueError, match=r"b\.txt .*save it as UTF-8"):
        open_captioned(folder)
    files = {"b.png": (folder / "b.png").read_bytes(), "b.txt": data}
    with pytest.raises(ValueError, match=r"x\.tar/b\.txt .*save it as UTF-8"):
        open_captioned(archive(folder / "x.tar", files))


def test_of_a_long_text_the_beginning_is_taken(folder):
    (folder / "b.txt").write_text("ö" * 40_000, encoding="utf-8")
    assert told(open_captioned(folder))[1][1] == "ö" * 32_768


def test_the_world():
    assert open_captioned("world") == World()


def test_other_pictures_have_other_facts(folder):
    with pytest.warns(UserWarning, match=LEFT_OUT):
        before = open_captioned(folder).facts
    with pytest.warns(UserWarning, match=LEFT_OUT):
        assert open_captioned(folder).facts == before
    (folder / "b.txt").write_text("green")
    assert open_captioned(folder).facts != before


def test_other_captions_in_a_table_are_other_facts(folder):
    facts = []
    for caption in ("red", "scarlet"):
        (folder / "pairs.csv").write_text(f"image,caption\na.png,{caption}\n")
        facts.append(open_captioned(folder / "pairs.csv").facts)
    assert facts[0] != facts[1]


def changed(facts, before):
    return {name for name in facts if facts[name] != before[name]}


@pytest.mark.parametrize(("kind", "side", "pixel"), [("folder", 64, 2000), (".tar", 64, 9), (".tgz", 64, 0),
                                                     ("folder", 256, -1), (".tar", 256, 1 << 15)])  # fmt: skip
def test_what_was_changed_is_told_by_the_facts(tmp_path, kind, side, pixel):
    """A caption or a picture of the same name and size; and not what was only touched."""
    images = [np.zeros((side, side, 3), np.uint8) for _ in range(2)]
    images[1].reshape(-1, 3)[pixel] = 255
    pictures = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "ppm")  # nothing but numbers: of one size
        pictures.append(file.getvalue())

    def facts(picture, caption):
        files = {"a.ppm": picture, "a.txt": caption}
        if kind != "folder":
            return open_captioned(archive(tmp_path / f"x{kind}", files)).facts
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
            os.utime(tmp_path / name, (1, 1))
        return open_captioned(tmp_path).facts

    before = facts(pictures[0], b"red")
    if kind != ".tgz":  # which holds when it was made
        assert facts(pictures[0], b"red") == before
        assert changed(facts(pictures[0], b"rot"), before) == {"captions"}
    else:
        os.utime(tmp_path / "x.tgz", (1, 1))
        assert open_captioned(tmp_path / "x.tgz").facts == before
    assert "captions" in changed(facts(pictures[0], b"rot"), before)
    assert "contents" in changed(facts(pictures[1], b"red"), before)


@pytest.mark.parametrize(
    ("name", "content", "error", "said"),
    [
        ("x.csv", None, FileNotFoundError, "there is no"),
        ("x.csv", b"", ValueError, "has no rows; expected one for each picture"),
        ("x.csv", b"image,caption\n", ValueError, "has no rows"),
        (
            "x.csv",
            b"photo,caption\na.png,red\n",
            ValueError,
            "has the columns photo, caption; expected one named image",
        ),
        ("x.csv", b"image,words\na.png,red\n", ValueError, "expected one named caption or text"),
        ("x.csv", b"image,caption\nz.png,red\n", FileNotFoundError, "row 1 names 'z.png', and there is no file"),
        ("x.csv", b"image,caption\na.png\n", ValueError, "row 1 is .*; expected a picture's path and a caption"),
        ("x.csv", b"image,caption\na.png,\xff\n", ValueError, "x.csv is not in UTF-8 .*; save it as UTF-8"),
        (
            "x.csv",
            b"image,caption\na.png,red, or so\n",
            ValueError,
            "row 1 has more fields .* ',' in it between quotes",
        ),
        ("no*where.csv", None, FileNotFoundError, "nothing matches .*no.where.csv"),
        ("x.csv", b'image,caption\na.png,"red\n', ValueError, "cannot be read as a table to its end: unexpected end"),
        ("x.csv", b"image,caption\na.png," + b"r" * 140_000, ValueError, "to its end: field larger"),
        ("x.tar", b"x", ValueError, "no pictures|damaged"),
        ("nowhere", None, FileNotFoundError, "there is no '.*nowhere'; expected a folder, table or archive"),
        ("no*where", None, FileNotFoundError, "no.where"),
    ],
)
def test_what_is_none_is_told(folder, name, content, error, said):
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(error, match=said):
        open_captioned(folder / name)


def test_pictures_without_captions_are_told(folder):
    for path in folder.rglob("*.txt"):
        path.unlink()
    with pytest.raises(ValueError, match=r"holds 3 pictures and no captions; expected a text or JSON"):
        open_captioned(folder)
