"""Record what Transformers' Pillow back end makes of a few pictures, into tests/fixtures/processing/.

Run from the root of the repository, where Transformers is installed: python -m tests.tools.record_processing
Each case holds a picture file (its bytes), the settings, and the resulting pixel_values.
"""

import io
import json

import numpy as np
import PIL
import transformers
from PIL import Image
from safetensors.numpy import save_file
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from tests.support.paths import FIXTURES
from tests.support.pictures import as_bytes, photo

# 40 × 40: large enough for every step to show, small enough for the repository
SMALL = {"size": {"shortest_edge": 40}, "crop_size": {"height": 40, "width": 40}}
NATIVE = {"do_resize": False, "do_center_crop": False}
UNCROPPED = {"do_center_crop": False}
# name, picture, file format, settings
CASES = [
    ("landscape", photo(97, 143, seed=1), "PNG", SMALL),
    ("portrait", photo(151, 83, seed=2), "PNG", SMALL),
    ("square", photo(56, 56, seed=3), "PNG", SMALL),
    ("tiny", photo(3, 2, seed=4), "PNG", SMALL),
    ("one_pixel_high", photo(1, 61, seed=5), "PNG", SMALL),
    ("crop_larger_than_picture", photo(40, 31, seed=6), "PNG", {"do_resize": False, "crop_size": [45, 20]}),
    ("native", photo(33, 47, seed=7), "PNG", NATIVE),
    ("bilinear_to_both_edges", photo(60, 77, seed=8), "PNG", UNCROPPED | {"size": [40, 30], "resample": 2}),
    ("longest_edge", photo(30, 90, seed=9), "PNG", UNCROPPED | {"size": {"shortest_edge": 30, "longest_edge": 48}}),
    ("grey", photo(40, 50, "L", 10), "PNG", SMALL | {"do_normalize": False}),
    ("grey_alpha", photo(40, 50, "LA", 11), "PNG", SMALL),
    ("palette_transparency", photo(40, 50, "P+transparency", 12), "PNG", SMALL),
    ("rgba", photo(40, 50, "RGBA", 13), "PNG", SMALL),
    ("cmyk", photo(40, 50, "CMYK", 14), "TIFF", SMALL),
    ("sixteen_bit", photo(40, 50, "I;16", 15), "PNG", SMALL),
    ("black_and_white", photo(40, 50, "1", 16), "PNG", SMALL),
]  # fmt: skip


def main() -> None:
    tensors, cases = {}, []
    for name, picture, kind, settings in CASES:
        data = as_bytes(picture, kind)
        with Image.open(io.BytesIO(data)) as opened:
            pixels = CLIPImageProcessorPil(**settings)(opened, return_tensors="np")["pixel_values"]
        tensors[f"{name}.file"] = np.frombuffer(data, dtype=np.uint8)
        tensors[f"{name}.pixel_values"] = np.ascontiguousarray(pixels)
        cases.append({"name": name, "settings": settings})
    versions = {"transformers": transformers.__version__, "pillow": PIL.__version__}
    path = FIXTURES / "processing" / "pixel_values.safetensors"
    path.parent.mkdir(exist_ok=True)
    # One key of metadata: the order of several changes from run to run.
    save_file(tensors, path, metadata={"recorded": json.dumps({"cases": cases} | versions)})
    print(f"{len(cases)} cases, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
