import errno
import io
import os
import tarfile
from pathlib import Path

import pytest

from aimv2_np.tasks.embedding.sources import find_pictures, passed_over
from aimv2_np.tasks.embedding.tar import CompressedArchives, find_member, read_any, read_member


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a tree of files in it, which is the current one."""
    monkeypatch.chdir(tmp_path)
    for name in ("b.png", "a.JPG", "notes.md", ".hidden.png", "sub/c.webp", "sub/._c.webp", ".cache/d.png", "odd"):
        path = Path("photos", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path


def names(*paths):
    return list(find_pictures(paths).names)


def make_tar(path, files):
    with tarfile.open(path, "w:" + path.rpartition(".")[2].removesuffix("tar").replace("tgz", "gz")) as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_folders_are_searched_in_order_and_hold_pictures_only(here):
    assert names("photos") == ["photos/a.JPG", "photos/b.png", "photos/sub/c.webp"]
    assert names("./photos/", here / "photos" / "sub") == [*names("photos"), str(here / "photos/sub/c.webp")]


def test_a_file_that_is_named_itself_may_be_called_anything(here):
    assert names("photos/odd", "./photos/b.png", "photos/.hidden.png") == [
        "photos/odd",
        "photos/b.png",
        "photos/.hidden.png",
    ]


def test_globs(here):
    assert names("photos/*") == ["photos/a.JPG", "photos/b.png", "photos/sub/c.webp"]
    assert names("photos/**/*.webp") == ["photos/sub/c.webp"]
    found = find_pictures(["photos/**"])
    assert sorted(found.names) == names("photos")
    assert found.duplicates == 0  # "**" matches the folder and what is in it
    Path("photos/[1].png").write_bytes(b"")
    assert names("photos/[1].png") == ["photos/[1].png"]  # a file of that name comes first
    with pytest.raises(FileNotFoundError, match=r"nothing matches 'photos/\*.gif'"):
        names("photos/*.gif")


def test_lists_of_paths(here):
    Path("list.txt").write_bytes(
        b"\xef\xbb\xbfphotos/b.png\r\n\n  \nmissing.png\nphotos/odd\n name with spaces .png \n"
    )
    assert names("list.txt") == ["photos/b.png", "missing.png", "photos/odd", " name with spaces .png "]
    Path("list.txt").write_bytes(b"\x89PNG\0\0")
    with pytest.raises(ValueError, match=r"list.txt, line 1, is no path"):
        names("list.txt")


def test_standard_input_is_a_list(here, monkeypatch):
    class Stdin:
        buffer = io.BytesIO(b"photos/b.png\nphotos/a.JPG")

    monkeypatch.setattr("sys.stdin", Stdin)
    assert names("-") == ["photos/b.png", "photos/a.JPG"]


@pytest.mark.skipif(os.name != "posix", reason="file names of POSIX")
def test_names_that_are_no_utf_8(here):
    Path("photos/\udcff.png").write_bytes(b"")
    assert "photos/\udcff.png" in names("photos")
    Path("list.txt").write_bytes(b"photos/\xff.png\n")
    assert names("list.txt") == ["photos/\udcff.png"]


def test_duplicates_are_taken_once_and_counted(here):
    found = find_pictures(["photos/b.png", "photos", "./photos//b.png"])
    assert found.names == ("photos/b.png", "photos/a.JPG", "photos/sub/c.webp")
    assert found.duplicates == 2


@pytest.mark.parametrize("archive", ["a.tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.tar.xz"])
def test_archives(here, archive):
    files = [("x/2.png", b"two"), ("x/readme.txt", b"no"), ("x/1.jpg", b"first one"), ("x/.3.png", b"hidden")]
    make_tar(archive, files)
    found = find_pictures([archive])
    assert found.names == (f"{archive}/x/2.png", f"{archive}/x/1.jpg")
    read = CompressedArchives().read if found.places[found.names[0]].compressed else read_member
    assert [read(found.places[name]) for name in found.names] == [b"two", b"first one"]
    member = find_member(f"{archive}/x/1.jpg")
    assert member is not None
    assert read_any(member) == b"first one"
    assert find_member(f"{archive}/x/4.jpg") is None
    assert find_member("photos/b.png") is None


def test_links_and_devices_in_archives_are_not_followed(here):
    with tarfile.open("a.tar", "w") as tar:
        kinds = {"link.png": tarfile.SYMTYPE, "hard.png": tarfile.LNKTYPE, "pipe.png": tarfile.FIFOTYPE}
        for name, kind in kinds.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    with pytest.raises(ValueError, match=r"paths is a.tar, where there are no pictures"):
        names("a.tar")


def test_damaged_archives(here):
    make_tar("a.tar", [("1.png", b"x" * 5000), ("2.png", b"y" * 5000)])
    whole = Path("a.tar").read_bytes()
    found = find_pictures(["a.tar"])
    Path("a.tar").write_bytes(whole[:3000])
    with pytest.raises(ValueError, match=r"ends within it, after 2,488 of 5,000 bytes"):
        read_member(found.places["a.tar/1.png"])
    Path("b.tar").write_bytes(b"no archive at all" * 100)
    with pytest.raises(ValueError, match=r"b.tar: it cannot be read to its end as a tar archive"):
        names("b.tar")
    make_tar("c.tgz", [("1.png", b"first" * 1000), ("2.png", os.urandom(50000))])
    Path("c.tgz").write_bytes(Path("c.tgz").read_bytes()[:20000])
    found = find_pictures(["c.tgz", "photos/b.png"])
    assert found.names == ("c.tgz/1.png", "c.tgz/2.png", "c.tgz", "photos/b.png")
    assert [name for name, place in found.places.items() if isinstance(place, str)] == ["c.tgz"]
    assert "damaged, fetch it again" in found.places["c.tgz"]


def test_the_digest_tells_other_pictures_and_another_order(here):
    Path("ab").mkdir()
    for name in ("x.png", "y.png"):
        Path("ab", name).write_bytes(b"")
    lists = (["ab/x.png", "ab/y.png"], ["ab/y.png", "ab/x.png"], ["ab/x.png"])
    digests = [find_pictures(paths).digest() for paths in lists]
    assert len(set(digests)) == 3
    assert digests[0] == find_pictures(["ab"]).digest()
    make_tar("a.tar", [("1.png", b"one")])
    before = find_pictures(["a.tar"]).digest()
    make_tar("a.tar", [("1.png", b"other")])
    assert find_pictures(["a.tar"]).digest() != before


def test_nothing_to_do(here):
    with pytest.raises(FileNotFoundError, match="there is no 'nowhere'"):
        names("photos", "nowhere")
    Path("empty").mkdir()
    with pytest.raises(ValueError, match="paths is empty, where there are no pictures; expected files that end in"):
        names("empty")
    with pytest.raises(ValueError, match="paths is an empty list"):
        names()
    with pytest.raises(TypeError, match="expected a list of paths"):
        find_pictures("photos")


def test_what_is_passed_over_is_counted(here):
    for name in ("1.HEIC", "2.heic", "labels.csv"):
        Path("photos", name).write_bytes(b"")
    found = find_pictures(["photos"])
    assert found.passed_over == {".heic": 2, ".md": 1, ".csv": 1, "no suffix": 1}
    assert passed_over(found.passed_over) == "5 passed over: .heic 2, .csv 1, .md 1, no suffix 1"
    assert find_pictures(["photos/*.[jJh]*"]).passed_over == {".heic": 1}
    Path("only").mkdir()
    Path("only/1.heic").write_bytes(b"")
    with pytest.raises(ValueError, match=r"there are no pictures; .*; 1 passed over: .heic 1$"):
        names("only")


def test_remarks_in_lists(here):
    Path("list.txt").write_text("# from the archive\nphotos/b.png\n  # and\n./#1.png\n")
    assert names("list.txt") == ["photos/b.png", "#1.png"]


def test_what_is_found_may_be_missing_and_what_is_given_may_not(here, monkeypatch):
    Path("photos/locked").mkdir()
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("locked") and real(path, mode))
    found = find_pictures(["photos"])
    assert found.names == ("photos/a.JPG", "photos/b.png", "photos/locked", "photos/sub/c.webp")
    assert found.places["photos/locked"] == "the folder cannot be read: permission denied"
    with pytest.raises(PermissionError, match="photos/locked"):
        names("photos/locked")
    found = find_pictures(["photos/*"])
    assert found.places["photos/locked"] == "cannot be read: Permission denied"


def test_an_error_of_the_system_is_no_missing_file(here, monkeypatch):
    def stat(path):
        raise OSError(errno.ESTALE, "Stale file handle", str(path))

    monkeypatch.setattr(os, "stat", stat)
    with pytest.raises(OSError, match="Stale"):
        names("photos/b.png")


def test_a_closed_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(ValueError, match="standard input is closed"):
        names("-")


def test_other_contents_are_another_state(here):
    Path("ab").mkdir()
    Path("ab/x.png").write_bytes(b"red ")
    make_tar("a.tar", [("1.png", b"one"), ("2.png", b"two")])
    found = find_pictures(["ab", "a.tar"])
    before = found.states()
    os.utime("ab/x.png", ns=(0, 5))
    assert [a == b for a, b in zip(before, found.states(), strict=True)] == [False, True, True]
    os.utime("a.tar", ns=(0, 5))
    assert [a == b for a, b in zip(before, found.states(), strict=True)] == [False, False, False]
    Path("ab/x.png").unlink()
    assert found.states()[0] == "missing"


def test_shards_of_webdataset(here):
    """Several archives of pictures by their keys, with texts beside them, which are counted."""
    for shard in range(2):
        files = [(f"{shard}{i}.{kind}", b"x") for i in range(2) for kind in ("jpg", "json", "txt")]
        make_tar(f"0000{shard}.tar", files)
    found = find_pictures(["00000.tar", "00001.tar"])
    assert found.names == ("00000.tar/00.jpg", "00000.tar/01.jpg", "00001.tar/10.jpg", "00001.tar/11.jpg")
    assert found.passed_over == {".json": 4, ".txt": 4}
    assert find_pictures(["*.tar"]).names == found.names
