"""What features depend on is told apart; what they do not depend on is not."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from aimv2_np import Aimv2Model
from aimv2_np.tasks import ImageEmbedder
from aimv2_np.tasks.embedding import identity
from aimv2_np.tasks.embedding.sources import Pictures
from tests.support.two_towers import save_two_towers


@pytest.mark.parametrize("options", [
    {"features": "mean"}, {"normalize": True}, {"dtype": "float16"}, {"batch_size": 3}, {"exif_transpose": True},
])  # fmt: skip
def test_settings(two_towers, options):
    assert identity.settings(ImageEmbedder(two_towers, **options)) != identity.settings(ImageEmbedder(two_towers))
    same = {"errors": "skip", "column": "vectors"}
    assert identity.settings(ImageEmbedder(two_towers, **same)) == identity.settings(ImageEmbedder(two_towers))


def test_weights(two_towers, tmp_path):
    model = Aimv2Model.from_pretrained(two_towers).map(lambda path, array: np.array(array))
    model.visual_projection.weight[0, 0] += 1
    folder = save_two_towers(tmp_path / "other")
    model.save_pretrained(folder, overwrite=True)
    one, other = (identity.settings(ImageEmbedder(place)) for place in (two_towers, folder))
    assert {name for name in one if one[name] != other[name]} == {"weights"}


def test_pictures_and_how_they_are_computed(two_towers, monkeypatch):
    embedder, pictures = ImageEmbedder(two_towers), Pictures({"a": None, "b": None})
    turned, wanted = Pictures({"b": None, "a": None}), identity.settings(embedder)
    assert identity.identity(wanted, pictures) != identity.identity(wanted, turned)
    before = identity.means(embedder, wanted)
    monkeypatch.setattr(identity, "kernels", lambda: None)
    if before["kernels"] == "in C":
        assert identity.means(embedder, wanted) != before
    monkeypatch.setattr("aimv2_np.__version__", "0.0.1")
    assert identity.means(embedder, wanted)["version of aimv2_np"] == "0.0.1"


def test_threads_decide_where_blas_computes(two_towers):
    exact, rounded = ImageEmbedder(two_towers), ImageEmbedder(two_towers, dtype="float16")
    with threadpool_limits(1):
        assert identity.rounding(rounded) == {"threads of BLAS": 1}
        assert identity.rounding(exact) == ({} if identity.alone(exact) else {"threads of BLAS": 1})
