"""Pictures in zip archives: read where they lie; what a hostile archive says is told of the picture, and bounded."""

import io
import struct
import zipfile
from pathlib import Path

import pytest

from aimv2_np.tasks import embed, open_features
from aimv2_np.tasks.embedding.sources import find_pictures
from aimv2_np.tasks.embedding.zip import ZipMember, find_in_zip
from tests.support.pictures import photo


def png(seed=0):
    buffer = io.BytesIO()
    photo(20, 30, seed=seed).save(buffer, "PNG")
    return buffer.getvalue()


def make(name, files, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(name, "w", method) as archive:
        for path, data in files:
            archive.writestr(path, data)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_pictures_are_those_of_the_files(two_towers, here, method):
    Path("photos").mkdir()
    for i in range(4):
        (here / "photos" / f"{i}.png").write_bytes(png(i))
    make("photos.zip", [("in/", b""), *((f"in/{i}.png", png(i)) for i in range(4)), ("in/notes.md", b"")], method)
    result = embed(["photos.zip"], "zip.npz", model=two_towers)
    assert result.passed_over == {".md": 1}
    embed(["photos"], "files.npz", model=two_towers)
    assert list(open_features("zip.npz").names) == [f"photos.zip/in/{i}.png" for i in range(4)]
    assert (open_features("zip.npz").features == open_features("files.npz").features).all()
    assert find_in_zip("photos.zip/in/2.png").read() == png(2)
    assert find_in_zip("photos.zip/in/9.png") is find_in_zip("photos/2.png") is None
    assert not Path("in").exists()


def test_names_that_lead_elsewhere_are_told_and_never_followed(here):
    names = ["/etc/1.png", "../2.png", "a/../../3.png", "C:\\4.png", "..\\5.png", "fine.png"]
    make("a.zip", [(name, png()) for name in names])
    places = find_pictures(["a.zip"]).places
    assert len(places) == 6
    assert all("leads out of the archive" in place for place in list(places.values())[:5])
    assert places["a.zip/fine.png"].read() == png()


def test_encrypted_files_links_and_unknown_methods(here):
    make("a.zip", [("1.png", png()), ("2.png", png())])
    data = bytearray(Path("a.zip").read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1  # the flag of the first file
    Path("a.zip").write_bytes(data)
    places = find_pictures(["a.zip"]).places
    assert places["a.zip/1.png"] == "it is encrypted; expected an archive without a password: unpack it"
    assert places["a.zip/2.png"].read() == png()
    with zipfile.ZipFile("b.zip", "w") as archive:
        link = zipfile.ZipInfo("link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("odd.png", png(), zipfile.ZIP_BZIP2)
    places = find_pictures(["b.zip"]).places
    assert places["b.zip/link.png"] == "it is a link, which is not followed"
    with pytest.raises(ValueError, match=r"packed by method 12 of zip; expected it stored or deflated"):
        places["b.zip/odd.png"].read()


def test_archives_that_are_cut_short_or_damaged(here):
    make("a.zip", [("1.png", png())], zipfile.ZIP_STORED)
    whole = Path("a.zip").read_bytes()
    place = find_pictures(["a.zip"]).places["a.zip/1.png"]
    for cut in (100, 20):
        Path("a.zip").write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"a.zip: it cannot be read as a zip archive .*fetch it again"):
            find_pictures(["a.zip"])
        with pytest.raises(ValueError, match=r"it is damaged there|has no file where it says"):
            place.read()
    Path("a.zip").write_bytes(whole.replace(b"IDAT", b"IDAU"))
    with pytest.raises(ValueError, match="it is damaged there"):
        place.read()


def test_a_bomb_is_not_unpacked(here):
    make("a.zip", [("big.png", bytes(2**25))])
    place = find_pictures(["a.zip"]).places["a.zip/big.png"]
    with pytest.raises(ValueError, match=r"becomes 33,554,432 bytes from .*it may be made to exhaust memory"):
        place.read()
    lying = ZipMember("a.zip", place.name, place.offset, place.packed, 1000, place.method, place.crc)
    with pytest.raises(ValueError, match="it is damaged there"):  # after 1001 bytes
        lying.read()
    large = ZipMember("a.zip", place.name, place.offset, place.packed, 2**40, place.method, place.crc)
    with pytest.raises(ValueError, match=r"has 1,099,511,627,776 bytes; expected at most"):
        large.read()


def test_any_damage_is_one_error(here):
    """Of each byte of a small archive: the directory or the picture is told, nothing else is raised."""
    make("a.zip", [("1.png", b"x" * 40)], zipfile.ZIP_STORED)
    whole = Path("a.zip").read_bytes()
    for at in range(len(whole)):
        for value in (0, 255):
            Path("b.zip").write_bytes(whole[:at] + struct.pack("B", value) + whole[at + 1 :])
            try:
                for place in find_pictures(["b.zip"]).places.values():
                    if isinstance(place, ZipMember):
                        place.read()
            except ValueError:
                continue
