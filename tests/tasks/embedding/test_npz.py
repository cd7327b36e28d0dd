""".npz: NumPy reads what is written, and what NumPy writes is read; what is damaged is refused."""

import json
import zipfile

import numpy as np
import pytest

from aimv2_np.tasks.embedding import npz

ARRAYS = {
    "features": np.arange(12, dtype=np.float32).reshape(4, 3),
    "ends": np.arange(4, dtype=np.int64),
    "none": np.empty((0, 3), np.float32),
}


def write(path, metadata=None):
    with path.open("wb") as file:
        npz.write_npz(file, ARRAYS, metadata or {})


def test_numpy_reads_it(tmp_path):
    write(tmp_path / "a.npz", {"kind": "pooled"})
    with np.load(tmp_path / "a.npz") as found:
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(found[name], array)
        assert json.loads(str(found["metadata"])) == {"kind": "pooled"}


def test_it_is_mapped_where_it_lies(tmp_path):
    write(tmp_path / "a.npz", {"kind": "pooled"})
    metadata, arrays = npz.read(tmp_path / "a.npz")
    assert metadata == {"kind": "pooled"}
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
    assert arrays["features"].ctypes.data % npz.ALIGNMENT == 0
    assert not arrays["features"].flags.writeable


def test_what_numpy_wrote(tmp_path):
    np.savez(tmp_path / "a.npz", **ARRAYS)
    _, arrays = npz.read(tmp_path / "a.npz")
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)


def test_compressed_files_are_refused(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", **ARRAYS)
    with pytest.raises(ValueError, match="compressed"):
        npz.read(tmp_path / "a.npz")


def test_an_array_that_is_cut_short(tmp_path):
    np.save(tmp_path / "a.npy", ARRAYS["features"])
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("features.npy", (tmp_path / "a.npy").read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"features\.npy"):
        npz.read(tmp_path / "a.npz")


def test_objects_are_not_unpickled(tmp_path):
    np.savez(tmp_path / "a.npz", features=np.array([print, None], object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"features\.npy"):
        npz.read(tmp_path / "a.npz")
