"""Which files are images, by their names; and what a file is that is no image, by its first bytes."""

from importlib import import_module
from importlib.util import find_spec
from typing import Final, NamedTuple


class Plugin(NamedTuple):
    """A format that Pillow leaves to another package: suffixes, what `pip` installs, the module, what it calls first.

    An empty `register` says that importing the module is enough.
    """

    suffixes: tuple[str, ...]
    package: str
    module: str
    register: str


PLUGINS: Final = {
    "HEIC": Plugin(
        (".heic", ".heics", ".heif", ".heifs", ".hif"), "pillow-heif", "pillow_heif", "register_heif_opener"
    ),
    "JPEG XL": Plugin((".jxl",), "pillow-jxl-plugin", "pillow_jxl", ""),
}

# What Pillow reads, but for films, fonts, tables of science and programs for other programs (MPEG, FITS, EPS, …).
_OWN: Final = (
    ".apng", ".avif", ".avifs", ".blp", ".bmp", ".bw", ".cur", ".dcx", ".dds", ".dib", ".flc", ".fli", ".ftc", ".ftu",
    ".gbr", ".gif", ".icb", ".icns", ".ico", ".im", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf",
    ".jpg", ".jpx", ".mpo", ".msp", ".pbm", ".pcd", ".pcx", ".pfm", ".pgm", ".png", ".pnm", ".ppm", ".psd", ".pxr",
    ".qoi", ".ras", ".rgb", ".rgba", ".sgi", ".tga", ".tif", ".tiff", ".vda", ".vst", ".webp", ".xbm", ".xpm",
)  # fmt: skip

SUFFIXES: Final = _OWN + tuple(
    suffix for plugin in PLUGINS.values() if find_spec(plugin.module) for suffix in plugin.suffixes
)
"""What is taken from folders and archives: what Pillow reads, and its plug-ins that are installed."""

HEAD: Final = 64  # bytes of a file that tell what it is

_PAGE: Final = "a web page (HTML), which servers send in the place of an image: download it again"
# What a file begins with, in lower case → what it is, and what to do.
_KINDS: Final = {
    b"pk\3\4": "a zip archive: unpack it",
    b"pk\5\6": "an empty zip archive: pack it again",
    b"\x1f\x8b": "a gzip archive: unpack it",
    b"7z\xbc\xaf": "a 7z archive: unpack it",
    b"rar!": "a RAR archive: unpack it",
    b"%pdf": "a PDF: save its pages as PNG",
    b"<!doctype html": _PAGE,
    b"<html": _PAGE,
    b"<head": _PAGE,
    b"<svg": "an SVG, which is a drawing and has no pixels: save it as PNG",
    b"<?xml": "XML, perhaps an SVG, which has no pixels: save it as PNG",
    b"{": "a JSON text, perhaps a server's answer: download it again",
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself: run git lfs pull",
    b"\x1ae\xdf\xa3": "a film (Matroska or WebM): save a frame as PNG",
}
_BRANDS: Final = {b"hei": "HEIC", b"hev": "HEIC", b"mif1": "HEIC", b"msf1": "HEIC", b"avi": "AVIF"}  # after "ftyp"
_JXL: Final = (b"\xff\x0a", b"\0\0\0\x0cJXL ")


def plugin_for(head: bytes) -> str | None:
    """The key in `PLUGINS` of the format that a file's first bytes are of."""
    if head.startswith(_JXL):
        return "JPEG XL"
    return "HEIC" if _brand(head) == "HEIC" else None


def register_plugin(name: str) -> bool:
    """Let Pillow read the format of that name in `PLUGINS`; False where its package is not installed."""
    plugin = PLUGINS[name]
    if not find_spec(plugin.module):
        return False
    module = import_module(plugin.module)
    if plugin.register:
        getattr(module, plugin.register)()
    return True


def what_it_is(head: bytes) -> str:
    """What a file is that Pillow does not know, by its first bytes, as "kind: what to do"; else ""."""
    if not head.strip(b"\0"):
        return (
            "no more than zeros at its beginning: copy or download it again"
            if head
            else "empty: copy or download it again"
        )
    if name := plugin_for(head):
        return f"{name}: install Pillow's plug-in for it, pip install {PLUGINS[name].package}"
    if brand := _brand(head):
        return "AVIF: pip install 'pillow>=11.3'" if brand == "AVIF" else "a film (MP4): save a frame as PNG"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return next((kind for start, kind in _KINDS.items() if text.startswith(start)), "")


def _brand(head: bytes) -> str:
    """The format of a file in ISO's container, which HEIC, AVIF and films share; "" for another file."""
    if head[4:8] != b"ftyp":
        return ""
    return next((name for start, name in _BRANDS.items() if head[8:].startswith(start)), "MP4")
