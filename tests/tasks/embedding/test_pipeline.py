"""Decoding ahead: the batches are those of the list, in order, with what is broken told and the rest prepared."""

import numpy as np
import pytest

from aimv2_np.tasks.embedding.embedder import ImageEmbedder
from aimv2_np.tasks.embedding.pipeline import prepared_batches
from aimv2_np.tasks.embedding.sources import Pictures


@pytest.fixture(scope="module")
def embedder(two_towers):
    return ImageEmbedder(two_towers)


def listed(photos):
    return Pictures([str(path) for path in sorted(photos.iterdir())], {}, 0)


@pytest.mark.parametrize(("batch", "start"), [(7, 0), (40, 0), (64, 0), (5, 12)])
def test_all_of_them_once_and_in_order(photos, embedder, batch, start):
    pictures = listed(photos)
    batches = list(prepared_batches(pictures, start, batch, embedder, threads=3))
    assert [it.start for it in batches] == list(range(start, 40, batch))
    assert [it.stop for it in batches] == [min(it.start + batch, 40) for it in batches]
    for it in batches:
        assert sorted([*it.rows, *it.broken]) == list(range(it.start, it.stop))
    broken = {row for it in batches for row in it.broken}
    assert broken == {row for row in (7, 21) if row >= start}


def test_the_pixels_are_those_that_the_embedder_prepares(photos, embedder):
    pictures = listed(photos)
    first = next(prepared_batches(pictures, 0, 4, embedder))
    for row, pixels in zip(first.rows, first.pixels, strict=True):
        np.testing.assert_array_equal(pixels, embedder.prepare(pictures.names[row]))


def test_the_reason_is_one_line(photos, embedder):
    (batch,) = prepared_batches(listed(photos), 0, 40, embedder)
    assert all(reason and "\n" not in reason for reason in batch.broken.values())
