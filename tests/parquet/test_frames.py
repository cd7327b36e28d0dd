"""`ImageEmbedder` on DataFrames: what Dask's `map_partitions` and Spark's `mapInPandas` pass."""

import numpy as np
import pytest

from aimv2_np.tasks import ImageEmbedder
from tests.support.pictures import as_bytes, photo

pd = pytest.importorskip("pandas", reason="DataFrames need pandas")


@pytest.fixture
def frame():
    pictures = [as_bytes(photo(20, 30, seed=number)) for number in range(5)]
    return pd.DataFrame({"bytes": pictures, "label": list("abcde")}, index=[3, 1, 4, 1, 5])


def test_a_frame_gets_a_column(two_towers, frame):
    result = ImageEmbedder(two_towers)(frame)
    assert list(result.columns) == ["bytes", "label", "features"]
    assert list(frame.columns) == ["bytes", "label"]
    assert result.index.tolist() == [3, 1, 4, 1, 5]
    wanted = ImageEmbedder(two_towers)({"bytes": frame.bytes.tolist()})["features"]
    np.testing.assert_array_equal(np.stack(result.features), wanted)


def test_broken_rows_are_left_out(two_towers, frame):
    frame.iloc[1, 0] = b"nothing"
    with pytest.warns(UserWarning, match="left out: row 1: "):
        result = ImageEmbedder(two_towers, errors="skip")(frame)
    assert result.label.tolist() == ["a", "c", "d", "e"]
    assert len(np.stack(result.features)) == 4


def test_patch_features_in_a_frame(two_towers, frame):
    result = ImageEmbedder(two_towers, "tokens")(frame)
    assert list(result.columns)[-2:] == ["features", "grid"]
    assert np.stack(result.features).shape == (5, 6, 16)
    assert ImageEmbedder(two_towers)(frame.iloc[:0]).columns.tolist() == ["bytes", "label", "features"]
