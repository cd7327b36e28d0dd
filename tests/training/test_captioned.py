"""Pictures with captions in folders, archives and tables."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from aimv2_np.training.captioned import open_captioned
from aimv2_np.training.world import World

COLOURS = {"a": (255, 0, 0), "b": (0, 255, 0), "c": (0, 0, 255)}


def png(colour):
    file = io.BytesIO()
    Image.new("RGB", (4, 3), colour).save(file, "png")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Three pictures, one below, and a caption for two of them."""
    (tmp_path / "below").mkdir()
    for name, colour in COLOURS.items():
        (tmp_path / ("below" if name == "c" else "") / f"{name}.png").write_bytes(png(colour))
    (tmp_path / "a.txt").write_text("﻿red\n", encoding="utf-8")
    (tmp_path / "below" / "c.txt").write_text("ein blaues Rechteck, größer", encoding="utf-8")
    return tmp_path


def told(pictures):
    return [
        (np.asarray(picture)[0, 0].tolist(), caption)
        for picture, caption in map(pictures.__getitem__, range(len(pictures)))
    ]


LEFT_OUT = "1 of . pictures of .* have no caption and are left out"  # b.png, by a warning
RED, BLUE = ([255, 0, 0], "red"), ([0, 0, 255], "ein blaues Rechteck, größer")


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


@pytest.mark.parametrize(("suffix", "between"), [(".csv", ","), (".tsv", "\t")])
@pytest.mark.parametrize("columns", [("image", "caption"), ("Text", "file_name")])
def test_a_table(folder, suffix, between, columns):
    rows = [("a.png", "red"), ("below/c.png", '"ein blaues Rechteck, größer"')]
    turned = [row if columns[0] == "image" else row[::-1] for row in rows]
    lines = [between.join(row) for row in (columns, *turned)]
    (folder / f"pairs{suffix}").write_text("\n".join(lines), encoding="utf-8")
    assert told(open_captioned(folder / f"pairs{suffix}")) == [RED, BLUE]


def test_parquet(folder):
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"image": ["a.png", "below/c.png"], "n": [1, 2], "caption": [RED[1], BLUE[1]]})
    import pyarrow.parquet

    pyarrow.parquet.write_table(table, folder / "pairs.parquet")
    assert told(open_captioned(folder / "pairs.parquet")) == [RED, BLUE]
    (folder / "no.parquet").write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match=r"no.parquet is no Parquet file"):
        open_captioned(folder / "no.parquet")


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
        ("x.csv", b"image,caption\na.png\n", ValueError, "row 1 is .*; expected a path and a caption"),
        ("x.csv", b"image,caption\na.png,\xff\n", ValueError, "no table in UTF-8"),
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
    with pytest.raises(ValueError, match=r"holds 3 pictures and no captions; expected a text beside each"):
        open_captioned(folder)
