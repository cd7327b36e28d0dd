"""Sound files, small ones, for the fuzzing to damage; and safetensors files taken apart and put together again."""

import io
import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from aimv2_np.recording import record
from tests.support.hostile.mutations import emit
from tests.support.models import both_config, both_model

FIXTURES = Path(__file__).parents[2] / "fixtures"
TINY = Path(__file__).parents[3] / "aimv2_np" / "data" / "aimv2-tiny-shapes"


def taken_apart(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The header and the data of a safetensors file."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def put_together(header: Any, data: bytes, length: int | None = None) -> bytes:
    """A safetensors file of any header, with a true field for its length or with `length`."""
    text = emit(header).encode("utf-8", "surrogatepass")
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


@cache
def checkpoint() -> dict[str, bytes]:
    """A two-tower model in Transformers' layout: config.json and model.safetensors."""
    return _saved()


@cache
def sharded() -> dict[str, bytes]:
    """The same model in two or more files with an index."""
    return _saved(max_shard_size=20_000)


def _saved(**options: Any) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as place:
        both_model().save_pretrained(place, **options)
        return {path.name: path.read_bytes() for path in sorted(Path(place).iterdir())}


@cache
def recordings() -> tuple[bytes, bytes, bytes]:
    """A recording of arrays, one of statistics, and one of parts and half-precision arrays beside statistics."""
    vision = both_config().vision_config
    rng = np.random.default_rng(0)
    inputs = {
        "pixel_values": rng.standard_normal((1, 3, *vision.image_shape)).astype(np.float32),
        "input_ids": np.array([[3, 5, 39, 39]]),
        "attention_mask": np.array([[1, 1, 1, 0]]),
    }
    include = ("*embeddings", "*layers.1.ffn", "*_embeds", "logits_per_image")
    kinds: tuple[dict[str, Any], ...] = (
        {},
        {"statistics": True, "whole": ["*_embeds"]},
        {"slices": {"*ffn": "0, :2, ::4", "*embeddings": ":, 0"}},
    )
    found = []
    with tempfile.TemporaryDirectory() as place:
        for number, options in enumerate(kinds):
            path = Path(place) / f"{number}.safetensors"
            record(both_model(), inputs, path, include, **options)
            found.append(path.read_bytes())
    return found[0], found[1], found[2]


# Format → the modes it can hold, and how to save it.
FORMATS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "PNG": (("RGB", "L", "RGBA", "P", "1", "LA", "I;16"), {}),
    "JPEG": (("RGB", "L", "CMYK"), {"quality": 90}),
    "WEBP": (("RGB", "RGBA"), {"lossless": True}),
    "GIF": (("P", "L"), {}),
    "BMP": (("RGB", "L", "P"), {}),
    "TIFF": (("RGB", "L", "RGBA", "F", "I;16"), {"compression": "tiff_lzw"}),
    "ICO": (("RGBA",), {"sizes": [(8, 8)]}),
    "PPM": (("RGB", "L"), {}),
}


@cache
def picture(kind: str, mode: str, height: int, width: int) -> bytes:
    """A picture of a gradient and some noise, with EXIF and a second frame where the format takes them."""
    noise = np.random.default_rng(0).integers(0, 40, (height, width, 3), dtype=np.uint8)
    ramp = np.add.outer(np.arange(height), np.arange(width))[..., None].astype(np.uint8)
    image = Image.fromarray(noise + ramp).convert("L" if mode in ("F", "I;16") else "RGB").convert(mode)
    options = dict(FORMATS[kind][1])
    if kind in ("PNG", "JPEG", "WEBP"):
        exif = Image.Exif()
        exif[0x0112] = 6  # on its side
        options["exif"] = exif
    if kind == "GIF":
        options |= {"save_all": True, "append_images": [image.rotate(90)], "loop": 0}
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
