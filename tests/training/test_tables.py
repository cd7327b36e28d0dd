"""Pictures and captions listed in tables, or held by them."""

import pytest

from aimv2_np.training.captioned import open_captioned
from tests.support.captioned import BLUE, COLOURS, RED, png, told


@pytest.fixture
def folder(tmp_path):
    """Two pictures, one below."""
    (tmp_path / "below").mkdir()
    (tmp_path / "a.png").write_bytes(png(COLOURS["a"]))
    (tmp_path / "below" / "c.png").write_bytes(png(COLOURS["c"]))
    return tmp_path


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


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@pytest.mark.parametrize("between", [",", ";", "\t", "|"])
def test_a_table_with_another_sign_between_its_columns(folder, suffix, between):
    lines = [between.join(row) for row in (("image", "caption"), ("a.png", "red"))]
    (folder / f"pairs{suffix}").write_text("\n".join(lines), encoding="utf-8")
    assert told(open_captioned(folder / f"pairs{suffix}")) == [RED]


@pytest.mark.parametrize("struct", [True, False], ids=["hugging face's", "bytes"])
def test_parquet_that_holds_the_pictures(folder, struct):
    """Two files by a pattern, one with two groups of rows."""
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    red, blue = (folder / "a.png").read_bytes(), (folder / "below" / "c.png").read_bytes()
    for number, rows in enumerate(([(red, RED[1]), (blue, BLUE[1])], [(red, RED[1])])):
        held = [{"bytes": data, "path": "x.png"} if struct else data for data, _ in rows]
        table = arrow.table({"image": held, "n": [1] * len(rows), "text": [text for _, text in rows]})
        pyarrow.parquet.write_table(table, folder / f"train-{number}.parquet", row_group_size=1)
    found = open_captioned(str(folder / "train-*.parquet"))
    assert told(found) == [RED, BLUE, RED]
    assert found.name(1) == f"{folder}/train-0.parquet, row 2"
    before = found.facts
    pyarrow.parquet.write_table(arrow.table({"image": [blue], "text": [RED[1]]}), folder / "train-1.parquet")
    after = open_captioned(str(folder / "train-*.parquet")).facts
    assert {name for name in after if after[name] != before[name]} == {"contents"}


def test_a_row_of_parquet_without_a_picture_is_told(folder):
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    table = arrow.table({"image": arrow.array([None, b"x"], arrow.binary()), "text": ["a", "b"]})
    pyarrow.parquet.write_table(table, folder / "gaps.parquet")
    with pytest.raises(ValueError, match="image of row 1 has no bytes; expected those of a picture's file"):
        open_captioned(folder / "gaps.parquet")[0]
