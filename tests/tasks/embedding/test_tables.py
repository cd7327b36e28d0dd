"""Pictures that tables list, or hold."""

from pathlib import Path

import pytest

from aimv2_np.tasks import embed, open_features
from aimv2_np.tasks.embedding.remote import Remote
from aimv2_np.tasks.embedding.sources import find_pictures
from tests.support.pictures import photo


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    for i in range(3):
        photo(20, 30, seed=i).save(f"data/{i}.png")
    return tmp_path


@pytest.mark.parametrize(("suffix", "between"), [(".csv", ","), (".csv", ";"), (".tsv", "\t")])
def test_paths_are_those_from_where_the_table_lies(here, monkeypatch, suffix, between):
    monkeypatch.setattr("aimv2_np.tasks.embedding.remote.system", lambda address: None)
    rows = [("label", "File "), ("a", "0.png"), ("b", "../data/2.png"), ("c", ""), ("d", "https://example.org/a.jpg")]
    Path(f"data/list{suffix}").write_text("\n".join(between.join(row) for row in rows))
    places = find_pictures([f"data/list{suffix}"]).places
    missing = f"data/list{suffix}/row 3"
    assert list(places) == ["data/0.png", "data/2.png", missing, "https://example.org/a.jpg"]
    assert places[missing] == "the table names no picture there"
    assert places["https://example.org/a.jpg"] == Remote("https://example.org/a.jpg")


def test_the_column_can_be_chosen(here):
    Path("data/list.csv").write_text("path,thumbnail\n0.png,1.png\n")
    assert find_pictures(["data/list.csv"]).names == ("data/0.png",)
    assert find_pictures(["data/list.csv"], "Thumbnail").names == ("data/1.png",)
    with pytest.raises(ValueError, match=r"has the columns path, thumbnail; expected one named preview"):
        find_pictures(["data/list.csv"], "preview")
    Path("data/odd.csv").write_text("a,b\n0.png,1.png\n")
    with pytest.raises(ValueError, match=r"has the columns a, b; expected one named image or path or file"):
        find_pictures(["data/odd.csv"])


def test_globs_take_tables_only_where_they_ask_for_them(here):
    Path("data/notes.csv").write_text("path\n2.png\n")
    assert find_pictures(["data/*"]).passed_over == {".csv": 1}
    assert find_pictures(["data/*.csv"]).names == ("data/2.png",)


def test_damaged_parquet(two_towers, here):
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    pyarrow.parquet.write_table(arrow.table({"image": [bytes(range(256)) * 40] * 4}), "photos.parquet")
    whole = Path("photos.parquet").read_bytes()
    for at in range(4, len(whole), 7):
        Path("damaged.parquet").write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
        try:
            for place in find_pictures(["damaged.parquet"]).places.values():
                place.read()
        except ValueError:
            continue


def test_columns_of_other_types(here):
    arrow = pytest.importorskip("pyarrow")

    data, text = arrow.array([Path("data/0.png").read_bytes()]), arrow.array(["data/0.png"])
    kinds = [arrow.large_binary(), arrow.binary(len(data[0].as_py())), arrow.dictionary(arrow.int32(), arrow.binary())]
    for column in [*(data.cast(kind) for kind in kinds[:2]), data.dictionary_encode()]:
        arrow.parquet.write_table(arrow.table({"image": column}), "t.parquet")
        (place,) = find_pictures(["t.parquet"]).places.values()
        assert place.read() == data[0].as_py()
    for column in (text.cast(arrow.large_string()), text.dictionary_encode()):
        arrow.parquet.write_table(arrow.table({"image": column}), "t.parquet")
        assert find_pictures(["t.parquet"]).names == ("data/0.png",)
    for values in ([1], [[1]], [[b"a"]], [{"path": "a.png"}]):
        arrow.parquet.write_table(arrow.table({"image": values}), "t.parquet")
        with pytest.raises(
            ValueError, match=r"image in t.parquet is of the type .*; expected paths.*choose another column"
        ):
            find_pictures(["t.parquet"])


def test_two_columns_of_one_name(here):
    Path("a.csv").write_text("image,image\ndata/0.png,data/1.png\n")
    with pytest.raises(ValueError, match=r"a.csv has several columns named 'image'; expected one"):
        find_pictures(["a.csv"])
    arrow = pytest.importorskip("pyarrow")

    arrow.parquet.write_table(arrow.table([[b"a"], [b"b"]], ["image", "image"]), "a.parquet")
    with pytest.raises(ValueError, match=r"a.parquet has several columns named 'image'; expected one"):
        find_pictures(["a.parquet"])


@pytest.mark.parametrize("struct", [True, False], ids=["hugging face's", "bytes"])
def test_parquet_that_holds_the_pictures(two_towers, here, struct):
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    files = [Path(f"data/{i}.png").read_bytes() for i in range(3)] + [None]
    held = [{"bytes": data, "path": "x.png"} if struct else data for data in files]
    table = arrow.table({"label": [1, 2, 3, 4], "image": held})
    pyarrow.parquet.write_table(table, "photos.parquet", row_group_size=2)
    result = embed(["photos.parquet"], "f.npz", model=two_towers)
    embed(["data"], "files.npz", model=two_towers)
    assert list(open_features("f.npz").names) == [f"photos.parquet/row {i}" for i in (1, 2, 3)]
    assert (open_features("f.npz").features == open_features("files.npz").features).all()
    assert result.broken == (
        ("photos.parquet/row 4", "image of row 4 has no bytes; expected those of a picture's file"),
    )
