"""From whatever holds an image to an array of its pixels, (H, W, 3).

An image may be the path of a file, the bytes of one, an opened Pillow image, or an array of numbers. All four take the
same road: a file is the same image as the Pillow image opened from it. (Transformers treats a *path* differently from
an opened image: it turns the image by its EXIF tag and drops an alpha channel instead of laying it on white. One
image should not give two answers, so here a path follows the rules of opened images.)

Nothing is decoded before the size that the file's header claims has been checked.
"""

import io
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import ENOTDIR
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from aimv2_np.errors import a_type, is_of_the_system, plain
from aimv2_np.processing.arrays import MAX_PIXELS, Pixels, check_pixel_count, pixels_of_array
from aimv2_np.processing.formats import HEAD, plugin_for, register_plugin, what_it_is

if TYPE_CHECKING:
    from PIL.Image import Image


# A file of some bytes must not cost a gigabyte: a larger image than this has a byte for so many pixels at least. A
# blank page as an 8-bit PNG in colour, the flattest that cameras, screens and scanners make, has one for 344.
MAX_FLAT_PIXELS: Final = 2**22
PIXELS_PER_BYTE: Final = 500

IMAGE_ERRORS: Final = (FileNotFoundError, ValueError, TypeError)
"""What `load_pixels` raises of an image; all else that it raises is wrong with the machine."""

# Pillow hands these to other programs (Ghostscript; Windows' metafile player). An image from a stranger must not.
_REFUSED_FORMATS: Final = {"EPS", "WMF"}
_WIDE_MODES: Final = {"I", "F", "I;16", "I;16B", "I;16L", "I;16N"}
_PREMULTIPLIED: Final = {"RGBa": "RGBA", "La": "LA"}  # colours that are multiplied by their alpha already


def load_pixels(
    image: Any,
    *,
    convert_rgb: bool = True,
    exif_transpose: bool = False,
    input_data_format: str | None = None,
    check_size: Callable[[int, int], object] = lambda height, width: None,
) -> Pixels:
    """One image as an array (H, W, 3).

    Args:
        image: a path, bytes, an open binary file, a Pillow image, or an array (H, W), (H, W, C) or (C, H, W) with C
            of 1, 3 or 4.
        convert_rgb: make three channels of whatever there is; transparency is laid on white. Otherwise the image
            must have three channels already.
        exif_transpose: turn a file or Pillow image upright by its EXIF orientation tag.
        input_data_format: "channels_first" or "channels_last" for arrays where the shape leaves it open.
        check_size: called with height and width before a file is decoded; may raise ValueError.

    Raises:
        FileNotFoundError: the path names nothing.
        ValueError: not an image, a damaged or oversized one, or an array that cannot be one.
        TypeError: something that is none of these.
        OSError, MemoryError: what is wrong with the machine and not with the image: too many open files, no memory,
            a disk that does not answer.
    """
    from PIL import Image

    if hasattr(image, "read") and not isinstance(image, os.PathLike):
        image = _content(image)
    if isinstance(image, str | os.PathLike | bytes | bytearray | memoryview):
        with _open(image) as opened:
            return _pixels_of_image(opened, convert_rgb, exif_transpose, check_size)
    if isinstance(image, Image.Image):
        return _pixels_of_image(image, convert_rgb, exif_transpose, check_size)
    if hasattr(image, "__array__"):
        return pixels_of_array(np.asarray(image), convert_rgb=convert_rgb, input_data_format=input_data_format)
    raise TypeError(
        f"the image is {a_type(image)}; expected a path, bytes, a Pillow image or an array: open or convert it first"
    )


@contextmanager
def naming_image(name: str) -> Iterator[None]:
    """What is wrong with an image, one of `IMAGE_ERRORS`, is said behind its name."""
    try:
        yield
    except IMAGE_ERRORS as error:
        kind = next(kind for kind in IMAGE_ERRORS if isinstance(error, kind))
        raise kind(f"{name}: {error}") from error


def in_one_line(error: Exception) -> str:
    """What is wrong with an image, for a line of a list of many."""
    return " ".join(str(error).split())


def numbered_image(index: int, image: Any) -> str:
    """What to call an image of several: its number, and its path if it is one."""
    return f"image {index}" + (f" ({str(image)[:200]})" if isinstance(image, str | os.PathLike) else "")


def _content(file: Any) -> bytes:
    """All of an open file, from its beginning where it can be wound back, as Pillow does it."""
    if file.seekable():
        file.seek(0)
    content = file.read()
    if not isinstance(content, bytes):
        raise TypeError("the image is a file opened as text; expected a binary one: open(path, 'rb')")
    return content


def _open(path: str | os.PathLike[str] | bytes | bytearray | memoryview) -> "Image":
    if isinstance(path, bytes | bytearray | memoryview):
        return _open_file(io.BytesIO(path), memoryview(path).nbytes)
    if isinstance(path, str) and path.startswith(("http://", "https://")):
        raise ValueError("the path is a web address; expected one of a file: download the image first")
    try:
        file = Path(os.path.expanduser(path))  # noqa: PTH111 (Path.expanduser raises for "~nobody")
        try:
            status = file.stat()  # not `exists`, which takes some errors of the system for "no such file"
        except ValueError as error:  # a name with a null byte
            raise FileNotFoundError("there is no such file; check the path") from error
        if S_ISDIR(status.st_mode):
            raise ValueError("the path is a folder; expected one of an image: name the files in it one by one")
        if not S_ISREG(status.st_mode):  # opening a pipe would wait for its other end
            raise ValueError("the path is neither a file nor a folder; expected an image: copy it to a file")
        return _open_file(file, status.st_size)
    except OSError as error:
        if is_of_the_system(error):
            raise
        if isinstance(error, FileNotFoundError) or error.errno == ENOTDIR:
            raise FileNotFoundError("there is no such file; check the path") from error
        raise ValueError(f"the file cannot be read: {error.strerror or error}") from error


def _identified(file: Path | io.BytesIO) -> "Image":
    """What Pillow makes of the file, by a plug-in where it needs one that is installed."""
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(file)
    except UnidentifiedImageError:
        name = plugin_for(_head(file))
        if not (name and register_plugin(name)):
            raise
        return Image.open(file)


def _head(file: Path | io.BytesIO) -> bytes:
    if isinstance(file, io.BytesIO):
        return file.getvalue()[:HEAD]
    with file.open("rb") as opened:
        return opened.read(HEAD)


def _open_file(file: Path | io.BytesIO, size: int) -> "Image":
    """Read the header only of a file of `size` bytes, and check what it claims."""
    from PIL import UnidentifiedImageError

    problem = "the image's header cannot be read ({}); expected a sound image file"
    try:
        with _decoding(problem, PermissionError, UnidentifiedImageError):
            image = _identified(file)
    except UnidentifiedImageError as error:
        kind, _, advice = what_it_is(_head(file)).partition(": ")
        if kind:
            raise ValueError(f"the content is {kind}; expected an image that Pillow reads: {advice}") from error
        raise ValueError(
            "the content is not an image in a format that Pillow knows (or its header is damaged); "
            "open it in a viewer and save it as PNG or JPEG"
        ) from error
    if image.format in _REFUSED_FORMATS:
        image.close()
        raise ValueError(
            f"the image is {image.format}, which is a program for another program to run; expected pixels: "
            "save it as PNG or JPEG"
        )
    pixels = image.width * image.height
    if MAX_FLAT_PIXELS < pixels <= MAX_PIXELS and pixels > PIXELS_PER_BYTE * size:
        image.close()
        raise ValueError(
            f"the image has {pixels:,} pixels in a file of {size:,} bytes; expected a byte for every "
            f"{PIXELS_PER_BYTE} at least: it may be made to exhaust memory, open it with Pillow and pass that if you "
            "trust it"
        )
    return image


@contextmanager
def _decoding(problem: str, *known: type[Exception]) -> Iterator[None]:
    """What Pillow raises of a hostile file, which is anything, as a ValueError: `problem` with its words in the `{}`.

    Raised as they are: errors that are `known`, and those of the system; some codecs tell a lack of memory in words.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, known) or is_of_the_system(error):
            raise
        if isinstance(error, OSError) and str(error).startswith("out of memory error"):
            raise MemoryError(f"no memory to decode the image ({error})") from error
        raise ValueError(problem.format(plain(error))) from error


def _pixels_of_image(
    image: "Image", convert_rgb: bool, exif_transpose: bool, check_size: Callable[[int, int], object]
) -> Pixels:
    check_pixel_count(image.height, image.width, "the image")
    check_size(image.height, image.width)
    if _is_closed(image):
        raise ValueError("the image is closed; expected an open one: pass it before closing it, or pass its path")
    with _decoding("the image cannot be decoded ({}); expected an undamaged file; fetch or save it again"):
        image.load()
        if exif_transpose:
            from PIL import ImageOps

            image = ImageOps.exif_transpose(image)
    if image.mode == "F" and not np.isfinite(np.asarray(image)).all():
        raise ValueError("a pixel is NaN or infinite; expected colours: look where the image comes from")
    with _decoding(
        f"the image has mode {image.mode}, of which no colours can be made ({{}}); expected one that Pillow converts "
        "to RGB: convert it first"
    ):
        pixels = np.asarray(rgb_on_white(image) if convert_rgb else image)
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"the image's mode is {image.mode}; expected three channels: leave do_convert_rgb on")
    return pixels


def _is_closed(image: "Image") -> bool:
    """Whether an image has neither pixels nor a file to read them from."""
    file = getattr(image, "fp", None)
    if file is not None and not getattr(file, "closed", False):
        return False
    try:
        return image.im is None or image.im.size is None  # older Pillow: an object whose attributes all raise
    except (ValueError, AssertionError):  # what Pillow says of a closed image, and of one that was never read
        return True


def rgb_on_white(image: "Image") -> "Image":
    """Three channels of whatever mode; transparency is laid on white.

    Modes wider than 8 bits (I;16, I, F) are cut off at 255 by Pillow, and so by Transformers. That turns most 16-bit
    images white, so a warning says it.
    """
    from PIL import Image

    if image.mode in _PREMULTIPLIED:
        image = image.convert(_PREMULTIPLIED[image.mode])
    if "A" in image.getbands() or image.info.get("transparency") is not None:
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    if image.mode in _WIDE_MODES:
        highest = np.asarray(image).max()
        if highest > 255:
            warnings.warn(
                f"the image has mode {image.mode} and values up to {highest:g}; all above 255 become white, as in "
                "Transformers. Scale it to 8 bits first if that is not what you want",
                stacklevel=2,
            )
    return image.convert("RGB")
