"""aimv2_np/files/atomic.py"""

import json
import os

import pytest

from aimv2_np.files.atomic import atomic_write, make_folder
from aimv2_np.files.json import read_json, write_json


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(b"old")

    def write():
        with atomic_write(path, overwrite=True) as file:
            file.write(b"ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_new_file_appears_whole(tmp_path):
    path = tmp_path / "x.bin"
    with atomic_write(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_existing_files_are_kept_unless_overwriting(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_json(path, {"a": 2})
    assert read_json(path) == {"a": 1}
    write_json(path, {"a": 2}, overwrite=True)
    assert json.loads(path.read_text()) == {"a": 2}


def test_a_file_that_appears_during_the_write_is_kept(tmp_path):
    path = tmp_path / "x.bin"

    def write():
        with atomic_write(path) as file:
            file.write(b"ours")
            path.write_bytes(b"theirs")

    with pytest.raises(FileExistsError):
        write()
    assert path.read_bytes() == b"theirs"


def test_a_folder_that_is_not_there_is_named(tmp_path):
    words = r"there is no folder .*nowhere to write page.html to; make it first"
    with pytest.raises(FileNotFoundError, match=words), atomic_write(tmp_path / "nowhere" / "page.html"):
        pass


def test_a_folder_is_not_overwritten(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder"), atomic_write(tmp_path, overwrite=True):
        pass


@pytest.mark.skipif(os.name != "posix", reason="permission bits are POSIX's")
def test_new_files_have_the_permissions_of_any_other_new_file(tmp_path):
    (tmp_path / "other").write_bytes(b"")
    write_json(tmp_path / "x.json", {})
    assert (tmp_path / "x.json").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_folders_are_made_and_files_in_the_way_named(tmp_path):
    assert make_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(NotADirectoryError, match="in the way"):
            make_folder(path)
