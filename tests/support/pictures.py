"""Pictures for tests: drawn from a seed, with what photographs have: smooth light, hard edges, texture, noise."""

import io

import numpy as np
from PIL import Image


def photo_array(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(height, width, 3) uint8: a gradient of light, a few bright and dark shapes, ripples and grain."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    picture = np.empty((height, width, 3))
    for channel in range(3):
        a, b, c, d, e = random.uniform(-1, 1, 5)
        picture[..., channel] = 128 + 70 * (a * x + b * y) + 25 * np.sin(40 * c * x + 30 * d * y + e)
    for _ in range(4):
        top, left = random.uniform(-0.2, 0.9, 2)
        inside = (abs(y - top) < random.uniform(0.02, 0.3)) & (abs(x - left) < random.uniform(0.02, 0.3))
        picture[inside] = picture[inside] * 0.3 + random.uniform(0, 255, 3) * 0.7
    picture += random.normal(0, 6, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)


def photo(height: int, width: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """A Pillow image of one of the modes that files come in; those with alpha have every degree of it."""
    rgb = Image.fromarray(photo_array(height, width, seed))
    alpha = Image.fromarray(photo_array(height, width, seed + 1)[..., 0])
    if mode == "P+transparency":
        image = rgb.quantize(16)
        image.info["transparency"] = bytes([0, 60, 128, 255] * 4)
        return image
    if mode == "L+transparency":
        image = rgb.convert("L")
        image.info["transparency"] = image.getpixel((0, 0))
        return image
    if mode == "RGB+transparency":
        rgb.info["transparency"] = rgb.getpixel((0, 0))
        return rgb
    if mode.startswith("I;16"):
        grey = np.asarray(rgb.convert("L"), dtype=np.uint16)
        return Image.frombytes(mode, rgb.size, grey.astype(">u2" if mode.endswith("B") else "<u2").tobytes())
    if mode == "PA":
        image = rgb.quantize(16).convert("PA")
    elif mode in ("LA", "RGBA"):
        image = rgb.convert(mode)
    else:
        return rgb.convert(mode)
    image.putalpha(alpha)
    return image


MODES = (
    "RGB", "L", "LA", "P", "PA", "P+transparency", "L+transparency", "RGB+transparency", "RGBA", "CMYK", "YCbCr", "HSV",
    "I", "F", "I;16", "I;16B", "1",
)  # fmt: skip


def as_bytes(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """The image as a file's content."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def sideways_jpeg(height: int, width: int, orientation: int = 6, seed: int = 0) -> bytes:
    """A JPEG with an EXIF orientation tag, as cameras held upright write it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return as_bytes(photo(height, width, seed=seed), "JPEG", exif=exif)
