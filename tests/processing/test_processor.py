import json

import numpy as np
import pytest

from aimv2_np.errors import CheckpointError
from aimv2_np.processing import Aimv2ImageProcessor, Aimv2Processor, Aimv2Tokenizer
from tests.support.paths import FIXTURES
from tests.support.pictures import photo, sideways_jpeg

CLIP = FIXTURES / "clip-tokenizer"


@pytest.fixture(scope="module")
def processor() -> Aimv2Processor:
    return Aimv2Processor(Aimv2ImageProcessor(size=32, crop_size=32), Aimv2Tokenizer.from_pretrained(CLIP))


def test_both_are_what_the_parts_give(processor):
    picture, texts = photo(40, 50), ["a photo of a cat", "a dog"]
    both = processor(text=texts, images=picture, padding=True)
    assert list(both) == ["input_ids", "attention_mask", "pixel_values"]
    for part in (processor.tokenizer(texts, padding=True), processor.image_processor(picture)):
        for name, expected in part.items():
            np.testing.assert_array_equal(both[name], expected)
    assert set(processor(images=picture)) == {"pixel_values"}
    assert set(processor(text="a cat")) == {"input_ids", "attention_mask"}


def test_options_reach_their_part(processor):
    both = processor(
        images=sideways_jpeg(20, 30), text="a b c d e f g", truncation=True, max_length=4, return_tensors="np",
        exif_transpose=True, do_resize=False, do_center_crop=False, do_normalize=False,
    )  # fmt: skip
    assert both["input_ids"].shape == (1, 4)
    assert both["pixel_values"].shape == (1, 3, 30, 20)
    assert both["pixel_values"].min() >= 0
    assert processor(text="a", add_special_tokens=False)["input_ids"].tolist() == [[320]]


def test_what_is_missing_is_named(processor):
    with pytest.raises(ValueError, match="neither text nor images"):
        processor()
    with pytest.raises(TypeError, match=r"\['do_resize'\] without images"):
        processor(text="a", do_resize=False)
    with pytest.raises(TypeError, match="unknown image settings"):
        processor(images=photo(4, 4), do_resise=False)
    with pytest.raises(ValueError, match="has no tokenizer"):
        Aimv2Processor(processor.image_processor)(text="a", images=photo(4, 4))
    with pytest.raises(ValueError, match="has no tokenizer"):
        Aimv2Processor(processor.image_processor).decode([1])
    with pytest.raises(ValueError, match="has no image processor"):
        Aimv2Processor(tokenizer=processor.tokenizer)(images=photo(4, 4))


def test_decoding(processor):
    ids = processor(text=["a cat", "dog"], padding=True)["input_ids"]
    assert processor.batch_decode(ids, skip_special_tokens=True) == ["a cat", "dog"]
    assert processor.decode(ids[1]) == "<|startoftext|>dog <|endoftext|><|endoftext|>"


def test_what_is_saved_is_what_is_loaded(processor, tmp_path):
    folder = tmp_path / "new"
    processor.save_pretrained(folder)
    assert {path.name for path in folder.iterdir()} == {
        "preprocessor_config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    again = Aimv2Processor.from_pretrained(folder)
    assert again.image_processor == processor.image_processor
    for name, expected in processor(text=["a", "a cat"], images=photo(9, 9), padding=True).items():
        np.testing.assert_array_equal(again(text=["a", "a cat"], images=photo(9, 9), padding=True)[name], expected)


@pytest.mark.parametrize(
    "name", ["preprocessor_config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json"]
)
def test_one_file_in_the_way_and_nothing_is_written(processor, tmp_path, name):
    (tmp_path / name).write_text("{}")
    with pytest.raises(FileExistsError):
        processor.save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    processor.save_pretrained(tmp_path, overwrite=True)
    assert Aimv2Processor.from_pretrained(tmp_path).image_processor == processor.image_processor


def test_nested_settings_of_an_older_file_do_not_survive(processor, tmp_path):
    (tmp_path / "processor_config.json").write_text('{"image_processor": {"size": 5}}')
    processor.save_pretrained(tmp_path, overwrite=True)
    assert Aimv2Processor.from_pretrained(tmp_path).image_processor == processor.image_processor


def test_one_part_alone(processor, tmp_path):
    Aimv2Processor(processor.image_processor).save_pretrained(tmp_path / "vision")
    vision = Aimv2Processor.from_pretrained(tmp_path / "vision")
    assert vision.tokenizer is None
    assert vision(images=photo(9, 9))["pixel_values"].shape == (1, 3, 32, 32)
    Aimv2Processor(tokenizer=processor.tokenizer).save_pretrained(tmp_path / "text")
    text = Aimv2Processor.from_pretrained(tmp_path / "text")
    assert text.image_processor is None
    assert text(text="a")["input_ids"].shape == (1, 3)
    with pytest.raises(ValueError, match="nothing to save"):
        Aimv2Processor().save_pretrained(tmp_path / "none")


def test_missing_and_broken_folders(processor, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has the files of neither part.*preprocessor_config.*tokenizer.json"):
        Aimv2Processor.from_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError):
        Aimv2Processor.from_pretrained(tmp_path / "missing")
    processor.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": 3}))
    with pytest.raises(CheckpointError):  # a damaged part is not a missing one
        Aimv2Processor.from_pretrained(tmp_path)
