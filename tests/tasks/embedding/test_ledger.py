"""What a file records of its pictures, where that is damaged or missing."""

from pathlib import Path

import pytest

from aimv2_np.errors import CheckpointError
from aimv2_np.tasks import embed, open_features
from aimv2_np.tasks.embedding.feature_file import write_features
from tests.support.growing import add


def test_a_record_that_is_damaged(two_towers, here):
    embed([add(here / "photos", range(4))], "f.npz", model=two_towers)
    held = open_features("f.npz")
    arrays = {name: held.arrays[name] for name in ("features", "broken_at")}
    for states in (held.arrays["states"][:3], held.arrays["states"][:, :4]):
        with Path("g.npz").open("wb") as file:
            write_features(file, ".npz", arrays | {"states": states}, list(held.names), [], held.metadata)
        with pytest.raises(CheckpointError, match=r"what it records of its pictures is damaged \(states fit no file"):
            embed([here / "photos"], "g.npz", model=two_towers)


def test_a_file_that_records_nothing_is_complete_or_refused(two_towers, here):
    """As earlier versions have written them."""
    embed([add(here / "photos", range(4))], "f.npz", model=two_towers)
    held = open_features("f.npz")
    with Path("g.npz").open("wb") as file:
        write_features(file, ".npz", {"features": held.features}, list(held.names), [], held.metadata)
    assert embed([here / "photos"], "g.npz", model=two_towers).continued == 4
    with pytest.raises(FileExistsError):
        embed([add(here / "photos", [5])], "g.npz", model=two_towers)
