"""Pictures in tar archives: their bytes, compressed or not, in any order; damage is said and no run's end."""

import gzip
import io
import tarfile
from random import Random

import pytest

from aimv2_np.tasks.embedding.tar import CompressedArchives, Member, contents, find_member, read_any, read_member

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
    assert [(member.name, member.size) for member in contents(str(archive)).members] == [
        (name, len(data)) for name, data in FILES.items()
    ]


def test_their_bytes_in_order_and_alone(archive):
    found = contents(str(archive)).members
    reader = CompressedArchives()
    try:
        assert [reader.read(member) for member in found] == list(FILES.values())
    finally:
        reader.close()
    assert [read_any(member) for member in reversed(found)] == list(FILES.values())[::-1]
    if not found[0].compressed:
        assert [read_member(member) for member in reversed(found)] == list(FILES.values())[::-1]


def test_a_name_that_leads_into_an_archive(archive):
    member = find_member(f"{archive}/a/one.png")
    assert member is not None
    assert read_any(member) == b"first"
    assert find_member(f"{archive}/nothing.png") is None
    assert find_member(f"{archive.parent}/other.tar/a/one.png") is None


def test_an_archive_that_is_cut_short(archive):
    data = archive.read_bytes()
    archive.write_bytes(data[: len(data) // 2])
    assert "damaged" in contents(str(archive)).problem


def test_a_file_of_which_a_part_is_missing(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"x" * 10)
    with pytest.raises(ValueError, match="after 4 of 9 bytes"):
        read_member(Member(str(tmp_path / "a.tar"), "a.png", 6, 9, compressed=False))


def test_a_file_too_large_to_be_a_picture(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"")
    with pytest.raises(ValueError, match="expected at most"):
        read_any(Member(str(tmp_path / "a.tar"), "a.png", 0, 2**40, compressed=False))


def test_of_several_of_one_name_the_last_counts(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for name, data in (("a.png", b"old"), ("b.png", b"b"), ("./a.png", b"newer"), ("c.png", b"c")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("c.png")
        link.type, link.linkname = tarfile.SYMTYPE, "b.png"
        tar.addfile(link)
    found = contents(str(path))
    assert [(member.name, read_any(member)) for member in found.members] == [("b.png", b"b"), ("a.png", b"newer")]
    assert (found.duplicates, found.others, found.problem) == (2, {"c.png": "links"}, "")
    for name in ("a.png", "./a.png"):
        assert find_member(f"{path}/{name}") == found.members[1]


@pytest.mark.parametrize("kept", ["in the data", "in a header", "no end", "a damaged header"])
@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_where_an_archive_may_be_cut(tmp_path, suffix, kept):
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name in ("1.png", "2.png"):
            info = tarfile.TarInfo(name)
            info.size = 700
            tar.addfile(info, io.BytesIO(b"x" * 700))
    data = plain.getvalue()  # a header at 0 and at 1536, the end at 3072
    size = {"in the data": 2500, "in a header": 1800, "no end": 3072, "a damaged header": 10240}[kept]
    data = data[:size] if kept != "a damaged header" else data[:1540] + b"?" + data[1541:]
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(gzip.compress(data) if suffix == "tar.gz" else data)
    found = contents(str(path))
    assert "it cannot be read to its end as a tar archive" in found.problem
    whole = {"in the data": 2, "in a header": 1, "no end": 2, "a damaged header": 1}[kept]
    assert [member.name for member in found.members] == ["1.png", "2.png"][:whole]
    assert read_any(found.members[0]) == b"x" * 700
