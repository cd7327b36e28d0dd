"""Packs on several cores: as the textbook has it, whoever gets which picture; and shared so that all end together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimv2_np import textbook
from aimv2_np.kernels.numpy.packed import SLOWER_TOGETHER, block_costs, make_plan
from aimv2_np.network.attention import attention
from aimv2_np.network.encoder import run_layers
from aimv2_np.network.view import Packed
from tests.kernels.numpy.test_cpu import DTYPES, LAYOUTS, TILES, arrays, check, tiles
from tests.support.models import assert_close, vision_model

LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=7).map(tuple)


@pytest.mark.parametrize("tile", TILES)
@settings(max_examples=40)
@given(lengths=LENGTHS, heads=st.integers(1, 3), size=st.integers(1, 4), dtype=DTYPES,
       layouts=st.tuples(LAYOUTS, LAYOUTS, LAYOUTS))  # fmt: skip
def test_packed_attention(tile, lengths, heads, size, dtype, layouts):
    shape = (1, heads, sum(lengths), size)
    q, k, v = (layout(x) for layout, x in zip(layouts, arrays(0, dtype, shape, shape, shape), strict=True))
    with tiles(SCORES_BYTES=tile):
        check(attention, [q, k, v], 0.35, Packed(lengths), ulps=24, size=4)


def test_packed_attention_is_attention_on_each_picture():
    q, k, v = arrays(0, "float64", *[(1, 2, 9, 3)] * 3)
    with textbook():
        together = attention(q, k, v, 0.5, Packed((2, 3, 4)))
        for part in (slice(0, 2), slice(2, 5), slice(5, 9)):
            alone = attention(q[:, :, part], k[:, :, part], v[:, :, part], 0.5)
            np.testing.assert_allclose(together[:, :, part], alone, rtol=1e-13)


@settings(max_examples=100)
@given(lengths=LENGTHS, workers=st.integers(1, 4), job=st.integers(1, 40), dtype=DTYPES, layout=LAYOUTS)
def test_blocks_of_a_pack(lengths, workers, job, dtype, layout):
    layers = vision_model().to(dtype=dtype).encoder.layers
    (x,) = arrays(0, dtype, (1, sum(lengths), 16))
    with tiles(WORTH_A_THREAD=0, JOB_TOKENS=job, cores=lambda: workers):
        x = layout(x)
        kept = x.copy()
        fast, slow = run_layers(x, layers, Packed(lengths)), run_layers.textbook(x, layers, Packed(lengths))
    np.testing.assert_array_equal(x, kept)
    assert fast.dtype == slow.dtype == x.dtype
    assert_close(fast, slow, ulps=100)


@settings(max_examples=200)
@given(lengths=st.lists(st.integers(1, 4096), min_size=1, max_size=40), workers=st.integers(1, 8),
       step=st.sampled_from([100, 1024]))  # fmt: skip
def test_plans(lengths, workers, step):
    """Every picture once; jobs no larger than asked for on average; never later than all pictures on all cores."""
    costs = block_costs(vision_model().encoder.layers[0], lengths)
    plan = make_plan(lengths, costs, workers, step)
    assert sorted([*(i for job in plan.jobs for i in job), *plan.together]) == list(range(len(lengths)))
    assert all(plan.jobs)
    of_job = [sum(costs[i] for i in job) for job in plan.jobs]
    assert of_job == sorted(of_job, reverse=True)
    if len(plan.jobs) < len(lengths) - len(plan.together):  # there was something to put together
        assert sum(lengths[i] for job in plan.jobs for i in job) <= len(plan.jobs) * step
    # Dealing out what costs most first comes within 4/3 of the best (Graham); taking pictures out only makes it better.
    least = max(sum(costs) / workers, 0)
    assert least * (1 - 1e-9) <= plan.seconds
    assert plan.seconds <= max(4 / 3 * max(least, max(costs)), least) * (1 + 1e-9) + max(costs)


def test_one_huge_picture_goes_to_all_cores():
    costs = block_costs(vision_model().encoder.layers[0], [4000, 50, 60])
    plan = make_plan([4000, 50, 60], costs, 2, 1024)
    assert plan.together == [0]
    assert plan.jobs == [[2], [1]]
    alone = make_plan([4000], costs[:1], 2, 1024)
    assert (alone.jobs, alone.together) == ([], [0])
    assert alone.seconds == pytest.approx(SLOWER_TOGETHER / 2 * costs[0])


def test_equal_pictures_are_shared_equally():
    plan = make_plan([256] * 8, [1.0] * 8, 2, 1024)
    assert [len(job) for job in plan.jobs] == [4, 4]
    assert plan.together == []


def test_thousands_of_pictures_are_planned_at_once():
    lengths = [1 + i % 7 for i in range(16384)]
    plan = make_plan(lengths, [float(n) for n in lengths], 3, 1024)
    assert plan.seconds <= 1.01 * sum(lengths) / 3
