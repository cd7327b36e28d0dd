"""Pictures in tar archives: their bytes, compressed or not, in any order; damage is said and no run's end."""

import io
import tarfile
from random import Random

import pytest

from aimv2_np.tasks.embedding.tar import CompressedArchives, Member, find_member, members, read_any, read_member

FILES = {"a/one.png": b"first", "two.png": bytes(range(256)) * 4 + Random(0).randbytes(5000), "three.png": b""}


@pytest.fixture(params=["tar", "tar.gz", "tar.xz", "tbz2"])
def archive(tmp_path, request):
    path = tmp_path / f"pictures.{request.param}"
    kind = {"tar": "", "tar.gz": "gz", "tar.xz": "xz", "tbz2": "bz2"}[request.param]
    with tarfile.open(path, f"w:{kind}") as tar:
        folder = tarfile.TarInfo("a")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, data in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    return path


def test_plain_files_only_in_their_order(archive):
    assert [(it.name, it.size) for it in members(str(archive))] == [(name, len(data)) for name, data in FILES.items()]


def test_their_bytes_in_order_and_alone(archive):
    found = list(members(str(archive)))
    reader = CompressedArchives()
    try:
        assert [reader.read(it) for it in found] == list(FILES.values())
    finally:
        reader.close()
    assert [read_any(it) for it in reversed(found)] == list(FILES.values())[::-1]
    if not found[0].compressed:
        assert [read_member(it) for it in reversed(found)] == list(FILES.values())[::-1]


def test_a_name_that_leads_into_an_archive(archive):
    member = find_member(f"{archive}/a/one.png")
    assert member is not None
    assert read_any(member) == b"first"
    assert find_member(f"{archive}/nothing.png") is None
    assert find_member(f"{archive.parent}/other.tar/a/one.png") is None


def test_an_archive_that_is_cut_short(archive):
    data = archive.read_bytes()
    archive.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="damaged"):
        list(members(str(archive)))


def test_a_file_of_which_a_part_is_missing(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"x" * 10)
    with pytest.raises(ValueError, match="after 4 of 9 bytes"):
        read_member(Member(str(tmp_path / "a.tar"), "a.png", 6, 9, compressed=False))


def test_a_file_too_large_to_be_a_picture(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"")
    with pytest.raises(ValueError, match="expected at most"):
        read_any(Member(str(tmp_path / "a.tar"), "a.png", 0, 2**40, compressed=False))
