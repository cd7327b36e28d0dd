import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aimv2_np.recording.statistics import BUCKETS, PIECE, hash_bits, project, summarize


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


@given(arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 40)), elements=st.floats(-1e3, 1e3, width=32)))
def test_moments_are_numpys(x):
    found, wide = summarize("a.b", x), x.astype(np.float64)
    # float64 sums of at most 200 numbers: a few hundred ε of the largest of them
    near = {"rel": 1e-12, "abs": 1e-9}
    assert found.shape == x.shape
    assert found.mean == pytest.approx(wide.mean(), **near)
    assert found.std == pytest.approx(wide.std(), **near)
    assert (found.min, found.max) == (wide.min(), wide.max())
    assert found.rms == pytest.approx(rms(x), **near)
    np.testing.assert_array_equal(found.first, x.reshape(-1)[:16])


def test_deviation_survives_a_large_mean():
    x = 1e6 + np.arange(1000) % 2  # 0 or 1 beside a million
    assert summarize("a", x).std == pytest.approx(0.5, rel=1e-9)


def test_pieces_change_nothing():
    x = np.random.default_rng(0).standard_normal(3 * PIECE + 7)
    bits = hash_bits("path", 0, x.size)
    signs, buckets = np.where(bits & 1, -1.0, 1.0), bits >> 26
    expected = [np.sqrt(BUCKETS / x.size) * (signs * x)[buckets == b].sum() for b in range(BUCKETS)]
    np.testing.assert_allclose(project("path", x), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(hash_bits("path", PIECE, 9), bits[PIECE : PIECE + 9])


def test_the_hash_is_the_documented_one():
    """fmix32 of index + CRC-32, in plain integers, as somebody would write it in another language."""
    from zlib import crc32

    def fmix(h: int) -> int:
        h = (h ^ h >> 16) * 0x85EBCA6B & 0xFFFFFFFF
        h = (h ^ h >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
        return h ^ h >> 16

    seed = crc32(b"encoder.layers.3.ffn")
    expected = [fmix((i + seed) & 0xFFFFFFFF) for i in range(100)]
    assert hash_bits("encoder.layers.3.ffn", 0, 100).tolist() == expected


@pytest.mark.parametrize("seed", range(5))
def test_the_projection_measures_differences(seed):
    """rms over 64 numbers with relative standard deviation 1/√128 of its square: within 50 % is 5 deviations."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((4, 300))
    b = a + 1e-3 * rng.standard_normal(a.shape)
    estimate = rms(project("p", a).astype(np.float64) - project("p", b))
    assert 0.5 < estimate / rms(a - b) < 1.5


def test_one_changed_element_shows_in_one_bucket():
    a = np.zeros(5000, np.float32)
    b = a.copy()
    b[4321] = 1
    assert np.count_nonzero(project("p", a) != project("p", b)) == 1


def test_paths_draw_different_projections():
    x = np.random.default_rng(0).standard_normal(500)
    assert not np.allclose(project("a", x), project("b", x))


@pytest.mark.parametrize(("value", "kept"), [(np.nan, "mean"), (np.inf, "max"), (-np.inf, "min")])
def test_what_overflowed_is_recorded_without_a_warning(value, kept):
    x = np.ones(10, np.float16)
    x[3] = value
    np.testing.assert_equal(getattr(summarize("a", x), kept), value)


def test_empty_and_scalar_arrays():
    empty = summarize("a", np.zeros((0, 3), np.float32))
    assert (empty.shape, empty.rms, empty.first.size) == ((0, 3), 0.0, 0)
    scalar = summarize("a", np.float32(3))
    assert (scalar.shape, scalar.mean, scalar.first.tolist()) == ((), 3.0, [3.0])
