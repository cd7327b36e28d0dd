"""From whatever holds a picture to an array of its pixels, (H, W, 3).

A picture may be the path of a file, the bytes of one, an opened Pillow image, or an array of numbers. All four take the
same road: a file is the same picture as the Pillow image opened from it. (Transformers treats a *path* differently from
an opened image: it turns the picture by its EXIF tag and drops an alpha channel instead of laying it on white. One
picture should not give two answers, so here a path follows the rules of opened images.)

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
from aimv2_np.processing.formats import HEAD, plugin_for, register, what_it_is
from aimv2_np.shapes import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = NDArray  # (H, W, 3): uint8, or the numbers of the array that was given

MAX_PIXELS: Final = 178_956_970
"""Most pixels a picture may have, decoded or resized: Pillow's own limit against decompression bombs."""

# A file of some bytes must not cost a gigabyte: a larger picture than this has a byte for so many pixels at least. A
# blank page as an 8-bit PNG in colour, the flattest that cameras, screens and scanners make, has one for 344.
MAX_FLAT_PIXELS: Final = 2**22
PIXELS_PER_BYTE: Final = 500

MAX_NUMBER: Final = 1e9  # far beyond any colour, far below the end of float32

PICTURE_ERRORS: Final = (FileNotFoundError, ValueError, TypeError)
"""What `load_pixels` raises of a picture; all else that it raises is wrong with the machine."""

# Pillow hands these to other programs (Ghostscript; Windows' metafile player). A picture from a stranger must not.
_REFUSED_FORMATS: Final = {"EPS", "WMF"}
_WIDE_MODES: Final = {"I", "F", "I;16", "I;16B", "I;16L", "I;16N"}
_PREMULTIPLIED: Final = {"RGBa": "RGBA", "La": "LA"}  # colours that are multiplied by their alpha already
_CHANNELS: Final = (1, 3, 4)


def load_pixels(
    picture: Any,
    *,
    convert_rgb: bool = True,
    exif_transpose: bool = False,
    input_data_format: str | None = None,
    check_size: Callable[[int, int], object] = lambda height, width: None,
) -> Pixels:
    """One picture as an array (H, W, 3).

    Args:
        picture: a path, bytes, an open binary file, a Pillow image, or an array (H, W), (H, W, C) or (C, H, W) with C
            of 1, 3 or 4.
        convert_rgb: make three channels of whatever there is; transparency is laid on white. Otherwise the picture
            must have three channels already.
        exif_transpose: turn a file or Pillow image upright by its EXIF orientation tag.
        input_data_format: "channels_first" or "channels_last" for arrays where the shape leaves it open.
        check_size: called with height and width before a file is decoded; may raise ValueError.

    Raises:
        FileNotFoundError: the path names nothing.
        ValueError: not a picture, a damaged or oversized one, or an array that cannot be one.
        TypeError: something that is none of these.
        OSError, MemoryError: what is wrong with the machine and not with the picture: too many open files, no memory,
            a disk that does not answer.
    """
    from PIL import Image

    if hasattr(picture, "read") and not isinstance(picture, os.PathLike):
        picture = _content(picture)
    if isinstance(picture, str | os.PathLike | bytes | bytearray | memoryview):
        with _open(picture) as opened:
            return _pixels_of_image(opened, convert_rgb, exif_transpose, check_size)
    if isinstance(picture, Image.Image):
        return _pixels_of_image(picture, convert_rgb, exif_transpose, check_size)
    if hasattr(picture, "__array__"):
        return pixels_of_array(np.asarray(picture), convert_rgb=convert_rgb, input_data_format=input_data_format)
    raise TypeError(
        f"the picture is {a_type(picture)}; expected a path, bytes, a Pillow image or an array: "
        "open or convert it first"
    )


@contextmanager
def naming_picture(name: str) -> Iterator[None]:
    """What is wrong with a picture, one of `PICTURE_ERRORS`, is said behind its name."""
    try:
        yield
    except PICTURE_ERRORS as error:
        kind = next(kind for kind in PICTURE_ERRORS if isinstance(error, kind))
        raise kind(f"{name}: {error}") from error


def numbered_picture(index: int, picture: Any) -> str:
    """What to call a picture of several: its number, and its path if it is one."""
    return f"image {index}" + (f" ({str(picture)[:200]})" if isinstance(picture, str | os.PathLike) else "")


def _content(file: Any) -> bytes:
    """All of an open file, from its beginning where it can be wound back, as Pillow does it."""
    if file.seekable():
        file.seek(0)
    content = file.read()
    if not isinstance(content, bytes):
        raise TypeError("the picture is a file opened as text; expected a binary one: open(path, 'rb')")
    return content


def check_pixel_count(height: int, width: int, what: str) -> None:
    """Refuse sizes that nobody means, before memory is reserved for them."""
    if height < 1 or width < 1:
        raise ValueError(f"{what} is {width} x {height} pixels; expected at least one pixel each way")
    if height * width > MAX_PIXELS:
        raise ValueError(
            f"{what} is {width} x {height} pixels, {height * width:,} in all; expected at most {MAX_PIXELS:,}; "
            "crop it or make it smaller first"
        )


def _open(path: str | os.PathLike[str] | bytes | bytearray | memoryview) -> "Image":
    if isinstance(path, bytes | bytearray | memoryview):
        return _open_file(io.BytesIO(path), memoryview(path).nbytes)
    if isinstance(path, str) and path.startswith(("http://", "https://")):
        raise ValueError("the path is a web address; expected one of a file: download the picture first")
    try:
        file = Path(os.path.expanduser(path))  # noqa: PTH111 (Path.expanduser raises for "~nobody")
        try:
            status = file.stat()  # not `exists`, which takes some errors of the system for "no such file"
        except ValueError as error:  # a name with a null byte
            raise FileNotFoundError("there is no such file; check the path") from error
        if S_ISDIR(status.st_mode):
            raise ValueError("the path is a folder; expected one of a picture: name the files in it one by one")
        if not S_ISREG(status.st_mode):  # opening a pipe would wait for its other end
            raise ValueError("the path is neither a file nor a folder; expected a picture: copy it to a file")
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
        if not (name and register(name)):
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

    try:
        image = _identified(file)
    except PermissionError:
        raise
    except UnidentifiedImageError as error:
        kind, _, advice = what_it_is(_head(file)).partition(": ")
        if kind:
            raise ValueError(f"the content is {kind}; expected a picture that Pillow reads: {advice}") from error
        raise ValueError(
            "the content is not a picture in a format that Pillow knows (or its header is damaged); "
            "open it in a viewer and save it as PNG or JPEG"
        ) from error
    except Exception as error:  # decoders of hostile headers raise anything: SyntaxError, struct.error, KeyError, ...
        _pass_on(error)
        raise ValueError(
            f"the picture's header cannot be read ({plain(error)}); expected a sound picture file"
        ) from error
    if image.format in _REFUSED_FORMATS:
        image.close()
        raise ValueError(
            f"the picture is {image.format}, which is a program for another program to run; expected pixels: "
            "save it as PNG or JPEG"
        )
    pixels = image.width * image.height
    if MAX_FLAT_PIXELS < pixels <= MAX_PIXELS and pixels > PIXELS_PER_BYTE * size:
        image.close()
        raise ValueError(
            f"the picture has {pixels:,} pixels in a file of {size:,} bytes; expected a byte for every "
            f"{PIXELS_PER_BYTE} at least: it may be made to exhaust memory, open it with Pillow and pass that if you "
            "trust it"
        )
    return image


def _pass_on(error: Exception) -> None:
    """Raise an error of the system as it is; Pillow's codecs say in words that they got no memory."""
    if is_of_the_system(error):
        raise error
    if isinstance(error, OSError) and str(error).startswith("out of memory error"):
        raise MemoryError(f"no memory to decode the picture ({error})") from error


def _pixels_of_image(
    image: "Image", convert_rgb: bool, exif_transpose: bool, check_size: Callable[[int, int], object]
) -> Pixels:
    check_pixel_count(image.height, image.width, "the picture")
    check_size(image.height, image.width)
    if _is_closed(image):
        raise ValueError("the image is closed; expected an open one: pass it before closing it, or pass its path")
    try:
        image.load()
        if exif_transpose:
            from PIL import ImageOps

            image = ImageOps.exif_transpose(image)
    except Exception as error:  # truncated data, broken EXIF
        _pass_on(error)
        raise ValueError(
            f"the picture cannot be decoded ({plain(error)}); expected an undamaged file; fetch or save it again"
        ) from error
    if image.mode == "F" and not np.isfinite(np.asarray(image)).all():
        raise ValueError("a pixel is NaN or infinite; expected colours: look where the picture comes from")
    try:
        pixels = np.asarray(rgb_on_white(image) if convert_rgb else image)
    except Exception as error:  # a palette of the wrong size; modes that this Pillow cannot convert
        _pass_on(error)
        raise ValueError(
            f"the picture has mode {image.mode}, of which no colours can be made ({plain(error)}); expected one that "
            "Pillow converts to RGB: convert it first"
        ) from error
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"the picture's mode is {image.mode}; expected three channels: leave do_convert_rgb on")
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
    pictures white, so a warning says it.
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
                f"the picture has mode {image.mode} and values up to {highest:g}; all above 255 become white, as in "
                "Transformers. Scale it to 8 bits first if that is not what you want",
                stacklevel=2,
            )
    return image.convert("RGB")


def pixels_of_array(array: NDArray, *, convert_rgb: bool = True, input_data_format: str | None = None) -> Pixels:
    """An array of numbers as (H, W, 3), its dtype kept.

    Where both the first and the last axis could be channels, as in (1, 700, 3), the first is taken, as in Transformers,
    with a warning; say `input_data_format` to decide. A plain (H, W) array is grey (Transformers refuses it).
    """
    if array.dtype.kind not in "uif":
        raise ValueError(f"the array's dtype is {array.dtype}; expected integers or floats: convert it, e.g. to uint8")
    if array.ndim not in (2, 3):
        raise ValueError(
            f"the array's shape is {array.shape}; expected (height, width, channels), (channels, height, width) or "
            "(height, width)"
        )
    if array.ndim == 2:
        array = array[:, :, None]
    elif _channels_come_first(array.shape, input_data_format):
        array = array.transpose(1, 2, 0)  # (C, H, W) -> (H, W, C)
    check_pixel_count(array.shape[0], array.shape[1], "the array")
    if array.dtype.kind == "f" and not -MAX_NUMBER <= float(array.min()) <= float(array.max()) <= MAX_NUMBER:
        raise ValueError(
            f"a pixel is NaN, infinite or beyond {MAX_NUMBER:.0e}; expected colours: look where it comes from"
        )
    if not convert_rgb and array.shape[2] != 3:
        raise ValueError(f"the array has {array.shape[2]} channels; expected three: leave do_convert_rgb on")
    if array.shape[2] == 1:
        return np.broadcast_to(array, (*array.shape[:2], 3))
    return _array_on_white(array) if array.shape[2] == 4 else array


def _channels_come_first(shape: tuple[int, ...], input_data_format: str | None) -> bool:
    first, last = shape[0] in _CHANNELS, shape[2] in _CHANNELS
    if input_data_format not in (None, "channels_first", "channels_last"):
        raise ValueError(
            f"input_data_format is {input_data_format!r}; expected 'channels_first', 'channels_last' or None"
        )
    if input_data_format is not None:
        first, last = input_data_format == "channels_first" and first, input_data_format == "channels_last" and last
    if not first and not last:
        raise ValueError(
            f"the array's shape is {shape}; expected 1, 3 or 4 channels on the first or the last axis"
            + (f" ({input_data_format} was asked for)" if input_data_format else "")
        )
    if first and last:
        warnings.warn(
            f"an array of shape {shape} may have its channels first or last; the first axis is taken, as in "
            "Transformers. Say input_data_format='channels_first' or 'channels_last'",
            stacklevel=2,
        )
    return first


def _array_on_white(array: NDArray) -> NDArray:
    """(H, W, 4) → (H, W, 3): colour · alpha + white · (1 - alpha), in float64 and rounded, as Transformers does it."""
    white = 255 if array.dtype.kind in "ui" else 1.0
    if array.min() < 0 or array.max() > white:
        raise ValueError(
            f"the array has four channels of {array.dtype} from {array.min()} to {array.max()}; expected 0 to "
            f"{white:g}: scale it, e.g. to uint8"
        )
    alpha = array[..., 3:] / white
    laid: NDArray = alpha * array[..., :3] + (1 - alpha) * white
    return (np.round(laid) if white == 255 else laid).astype(array.dtype)
