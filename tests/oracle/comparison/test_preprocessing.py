"""PyTorch's ways to resize, as ports use them: each is named from the original pictures."""

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from aimv2_np.comparison.diagnosis.originals import Pictures
from aimv2_np.comparison.diagnosis.seen import seen
from aimv2_np.processing import Aimv2ImageProcessor
from tests.support.faults import MEAN, STD
from tests.support.pictures import photo_array

# Options of `interpolate`, what they are to be called, and how.
CASES = [
    ({"mode": "bilinear", "antialias": True}, "wrong_resample", "bilinear"),
    ({"mode": "bilinear"}, "no_antialias", "bilinear without"),
    ({"mode": "bicubic"}, "no_antialias", "bicubic (a = -3/4)"),
    ({"mode": "bilinear", "align_corners": True}, "no_antialias", "bilinear (align_corners)"),
    ({"mode": "bicubic", "align_corners": True}, "no_antialias", "bicubic (align_corners)"),
    ({"mode": "nearest"}, "wrong_resample", "by nearest neighbours, whose places are cut down"),
    ({"mode": "nearest-exact"}, "wrong_resample", "by nearest neighbours"),
]
ANTIALIASED = {"mode": "bicubic", "antialias": True}


def resized(size, options, whole, new=(28, 36), dtype=torch.float64):
    """What pixel_values of a picture are, resized with these options, and rounded to bytes or not."""
    picture = photo_array(*size)
    pixels = interpolate(torch.from_numpy(picture).permute(2, 0, 1)[None].to(dtype), new, **options).numpy()
    if whole:
        pixels = np.clip(np.round(pixels), 0, 255)
    processor = Aimv2ImageProcessor(size=list(new), do_center_crop=False)
    return seen(Pictures([picture], processor), ((pixels / 255 - MEAN) / STD).astype(np.float32))


@pytest.mark.parametrize(("options", "identifier", "words"), CASES)
@pytest.mark.parametrize("size", [(47, 79), (83, 45)])
@pytest.mark.parametrize("whole", [False, True])
def test_another_way_to_resize(options, identifier, words, size, whole):
    found = resized(size, options, whole)
    assert found.identifier == identifier
    assert words in found.sentence
    assert not found.right


def test_the_same_way_is_rounding_or_lacks_it():
    assert resized((47, 79), ANTIALIASED, whole=False).identifier == "resize_not_rounded"
    found = resized((47, 79), ANTIALIASED, whole=True)
    assert found.right
    assert found.identifier == ""


@pytest.mark.parametrize("size", [(47, 79), (83, 45), (300, 400)])
@pytest.mark.parametrize("new", [(28, 28), (224, 224)])
def test_bytes_as_torchvision_resizes_them(size, new):
    """Its weights are whole numbers of 16 bits: two roundings and these, which is up to two levels."""
    found = resized(size, ANTIALIASED, False, new, torch.uint8)
    assert found.right
    assert found.identifier == ""
    found = resized(size, {"mode": "bilinear", "antialias": True}, False, new, torch.uint8)
    assert found.identifier == "wrong_resample"
    assert found.sentence == "the pictures are resized bilinear"
    found = resized(size, {"mode": "bicubic"}, False, new, torch.uint8)
    assert found.identifier == "no_antialias"
    assert "a = -3/4" in found.sentence
