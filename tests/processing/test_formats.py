import sys
from io import BytesIO
from types import ModuleType

import pytest
from PIL import Image, MpoImagePlugin

from aimv2_np.processing import formats
from aimv2_np.processing.formats import PLUGINS, SUFFIXES
from aimv2_np.processing.loading import load_pixels
from aimv2_np.tasks.embedding.sources import find_pictures
from tests.support.pictures import as_bytes, photo

# Read as pictures by Pillow, or by programs that it calls, without being any.
NONE = {"BUFR", "EPS", "FITS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}
LATER = {".avif", ".avifs", ".mpo"}  # Pillow reads AVIF from 11.3 on, and writes .mpo under JPEG's suffixes


def test_what_pillow_reads_is_taken():
    Image.init()
    known = {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN.keys() - NONE}
    plugins = {suffix for plugin in PLUGINS.values() for suffix in plugin.suffixes}
    assert known - plugins - LATER == set(SUFFIXES) - plugins - LATER
    assert set(SUFFIXES) >= LATER


@pytest.mark.parametrize("suffix", [".apng", ".dds", ".icns", ".ico", ".jp2", ".mpo", ".pcx", ".sgi", ".tga", ".xbm"])
def test_files_of_these_suffixes_are_found_and_read(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    if suffix == ".mpo":
        photo(16, 16).save(path, "MPO", save_all=True, append_images=[photo(16, 16)])
        assert MpoImagePlugin.MpoImageFile.format == "MPO"
    else:
        photo(16, 16, "1" if suffix == ".xbm" else "RGB").save(path)
    assert find_pictures([tmp_path]).names == (str(path),)
    assert load_pixels(path).shape[2] == 3


def boxed(brand: bytes) -> bytes:
    return b"\0\0\0\x18ftyp" + brand + bytes(40)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (bytes(100), "no more than zeros"),
        (b"PK\3\4" + bytes(60), "a zip archive; expected an image that Pillow reads: unpack it"),
        (b"\n <!DOCTYPE HTML><html>404", "a web page"),
        (b"\xef\xbb\xbf<HTML>", "a web page"),
        (b"%PDF-1.7", "a PDF"),
        (b'<svg xmlns="...">', "an SVG"),
        (b'{"error": "rate limit"}', "a JSON text"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (boxed(b"isom"), "a film"),
    ],
)
def test_files_that_are_no_pictures_are_called_what_they_are(tmp_path, content, message):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    for form in (path, content):
        with pytest.raises(ValueError, match=f"the content is.*{message}"):
            load_pixels(form)


@pytest.mark.parametrize(
    ("content", "package"),
    [(boxed(b"heic"), "pillow-heif"), (boxed(b"mif1"), "pillow-heif"), (b"\xff\x0a" + bytes(9), "pillow-jxl-plugin")],
)
def test_the_plugin_that_is_missing_is_named(monkeypatch, content, package):
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=f"pip install {package}"):
        load_pixels(content)


def test_a_plugin_that_is_installed_is_used(monkeypatch):
    """A stand-in, which knows a PNG behind HEIC's first bytes; Pillow's own tables are put back afterwards."""
    known = boxed(b"heic")

    def opener(file: object, name: str) -> Image.Image:
        file.seek(len(known))  # type: ignore[attr-defined]
        return Image.open(BytesIO(file.read()))  # type: ignore[attr-defined]

    module = ModuleType("pillow_heif")
    module.register_heif_opener = lambda: Image.register_open("HEIF", opener, lambda prefix: prefix[4:8] == b"ftyp")
    for table in ("OPEN", "ID"):
        monkeypatch.setattr(Image, table, getattr(Image, table).copy())
    monkeypatch.setitem(sys.modules, "pillow_heif", module)
    monkeypatch.setattr(formats, "find_spec", lambda name: True)
    assert load_pixels(known + as_bytes(photo(5, 6))).shape == (5, 6, 3)
