"""What is computed and what is kept when pictures come, and that rounding does not tell the two apart."""

import contextlib
import shutil
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.kernels.native.library import kernels, using
from aimv2_np.tasks import ImageEmbedder, embed, open_features
from aimv2_np.tasks.embedding.plan import COPIED, Plan, alone
from aimv2_np.tasks.embedding.sources import Pictures
from tests.support.growing import add, whole
from tests.support.two_towers import save_two_towers

IN_C = pytest.mark.skipif(kernels() is None, reason="no kernels in C, in which each row is a sum by itself")


@given(st.lists(st.booleans(), max_size=200), st.integers(1, 9), st.data())
def test_stretches_are_all_that_is_left_each_once(kept, batch, data):
    """Whole batches begin where they would in a run over everything, so they are the same batches."""
    start = data.draw(st.integers(0, len(kept)))
    rows = np.where(kept, np.arange(len(kept)), -1)
    plan = Plan(Pictures({}, 0), (), {}, rows, rows)
    stretches = list(plan.stretches(start, batch))
    assert [n for first, stop, _ in stretches for n in range(first, stop)] == list(range(start, len(kept)))
    for first, stop, keeps in stretches:
        assert kept[first:stop] == [keeps] * (stop - first)
        assert not keeps or stop - first <= COPIED
        begins_batch = first % batch == 0 or stop - first <= batch - first % batch
        assert keeps or begins_batch


def test_numpy_gives_the_same_bytes_by_the_same_batches(two_towers, here):
    """BLAS sums in an order that depends on the shape of the batch: rows are kept by whole batches."""
    with using(None):
        output, computed = here / "f.npz", []
        embed([add(here / "photos", range(20))], output, model=two_towers, batch_size=8)
        embed([here / "photos"], "single.npz", model=two_towers, batch_size=1)
        assert not np.array_equal(open_features("single.npz").features, open_features(output).features)
        for begin, end in pairwise((20, 37, 45)):
            add(here / "photos", range(begin, end))
            steps = []
            progress = partial(lambda to, *at: to.append(at[0]), steps)
            embed([here / "photos"], output, model=two_towers, batch_size=8, progress=progress)
            computed.append(steps)
        assert computed[0] == [0, 16, 24, 32, 37]  # four of the twenty were in the last batch, which was not whole
        assert output.read_bytes() == whole(two_towers, output, batch_size=8)


@pytest.mark.filterwarnings("ignore::aimv2_np.UntrainedSizeWarning")
@pytest.mark.parametrize("kernels_in_c", [pytest.param(True, marks=IN_C), False])
@pytest.mark.parametrize("features", ["tokens", "projected"])
def test_native_models_too_whose_pictures_are_packed(here, kernels_in_c, features):
    model = save_two_towers(here / "native", is_native=True)
    with contextlib.nullcontext() if kernels_in_c else using(None):
        for begin, end in pairwise((0, 5, 11, 20)):
            embed([add(here / "photos", range(begin, end))], "f.npz", model=model, features=features, batch_size=4)
        assert Path("f.npz").read_bytes() == whole(model, Path("f.npz"), features=features, batch_size=4)


@IN_C
@pytest.mark.parametrize("kind", ["projected", "cls", "tokens"])
@pytest.mark.parametrize("native", [False, True])
def test_in_c_a_vector_does_not_depend_on_its_neighbours(here, kind, native):
    """What `alone` promises: bits are the same in a batch of 1, 3, 8 and 32."""
    embedder = ImageEmbedder(save_two_towers(here / "model", is_native=native), kind)
    assert alone(embedder)
    chance = np.random.default_rng(0)
    sizes = chance.integers(1, 6, (40, 2)) * 8 if native else [(16, 24)] * 40
    pictures = [chance.standard_normal((3, *map(int, size))).astype(np.float32) for size in sizes]
    wanted = [embedder.compute([picture])[0] for picture in pictures]
    for batch in (3, 8, 32):
        found = [vector for i in range(0, 40, batch) for vector in embedder.compute(pictures[i : i + batch])]
        assert all(map(np.array_equal, wanted, found))


def test_without_kernels_rows_of_pictures_that_are_not_given_stay(two_towers, here):
    """They cannot be computed again with those that are: they keep the numbers that they have."""
    with using(None):
        embed([add(here / "photos", range(6))], "f.npz", model=two_towers, batch_size=4)
        old = open_features("f.npz").features.copy()
        shutil.rmtree("photos")
        assert embed([add(here / "new", range(10, 14))], "f.npz", model=two_towers, batch_size=4).count == 10
        np.testing.assert_array_equal(open_features("f.npz").features[:6], old)
