"""Pictures: damaged bytes of the usual formats, headers that claim any size, and bombs."""

import io
import struct
import warnings
import zlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.support.hostile.mutations import cases, damaged_bytes, few
from tests.support.hostile.samples import FORMATS, picture
from tests.support.hostile.watch import Link, read

MAGIC = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff\xe0",
    b"GIF89a",
    b"RIFF\x40\x00\x00\x00WEBPVP8 ",
    b"RIFF\x40\x00\x00\x00WEBPVP8L",
    b"BM",
    b"II*\x00\x08\x00\x00\x00",
    b"MM\x00*\x00\x00\x00\x08",
    b"\x00\x00\x01\x00\x01\x00",
    b"P6 4 4 255\n",
    b"P3\n9999999999 1\n",
    b"8BPS\x00\x01",
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    b"\xd7\xcd\xc6\x9a",
    b"icns\x00\x00\x00\x40",
    b"DDS \x7c\x00\x00\x00",
    b"\x00\x00\x00\x0cjP  \r\n\x87\n",
    b"\x00\x00\x00 ftypavif",
    b"\x0a\x05\x01\x08",
    b"qoif",
    b"#define x_width 9\n",
    b"/* XPM */\n",
    b"SIMPLE  =",
    b"\x59\xa6\x6a\x95",
    b"\x01\xda\x01\x01",
    b"BLP2",
    b"Image type: x\r\n",
    b"GIMP",
    b"FLC",
    b"\x00" * 12,
    b"\xb1\x68\xde\x3a",
)
kinds = st.sampled_from([(kind, mode) for kind, (modes, _) in FORMATS.items() for mode in modes])
usual = st.sampled_from([(kind, mode) for kind in ("PNG", "JPEG", "WEBP", "GIF") for mode in FORMATS[kind][0]])
sides = st.sampled_from([0, 1, 2, 16, 1000, 2**14, 2**16 - 1, 2**20, 2**31 - 1, 2**31, 2**32 - 1])


def check(content):
    """Pixels are those that Pillow gives, for what is not laid on white."""
    outcome = read("picture", {"picture": content})
    if outcome.error is not None:
        return
    shape, pixels, processed = outcome.value
    assert processed == (1, 3, 224, 224)
    with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(content)) as image:
        image.load()
        assert shape == (image.height, image.width, 3)
        if image.mode in ("RGB", "L") and "transparency" not in image.info:
            assert np.asarray(image.convert("RGB")).tobytes() == pixels


def sound(kind, mode, height=16, width=12):
    return picture(kind, mode, height, width)


@cases(160)
@given(usual.flatmap(lambda it: damaged_bytes(sound(*it))))
def test_damaged_pictures_of_the_usual_formats(content):
    check(content)


@cases(60)
@given(kinds.flatmap(lambda it: damaged_bytes(sound(*it))))
def test_damaged_pictures_of_all_formats(content):
    check(content)


@cases(40)
@given(st.sampled_from(MAGIC), st.binary(max_size=120))
def test_a_known_beginning_and_nonsense(magic, content):
    check(magic + content)


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width, height, depth, colours, rows, *more):
    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    data = zlib.compress(bytes(rows), 9)
    return b"\x89PNG\r\n\x1a\n" + b"".join([chunk(b"IHDR", header), *more, chunk(b"IDAT", data), chunk(b"IEND", b"")])


texts = st.sampled_from(
    [b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"tRNS", b"PLTE", b"gAMA", b"acTL", b"fcTL", b"fdAT"]
)
bodies = st.one_of(
    st.binary(max_size=30),
    st.just(b"k\0\0" + zlib.compress(bytes(8 * 2**20), 9)),
    st.just(b"k\0\1\0\0\0" + zlib.compress(bytes(8 * 2**20), 9)),
)


@cases(80)
@given(
    sides,
    sides,
    st.sampled_from([1, 2, 4, 8, 16, 3]),
    st.sampled_from([0, 2, 3, 4, 6, 1]),
    st.integers(0, 3000),
    st.lists(st.builds(chunk, texts, bodies), max_size=2),
)
def test_png_headers_of_any_size(width, height, depth, colours, rows, more):
    check(png(width, height, depth, colours, rows, *more))


@cases(40)
@given(sides, sides, st.sampled_from(["GIF", "BMP", "WEBP", "JPEG", "TIFF"]))
def test_other_headers_of_any_size(width, height, kind):
    content = bytearray(sound(kind, "L" if kind in ("GIF", "BMP", "JPEG", "TIFF") else "RGB"))
    if kind == "GIF":
        content[6:10] = struct.pack("<HH", width % 2**16, height % 2**16)
    elif kind == "BMP":
        content[18:26] = struct.pack("<II", width, height)
    elif kind == "JPEG":
        at = content.index(b"\xff\xc0") + 5
        content[at : at + 4] = struct.pack(">HH", height % 2**16, width % 2**16)
    elif kind == "WEBP":
        at = content.index(b"VP8X") + 12
        content[at : at + 6] = (width % 2**24).to_bytes(3, "little") + (height % 2**24).to_bytes(3, "little")
    else:
        content = bytearray(
            content.replace(struct.pack("<HHIHH", 256, 3, 1, 12, 0), struct.pack("<HHII", 256, 4, 1, width))
        )
    check(bytes(content))


def flat(kind, width, height, mode="L"):
    file = io.BytesIO()
    Image.new(mode, (width, height)).save(file, kind, **({"compression": "tiff_deflate"} if kind == "TIFF" else {}))
    return file.getvalue()


@few(10)
@given(
    st.sampled_from(["PNG", "GIF", "WEBP", "TIFF"]),
    st.sampled_from([2000, 4000, 8000]),
    st.sampled_from(["1", "L", "RGB", "RGBA"]),
)
def test_bombs(kind, side, mode):
    side = min(side, 2000) if kind == "WEBP" or mode in ("RGB", "RGBA") else side
    check(flat(kind, side, side, mode if kind != "GIF" else "L"))


def test_a_link_may_lead_anywhere_because_the_user_named_it():
    outcome = read("picture", {"picture": Link("real"), "real": sound("PNG", "RGB")})
    assert outcome.error is None
