"""Our processor against Transformers' CLIPProcessor, which is what AIMv2 uses there."""

import json

import numpy as np
import pytest
from transformers import AutoProcessor, CLIPProcessor, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from aimv2_np.processing import Aimv2ImageProcessor, Aimv2Processor, Aimv2Tokenizer
from tests.support.paths import FIXTURES
from tests.support.pictures import photo

CLIP = FIXTURES / "clip-tokenizer"
TEXTS = ["a photo of a cat", "two dogs", "word " * 90]


@pytest.fixture(scope="module")
def ours() -> Aimv2Processor:
    return Aimv2Processor(Aimv2ImageProcessor(size=40, crop_size=32), Aimv2Tokenizer.from_pretrained(CLIP))


def assert_same(ours, theirs):
    options = {"padding": True, "truncation": True}
    pictures = [photo(50, 70), photo(33, 20)]
    expected = theirs(text=TEXTS, images=pictures, return_tensors="np", **options)
    result = ours(text=TEXTS, images=pictures, **options)
    assert set(result) == set(expected)
    for name, array in result.items():
        np.testing.assert_array_equal(array, expected[name])


def test_one_call(ours):
    images = CLIPImageProcessorPil(size=40, crop_size=32)
    assert_same(ours, CLIPProcessor(images, CLIPTokenizer.from_pretrained(CLIP)))


@pytest.mark.parametrize("kind", [AutoProcessor, CLIPProcessor])
@pytest.mark.parametrize("config", [True, False], ids=["with config.json", "without"])
def test_they_read_what_we_write(ours, tmp_path, kind, config):
    ours.save_pretrained(tmp_path)
    if config:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "aimv2"}))
    theirs = kind.from_pretrained(tmp_path, backend="pil")
    assert isinstance(theirs, CLIPProcessor)
    assert isinstance(theirs.image_processor, CLIPImageProcessorPil)
    assert_same(ours, theirs)


def test_we_read_what_they_write(tmp_path):
    theirs = CLIPProcessor(CLIPImageProcessorPil(size=40, crop_size=32), CLIPTokenizer.from_pretrained(CLIP))
    theirs.save_pretrained(tmp_path)
    assert not (tmp_path / "preprocessor_config.json").exists()  # Transformers 5 nests it
    assert_same(Aimv2Processor.from_pretrained(tmp_path), theirs)
