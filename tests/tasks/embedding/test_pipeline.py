"""Decoding ahead: the batches are those of the list, in order, with what is broken told and the rest prepared."""

import numpy as np
import pytest

from aimv2_np.tasks.embedding.embedder import ImageEmbedder
from aimv2_np.tasks.embedding.pipeline import fetched, prepared_batches
from aimv2_np.tasks.embedding.sources import Pictures


@pytest.fixture(scope="module")
def embedder(two_towers):
    return ImageEmbedder(two_towers)


def listed(photos):
    return Pictures({str(path): None for path in sorted(photos.iterdir())})


@pytest.mark.parametrize(("batch", "start"), [(7, 0), (40, 0), (64, 0), (5, 12)])
def test_all_of_them_once_and_in_order(photos, embedder, batch, start):
    pictures = listed(photos)
    batches = list(prepared_batches(fetched(pictures, start), start, batch, embedder, threads=3))
    starts = list(range(start, 40, batch))
    assert [prepared.stop for prepared in batches] == [min(first + batch, 40) for first in starts]
    for first, prepared in zip(starts, batches, strict=True):
        assert sorted([*prepared.pixels, *prepared.broken]) == list(range(first, prepared.stop))
    broken = {row for prepared in batches for row in prepared.broken}
    assert broken == {row for row in (7, 21) if row >= start}


def test_the_pixels_are_those_that_the_embedder_prepares(photos, embedder):
    pictures = listed(photos)
    first = next(prepared_batches(fetched(pictures), 0, 4, embedder))
    for row, pixels in first.pixels.items():
        np.testing.assert_array_equal(pixels, embedder.prepare(pictures.names[row]))


def test_the_reason_is_one_line(photos, embedder):
    (batch,) = prepared_batches(fetched(listed(photos)), 0, 40, embedder)
    assert all(reason and "\n" not in reason for reason in batch.broken.values())
