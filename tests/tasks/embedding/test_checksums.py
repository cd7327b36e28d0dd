"""A picture is the same by its contents, whatever its time of modification says."""

import contextlib
import os
from pathlib import Path

import pytest

from aimv2_np.tasks import embed, open_features
from aimv2_np.tasks.embedding.checksums import UNREADABLE, checksums
from tests.support.growing import add
from tests.tasks.embedding.test_run import Stop, stop_after


def test_each_is_that_of_the_file(here):
    add(here / "photos", [1])
    names = ["photos/001.png", "photos/no.png", "again.png"]
    (here / "again.png").write_bytes((here / "photos" / "001.png").read_bytes())
    one, missing, again = checksums(dict.fromkeys(names))
    assert one == again
    assert missing == UNREADABLE


def test_checksums_tell_a_touched_picture_from_a_changed_one(two_towers, here):
    folder, output = add(here / "photos", range(6)), here / "f.npz"
    options = {"model": two_towers, "checksum": True}
    embed([folder], output, **options)
    os.utime(folder / "001.png", ns=(0, 5))
    with pytest.raises(ValueError, match="--checksum compares their contents"):
        embed([folder], output, model=two_towers)
    assert embed([folder], output, **options).kept == 6
    status = (folder / "002.png").stat()
    data = bytearray((folder / "002.png").read_bytes())
    data[-5] ^= 1  # of as many bytes, and as old
    (folder / "002.png").write_bytes(data)
    os.utime(folder / "002.png", ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(ValueError, match=r"1 of its 6 pictures have changed since they were embedded, the first .*002"):
        embed([folder], output, **options)
    assert embed([folder], output, **options, sync=True).changed == 1


def test_a_file_without_checksums_takes_them_up(two_towers, here):
    embed([add(here / "photos", range(4))], "f.npz", model=two_towers)
    assert "checksums" not in open_features("f.npz").arrays
    embed([add(here / "photos", [4])], "f.npz", model=two_towers, checksum=True)
    assert open_features("f.npz").arrays["checksums"].any(axis=1).all()
    embed([add(here / "photos", [5])], "f.npz", model=two_towers)  # those that are known stay
    assert open_features("f.npz").arrays["checksums"].any(axis=1).tolist() == [True] * 5 + [False]


def test_a_collection_begins_to_record_them(two_towers, here):
    """Also later; and what was only touched is told from the others without them from then on."""
    folder = add(here / "photos", range(5))
    embed([folder], "f.safetensors", model=two_towers)
    embed([folder], "f.safetensors", model=two_towers, checksum=True)
    embed([folder], "clean.safetensors", model=two_towers, checksum=True)
    assert Path("f.safetensors").read_bytes() == Path("clean.safetensors").read_bytes()
    for picture in folder.iterdir():
        os.utime(picture, (1, 1))
    with pytest.raises(ValueError, match="5 of its 5 pictures have changed"):
        embed([folder], "f.safetensors", model=two_towers)
    embed([folder], "f.safetensors", model=two_towers, checksum=True)
    assert embed([folder], "f.safetensors", model=two_towers).kept == 5


def test_an_interrupted_run_says_that_it_had_them(two_towers, here):
    folder = add(here / "photos", range(10))
    with contextlib.suppress(Stop):
        embed([folder], "f.npz", model=two_towers, checksum=True, batch_size=2, save_every=2, progress=stop_after(4))
    with pytest.raises(ValueError, match="an interrupted run of another kind: checksum was true and is now null"):
        embed([folder], "f.npz", model=two_towers, batch_size=2)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_and_devices_are_not_waited_for(here):
    os.mkfifo("pipe.png")
    os.symlink("/dev/zero", "zero.png")  # noqa: PTH211 (a name, not a path)
    assert checksums({"pipe.png": None, "zero.png": None}) == [UNREADABLE, UNREADABLE]
