import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from aimv2_np.processing import Aimv2ImageProcessor, loading
from aimv2_np.processing.loading import load_pixels
from tests.support.pictures import MODES, as_bytes, photo, photo_array, sideways_jpeg


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims to be enormous and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_path_bytes_image_and_array_are_one_picture(tmp_path):
    pixels = photo_array(13, 17)
    image = Image.fromarray(pixels)
    data = as_bytes(image)
    path = tmp_path / "picture.png"
    path.write_bytes(data)
    for form in (path, str(path), data, bytearray(data), memoryview(data), image, pixels, pixels.transpose(2, 0, 1)):
        np.testing.assert_array_equal(load_pixels(form), pixels)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_becomes_three_channels(mode):
    pixels = load_pixels(photo(7, 9, mode))
    assert pixels.shape == (7, 9, 3)
    assert pixels.dtype == np.uint8
    assert len(np.unique(pixels)) > 1


def test_transparency_is_laid_on_white():
    clear = Image.new("RGBA", (2, 1), (10, 20, 30, 0))
    clear.putpixel((1, 0), (10, 20, 30, 255))
    array = np.asarray(clear)
    assert load_pixels(clear)[0].tolist() == [[255, 255, 255], [10, 20, 30]]
    assert load_pixels(array, input_data_format="channels_last")[0].tolist() == [[255, 255, 255], [10, 20, 30]]
    assert load_pixels(array / 255.0, input_data_format="channels_last")[0, 0].tolist() == [1, 1, 1]


def test_wide_pictures_are_cut_off_with_a_warning():
    wide = Image.fromarray(np.array([[3, 255, 256, 60000]], dtype=np.uint16))
    with pytest.warns(UserWarning, match="values up to 60000; all above 255 become white"):
        pixels = load_pixels(wide)
    assert pixels[0, :, 0].tolist() == [3, 255, 255, 255]


def test_orientation_is_applied_on_request_only():
    data = sideways_jpeg(20, 30)
    assert load_pixels(data).shape == (20, 30, 3)
    upright = load_pixels(data, exif_transpose=True)
    assert upright.shape == (30, 20, 3)
    np.testing.assert_array_equal(upright, np.rot90(load_pixels(data), -1))


def test_the_callers_image_is_left_alone():
    image = photo(5, 6, "P+transparency")
    before = image.copy()
    load_pixels(image, exif_transpose=True)
    assert image.mode == before.mode
    assert image.tobytes() == before.tobytes()


def test_bombs_are_refused_by_their_header(monkeypatch):
    def explode(*args: object) -> None:
        raise AssertionError("the image was decoded")

    monkeypatch.setattr(Image.Image, "load", explode)
    with pytest.raises(ValueError, match="896000000 x 224"):
        Aimv2ImageProcessor(do_center_crop=False)(png_header(4_000_000, 1))
    with pytest.raises(ValueError, match="decompression bomb"):
        load_pixels(png_header(50_000, 50_000))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # as programs do that handle large pictures
    with pytest.raises(ValueError, match="50000 x 50000 pixels, 2,500,000,000 in all"):
        load_pixels(png_header(50_000, 50_000))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_truncated_files(kind):
    data = as_bytes(photo(60, 60), kind)
    for length in (0, 1, 10, len(data) // 2):
        with pytest.raises(ValueError, match=r"expected|Pillow knows"):
            load_pixels(data[:length])


@given(st.binary(max_size=300))
def test_random_bytes_are_no_picture(data):
    with pytest.raises(ValueError, match=r"expected|Pillow knows"):
        load_pixels(data)


@given(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "ICO", "PPM", "TGA"]), st.data())
def test_damaged_files_give_a_picture_or_a_value_error(kind, data):
    content = bytearray(as_bytes(photo(24, 24), kind))
    for _ in range(4):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        pixels = load_pixels(bytes(content), exif_transpose=True)
    except ValueError:
        return
    assert pixels.shape[2] == 3


def test_postscript_is_not_run():
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    with pytest.raises(ValueError, match="is EPS"):
        load_pixels(program)


def test_paths_that_name_no_picture(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_pixels(tmp_path / "missing.png")
    with pytest.raises(FileNotFoundError):
        load_pixels("bad\0name.png")
    with pytest.raises(ValueError, match="is a folder"):
        load_pixels(tmp_path)
    with pytest.raises(ValueError, match="web address"):
        load_pixels("https://example.com/cat.png")
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    with pytest.raises(ValueError, match="not an image"):
        load_pixels(text)


@pytest.mark.parametrize("thing", [None, 3, object(), {"a": 1}])
def test_other_things(thing):
    with pytest.raises(TypeError, match="expected a path, bytes, a Pillow image or an array"):
        load_pixels(thing)


def test_empty_images_and_missing_conversion():
    with pytest.raises(ValueError, match="0 x 4 pixels"):
        load_pixels(Image.new("RGB", (0, 4)))
    with pytest.raises(ValueError, match="leave do_convert_rgb on"):
        load_pixels(photo(3, 3, "L"), convert_rgb=False)
    with pytest.raises(ValueError, match="leave do_convert_rgb on"):
        load_pixels(np.zeros((7, 5, 4), dtype=np.uint8), convert_rgb=False)
    assert load_pixels(photo(3, 4, "YCbCr"), convert_rgb=False).shape == (3, 4, 3)


def test_the_file_is_closed(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(as_bytes(photo(4, 4)))
    load_pixels(path)  # an open file would be a ResourceWarning, an error under the tests' settings
    Path(path).unlink()
    assert loading.MAX_PIXELS > 100_000_000  # the largest cameras' pictures pass


def test_many_pixels_in_few_bytes_are_refused(tmp_path):
    """A GIF of fifty bytes may claim 65535 x 65535 pixels, a PNG of 2 KB hold 16 million."""
    content = as_bytes(Image.new("1", (4000, 4000)))
    (tmp_path / "a.png").write_bytes(content)
    for picture in (content, bytearray(content), tmp_path / "a.png"):
        with pytest.raises(ValueError, match="16,000,000 pixels in a file of"):
            load_pixels(picture)
    assert load_pixels(Image.open(tmp_path / "a.png")).shape == (4000, 4000, 3)  # trusted by whoever opened it
    assert load_pixels(as_bytes(Image.new("RGB", (2048, 2049)))).shape == (2049, 2048, 3)  # a blank page


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="neither a file nor a folder"):
        load_pixels(tmp_path / "pipe")


@pytest.mark.parametrize(("mode", "plain"), [("RGBa", "RGBA"), ("La", "LA")])
def test_premultiplied_alpha_is_laid_on_white_too(mode, plain):
    image = photo(9, 7, plain)
    image.putalpha(image.getchannel("A").point(lambda value: 255 if value > 127 else 0))  # such come back unrounded
    np.testing.assert_array_equal(load_pixels(image.convert(mode)), load_pixels(image))


def test_closed_images_are_called_so(tmp_path):
    photo(4, 4).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as left:
        pass
    loaded = Image.open(tmp_path / "a.png")
    loaded.load()
    loaded.close()
    made = photo(4, 4)
    made.close()
    with (tmp_path / "a.png").open("rb") as file:
        behind = Image.open(file)
    for image in (left, loaded, made, behind):
        with pytest.raises(ValueError, match="the image is closed; expected an open one"):
            load_pixels(image)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_float_pictures_that_are_not_finite(value):
    pixels = np.zeros((4, 4), np.float32)
    pixels[1, 2] = value
    with pytest.raises(ValueError, match=r"^a pixel is NaN or infinite; expected colours"):
        load_pixels(as_bytes(Image.fromarray(pixels), "TIFF"))
