"""Queries of several parts; tests/tasks/test_search.py has those of one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.tasks import combine_queries, embed, embed_queries, embed_query, open_features, search
from aimv2_np.tasks.query import check_query
from tests.support.feature_files import write_features
from tests.support.shapes import draw_shapes


@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(1, 4), st.integers(0, 3))
def test_each_part_counts_alike_whatever_its_length(seed, size, plus, minus):
    rng = np.random.default_rng(seed)
    parts = rng.standard_normal((plus + minus, size))
    lengths = 10.0 ** rng.integers(-30, 30, (plus + minus, 1))
    vector = combine_queries(list(lengths[:plus] * parts[:plus]), list(lengths[plus:] * parts[plus:]))
    units = parts / np.linalg.norm(parts, axis=1, keepdims=True)
    expected = units[:plus].sum(axis=0) - units[plus:].sum(axis=0)
    np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-6)
    assert vector.dtype == np.float32


@pytest.mark.parametrize(
    ("plus", "minus", "message"),
    [
        ([], [], "have the sizes none"),
        ([np.ones(3)], [np.ones(4)], "have the sizes 3, 4; expected one size"),
        ([np.ones(3)], [2 * np.ones(3)], "cancel one another out"),
        ([np.ones(3), np.zeros(3)], [], "not all zero"),
        ([np.ones((2, 3))], [], r"query has the shape \(2, 3\)"),
    ],
)
def test_sums_that_make_no_sense(plus, minus, message):
    with pytest.raises(ValueError, match=message):
        combine_queries(plus, minus)


def test_a_query_has_length_one():
    assert np.linalg.norm(check_query([3e200, 4e200])) == pytest.approx(1)


def test_many_queries_are_those_of_each_by_the_model_opened_once(tmp_path, monkeypatch):
    from aimv2_np.tasks import ImageEmbedder

    paths = draw_shapes(tmp_path / "pictures", 2)
    embed([tmp_path / "pictures"], tmp_path / "f.safetensors")
    file = open_features(tmp_path / "f.safetensors")
    queries = ["a red star", paths[3], paths[0].read_bytes(), "a ring"]
    single = [embed_query(file, query) for query in queries]
    opened, own = [], ImageEmbedder._open
    monkeypatch.setattr(ImageEmbedder, "_open", lambda self: opened.append(1) or own(self))
    np.testing.assert_array_equal(embed_queries(file, queries), single)
    assert len(opened) == 1
    with pytest.raises(ValueError, match="expected a list of texts and pictures"):
        embed_queries(file, "a red star")
    with pytest.raises(ValueError, match="expected a list"):
        embed_queries(file, [])


def test_what_is_taken_away_is_not_found(tmp_path):
    """Of a vector between two directions, one is left."""
    features = np.eye(3)[[0, 1, 2]] + 0.1
    file = write_features(tmp_path / "f.npz", features)
    both = combine_queries([features[0], features[1]])
    assert {hit.row for hit in search(file, both, 2)} == {0, 1}
    assert search(file, combine_queries([both], [features[0]]), 1)[0].row == 1
