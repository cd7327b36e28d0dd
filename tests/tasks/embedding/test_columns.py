"""Columns are added to batches of all kinds; a broken picture leaves a hole, and no row is lost or moved."""

import numpy as np
import pytest

from aimv2_np.tasks.embedding.columns import names_of, pictures_of, values_of, with_columns, with_holes


def as_mapping(columns):
    return columns


def as_frame(columns):
    return pytest.importorskip("pandas").DataFrame(columns)


def as_table(columns):
    return pytest.importorskip("pyarrow").table(columns)


def as_record_batch(columns):
    return pytest.importorskip("pyarrow").RecordBatch.from_pydict(columns)


KINDS = pytest.mark.parametrize("kind", [as_mapping, as_frame, as_table, as_record_batch])


@KINDS
def test_columns(kind):
    batch = kind({"path": ["a", "b", "c"], "n": [1, 2, 3]})
    assert names_of(batch) == ["path", "n"]
    assert values_of(batch, "path") == ["a", "b", "c"]
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    whole = with_columns(batch, [0, 1, 2], 3, {"features": vectors})
    assert names_of(whole) == ["path", "n", "features"]
    assert [list(row) for row in values_of(whole, "features")] == [[0, 1], [2, 3], [4, 5]]
    some = with_columns(batch, [0, 2], 3, {"features": vectors[[0, 2]]})
    assert values_of(some, "path") == ["a", "c"]
    assert [list(row) for row in values_of(some, "features")] == [[0, 1], [4, 5]]
    assert names_of(batch) == ["path", "n"]


@KINDS
@pytest.mark.parametrize("kept", [[1, 2], [0, 1, 2], []])
def test_holes(kind, kept):
    batch = kind({"path": ["a", "b", "c"]})
    vectors = np.arange(2 * len(kept), dtype=np.float32).reshape(-1, 2)
    reasons = {row: f"{row} is broken" for row in range(3) if row not in kept}
    result = with_holes(batch, kept, {"features": vectors}, reasons)
    assert values_of(result, "path") == ["a", "b", "c"]
    for row, (vector, error) in enumerate(zip(values_of(result, "features"), values_of(result, "error"), strict=True)):
        if row in kept:
            assert list(vector) == list(vectors[kept.index(row)])
            assert error is None or (kind is as_frame and np.isnan(error))  # as pandas leaves texts out
        else:
            assert vector is None
            assert error == f"{row} is broken"


@pytest.mark.parametrize("kept", [[0, 1], [1], []])
def test_arrow_has_the_same_types_in_each_batch(kept):
    pyarrow = pytest.importorskip("pyarrow")
    reasons = {row: "broken" for row in range(2) if row not in kept}
    tokens = {
        "features": [np.zeros((3 + row, 4), np.float32) for row in kept],
        "grid": np.zeros((len(kept), 2), np.int32),
    }
    for added, kind in (
        ({"features": np.zeros((len(kept), 4), np.float32)}, pyarrow.list_(pyarrow.float32())),
        (tokens, pyarrow.list_(pyarrow.list_(pyarrow.float32()))),
    ):
        result = with_holes(pyarrow.table({"path": ["a", "b"]}), kept, added, reasons)
        assert result.schema.field("features").type == kind
        assert result.schema.field("error").type == pyarrow.string()
    assert result.schema.field("grid").type == pyarrow.list_(pyarrow.int32())


def test_a_column_of_the_same_name_is_replaced():
    pyarrow = pytest.importorskip("pyarrow")
    result = with_columns(pyarrow.table({"features": [1], "path": ["a"]}), [0], 1, {"features": np.ones((1, 2))})
    assert result.to_pylist() == [{"path": "a", "features": [1, 1]}]


@KINDS
def test_no_row_may_be_left(kind):
    batch = kind({"path": ["a", "b"]})
    assert values_of(with_columns(batch, [], 2, {"features": np.zeros((0, 2), np.float32)}), "path") == []


def test_batches_that_do_not_say_which_row_is_which():
    assert pictures_of({"n": [1], "path": ["a"]}, ("bytes", "path")) == ("path", ["a"], ["row 0 (a)"])
    with pytest.raises(ValueError, match="the column 'bytes' has 1 rows and 'path' 2; expected as many"):
        pictures_of({"bytes": [b""], "path": ["a", "b"]}, ("bytes", "path"))
    with pytest.raises(TypeError, match="the column 'path' is a single str; expected a list"):
        pictures_of({"path": "a.png"}, ("path",))
    pandas, pyarrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    for batch in (
        pandas.DataFrame([["a", "b"]], columns=["path", "path"]),
        pyarrow.Table.from_arrays([pyarrow.array(["a"])] * 2, ["path", "path"]),
    ):
        with pytest.raises(ValueError, match="the batch has several columns 'path'; expected one"):
            pictures_of(batch, ("path",))
