from types import SimpleNamespace

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from aimv2_np.backends.parallel import usable_cores
from aimv2_np.bench import ceilings
from aimv2_np.bench.ceilings import Multiplier, Peak, Shape, combined_rate, copy_bandwidth, shapes
from aimv2_np.bench.flops import Product, picture_products
from aimv2_np.kernels.native import bodies
from aimv2_np.kernels.native.library import available
from tests.support.models import vision_config


def test_shapes_of_a_model():
    config = vision_config(num_hidden_layers=3, use_head=False)  # 9 tokens of 16, 20 inside, patches of 48
    found = shapes(picture_products(config, 2, 12, 12))
    assert set(found) == {Shape(18, 48, 16), Shape(18, 16, 16), Shape(18, 16, 20), Shape(18, 20, 16)}
    assert found[Shape(18, 16, 16)] == 3 * 4 * 2 * 18 * 16 * 16


def test_products_inside_attention_have_no_weight():
    assert shapes([Product("scores", 4, 2, 4, 8, per_head=True)]) == {}


def test_equal_shapes_are_one():
    assert shapes([Product("a", 2, 3, 4), Product("b", 2, 3, 4, 2)]) == {Shape(2, 3, 4): 3 * 48}


@pytest.mark.parametrize("size", [(7, 5, 3), (1, 4, 2), (16, 8, 32)])
@pytest.mark.parametrize("threads", [1, 2])
def test_all_ways_multiply(size, threads):
    it = Multiplier(Shape(*size), threads)
    expected = it._x @ it._weight.T
    for way in it.ways.values():
        it._out[:] = np.nan
        way()
        np.testing.assert_allclose(it._out, expected, rtol=1e-5, atol=1e-5)
    assert ("pieces" in it.ways) == (threads == 2 and min(size[0], size[2]) >= 2)
    assert ("ours" in it.ways) == bool(available())
    assert it.rate() > 0


def test_what_the_environment_allows_blas_is_not_what_the_machine_can_do(monkeypatch):
    """With OPENBLAS_NUM_THREADS=1 a ceiling of two cores still is one of two cores."""
    with threadpool_limits(1, user_api="blas"):
        it = Multiplier(Shape(256, 256, 256), 2)
        seen = []
        monkeypatch.setattr(it, "_whole", lambda: seen.append([lib["num_threads"] for lib in it._blas.info()]))
        it._rate_of(it._whole)
        assert all(count == 2 for count in seen[0])
    if available():
        monkeypatch.setattr(bodies, "call", lambda *_: seen.append(bodies.parallel.threads()))
        with threadpool_limits(1, user_api="blas"):
            it._rate_of(it._ours)
        assert seen[-1] == min(2, usable_cores())


def test_the_peak_is_measured_in_every_instruction_set_that_is_here():
    if not available():
        with pytest.raises(ValueError, match="there are none here"):
            Peak(1)
        return
    it = Peak(2)
    assert it._kernels in available().values()
    assert it.rate() > 0


def test_the_peak_is_that_of_the_fastest_instructions(monkeypatch):
    rates = {"wide": 7e9, "narrow": 9e9}
    kernels = {name: SimpleNamespace(name=name, peak=lambda tasks, threads: 1e6 * tasks) for name in rates}
    monkeypatch.setattr(ceilings, "available", lambda: kernels)
    monkeypatch.setattr(Peak, "_rate_of", lambda self, kernels, tasks: rates[kernels.name])
    it = Peak(2)
    assert it.rate() == 9e9
    assert it._tasks * 1e6 == ceilings.PEAK_SECONDS * 9e9


def test_the_combined_rate_is_that_of_one_after_the_other():
    fast, slow = Shape(1, 1, 1), Shape(2, 2, 2)
    assert combined_rate({fast: 100, slow: 100}, {fast: 100.0, slow: 25.0}) == pytest.approx(200 / (1 + 4))


def test_copying_moves_bytes():
    assert copy_bandwidth(2, size=1 << 20) > 0
