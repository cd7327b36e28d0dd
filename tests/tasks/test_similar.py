"""Pairs by bounds are those of all cosines in float64, whatever the data, the bound and the sizes."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimv2_np import CheckpointError
from aimv2_np.tasks import similar
from aimv2_np.tasks.similar import connected, cosines_of_pairs, similar_pairs
from tests.tasks.test_components import searched

STORED = ("float32", "float16", "int8")


def brute(vectors, least):
    """The pairs of rows a < b whose cosine in float64 is `least` or more."""
    a, b = np.triu_indices(len(vectors), 1)
    found = cosines_of_pairs(vectors, a, b)
    return [
        pair for pair, cosine in zip(zip(a.tolist(), b.tolist(), strict=True), found, strict=True) if cosine >= least
    ]


def drawn(seed, rows, size, stored, spread, rank):
    """Vectors around a few directions, in a few dimensions or all, at any lengths; some equal, some zero."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((3, size))
    inside = rng.standard_normal((rank, size))
    x = centres[rng.integers(0, 3, rows)] + spread * rng.standard_normal((rows, rank)) @ inside
    x = x[rng.integers(0, rows, rows)]
    x[rng.integers(0, rows, rows // 8)] = 0
    x /= np.abs(x).max(initial=1e-9)
    if stored == "int8":
        return np.rint(127 * x).astype(np.int8)
    return (x * 10.0 ** rng.integers(-2, 3, (rows, 1))).astype(stored)


@contextmanager
def small(tile, sample, checking, sizes=similar.SIZES):
    """Tiles and samples of a few rows; `checking` decides whether tiles are computed in float32 or pair by pair."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"TILE": tile, "SAMPLE": sample, "CHECKING": checking, "SIZES": sizes}.items():
            patch.setattr(similar, name, value)
        yield


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 60), size=st.integers(1, 40), rank=st.integers(1, 40),
       stored=st.sampled_from(STORED), spread=st.sampled_from([0.0, 0.01, 0.2, 1.0, 5.0]),
       least=st.sampled_from([0.05, 0.5, 0.9, 0.95, 0.999, 1.0]) | st.floats(1e-3, 1), tile=st.integers(1, 25),
       sample=st.integers(1, 70), checking=st.sampled_from([0, 5, 10**9]))  # fmt: skip
def test_no_pair_is_missed_and_none_is_made_up(seed, rows, size, rank, stored, spread, least, tile, sample, checking):
    vectors = drawn(seed, rows, size, stored, spread, rank)
    expected = brute(vectors, least)
    with small(tile, sample, checking):
        found = list(similar_pairs(vectors, least, threads=2))
        again = list(similar_pairs(vectors, least, threads=1))
        roots = connected(vectors, least, threads=2)
    pairs = [(a, b) for it in found for a, b in zip(it.a.tolist(), it.b.tolist(), strict=True)]
    assert sorted(pairs) == expected
    assert pairs == [(a, b) for it in again for a, b in zip(it.a.tolist(), it.b.tolist(), strict=True)]
    assert all((it.cosines >= least).all() for it in found)
    assert roots.tolist() == searched(rows, expected)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(2, 300), least=st.floats(0.01, 1), k=st.integers(1, 40),
       stored=st.sampled_from(STORED))  # fmt: skip
def test_the_bound_is_one(seed, size, least, k, stored):
    """For any basis, good or bad, and vectors in it, across it, and near to either."""
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.standard_normal((size, min(k, size))))
    inside = rng.standard_normal((20, basis.shape[1])) @ basis.T
    vectors = np.concatenate([inside, rng.standard_normal((20, size)), inside + 1e-4 * rng.standard_normal((20, size))])
    vectors = np.rint(127 * vectors / np.abs(vectors).max()) if stored == "int8" else vectors
    vectors = vectors.astype(stored)
    with ThreadPoolExecutor(1) as pool:
        short, _ = similar._shortened(vectors, basis, pool, 1)
    a, b = np.triu_indices(len(vectors), 1)
    bounds = (short @ short.T)[a, b]
    assert (bounds + similar._margin(short.shape[1], np.float32) >= cosines_of_pairs(vectors, a, b)).all()


@pytest.mark.parametrize("checking", [0, 10**9])
@pytest.mark.parametrize("away", [1e-16, 1e-9, 1e-5])
def test_next_to_the_bound_the_cosine_in_float64_decides(checking, away):
    """Nearer than what float32, or products in float64, can tell, in whichever way the pairs are computed."""
    rng = np.random.default_rng(0)
    for size in (3, 40, 200):
        vectors = rng.standard_normal((2, size)) + 1
        (cosine,) = cosines_of_pairs(vectors, np.array([0]), np.array([1]))
        for least, joined in ((cosine, True), (cosine - away, True), (np.nextafter(cosine, 2) + away, False)):
            with small(4, 4, checking):
                assert connected(vectors, least).tolist() == ([0, 0] if joined else [0, 1])
                assert sum(it.a.size for it in similar_pairs(vectors, least)) == joined


def test_random_vectors_leave_few_pairs_to_compute(monkeypatch):
    """Of 3000 with 768 numbers: less than one of a thousand, of which there are 4.5 million."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((3000, 768), dtype=np.float32)
    vectors[100:110] = vectors[:10] + 0.2 * rng.standard_normal((10, 768), dtype=np.float32)
    computed, exact = [], similar.cosines_of_pairs
    monkeypatch.setattr(similar, "cosines_of_pairs", lambda x, a, b: computed.append(len(a)) or exact(x, a, b))
    found = [pair for it in similar_pairs(vectors, 0.95) for pair in zip(it.a.tolist(), it.b.tolist(), strict=True)]
    assert found == [(row, 100 + row) for row in range(10)]
    assert sum(computed) < 4500


def test_what_is_connected_is_not_compared_again(monkeypatch):
    """Of rows that are all alike, those of one tile with all others, and no pair of the others."""
    monkeypatch.setattr(similar, "TILE", 10)
    vectors = 1 + 0.01 * np.random.default_rng(0).standard_normal((100, 30))
    asked, those = [], similar._candidates
    monkeypatch.setattr(similar, "_candidates", lambda space, tile: asked.append(tile) or those(space, tile))
    steps = []
    roots = connected(vectors, 0.9, threads=1, progress=lambda *step: steps.append(step))
    assert not roots.any()
    assert len(asked) <= 10 + 4  # some are begun before the last of these is joined
    assert steps == [(row, 100) for row in range(10, 101, 10)]


def test_what_has_no_direction_or_no_end():
    vectors = np.zeros((3, 4), np.float32)
    assert [it.a.size for it in similar_pairs(vectors, 0.5)] == [0]
    vectors[1, 2] = np.nan
    with pytest.raises(CheckpointError, match="the vector in row 1 is not finite"):
        list(similar_pairs(vectors, 0.5))
    for least in (0, -0.5, 1.01, float("nan")):
        with pytest.raises(ValueError, match="expected a cosine above 0, at most 1"):
            connected(vectors, least)
    assert connected(np.zeros((0, 4), np.float32), 0.5).tolist() == []


def test_what_is_the_same_has_a_cosine_of_one():
    vectors = np.random.default_rng(0).standard_normal((50, 301)) * 10.0 ** np.arange(-25, 25)[:, None]
    rows = np.arange(50)
    assert (cosines_of_pairs(vectors, rows, rows) == 1).all()
