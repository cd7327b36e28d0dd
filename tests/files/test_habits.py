"""What people who come from elsewhere type first works, or the message says what to type instead."""

import io

import numpy as np
import pytest
from PIL import Image

from aimv2_np import Aimv2Config, Aimv2ImageProcessor, Aimv2Model, Aimv2Processor, load
from aimv2_np.data import tiny_model_path
from aimv2_np.errors import ATTRIBUTES, a_type
from aimv2_np.files.habits import KEYWORDS, familiar
from aimv2_np.tasks.embedding.sources import find_pictures
from tests.support.pictures import as_bytes, photo

TINY = tiny_model_path()


class Torch16:
    """Prints itself as `torch.float16` does."""

    def __repr__(self) -> str:
        return "torch.float16"


@pytest.mark.parametrize("dtype", ["float16", "torch.float16", np.float16, np.dtype("float16"), Torch16()])
def test_dtypes_by_any_of_their_names(dtype):
    assert load(TINY, dtype=dtype).dtype == "float16"
    assert load(TINY, torch_dtype=dtype).dtype == "float16"
    assert Aimv2Model.from_pretrained(TINY, torch_dtype=dtype).dtype == "float16"
    assert load(TINY).to(dtype=dtype).dtype == "float16"


def test_options_that_change_nothing_are_taken():
    options = {"device_map": "cpu", "attn_implementation": "eager", "trust_remote_code": True, "use_safetensors": True}
    assert load(TINY, **options, low_cpu_mem_usage=True, dtype=None).dtype == "float32"
    assert Aimv2Model.from_pretrained(TINY, **options).dtype == "float32"
    assert Aimv2Processor.from_pretrained(TINY, trust_remote_code=True, use_fast=True).tokenizer is not None
    assert Aimv2Config.from_pretrained(TINY, trust_remote_code=False).projection_dim


@pytest.mark.parametrize(
    ("option", "value", "advice"),
    [
        ("device_map", "auto", "backend='cupy'"),
        ("device_map", {"": 0}, "backend='cupy'"),
        ("attn_implementation", "flash_attention_2", "leave it out"),
        ("use_safetensors", False, "never read"),
        ("load_in_8bit", True, "no quantised weights"),
    ],
)
def test_options_that_would_mean_something_say_what_to_do(option, value, advice):
    for read in (load, Aimv2Model.from_pretrained, Aimv2Processor.from_pretrained):
        with pytest.raises(TypeError, match=f"^{option} is .*{advice}"):
            read(TINY, **{option: value})


def test_unknown_options_are_still_refused():
    with pytest.raises(TypeError, match=r"an option is 'revison'; expected one of .*revision, .*, backend"):
        load(TINY, revison="main")
    with pytest.raises(ValueError, match="dtype is 'auto'; expected a name: 'float32'"):
        load(TINY, dtype="auto")
    with pytest.raises(ValueError, match="dtype is 'int8'"):
        load(TINY, dtype="int8")
    given = {"torch_dtype": "float16", "device_map": None}
    assert familiar(given) == {"dtype": "float16"}
    assert given == {"torch_dtype": "float16", "device_map": None}
    assert all(advice or harmless is None for harmless, advice in KEYWORDS.values())


def test_attributes_of_other_libraries_are_named():
    model, processor = load(TINY), Aimv2Processor.from_pretrained(TINY)
    owners = {"to_json": model.config, "preprocess": processor.image_processor, "feature_extractor": processor}
    owners |= {"batch_encode": processor.tokenizer, "encode_plus": processor.tokenizer}
    for name, advice in ATTRIBUTES.items():
        owner = next((owner for start, owner in owners.items() if name.startswith(start)), model)
        assert not hasattr(owner, name)
        with pytest.raises(AttributeError) as raised:
            getattr(owner, name)
        assert str(raised.value) == f"{type(owner).__name__} has no attribute {name!r}; {advice}"
    with pytest.raises(AttributeError, match=r"^Aimv2Model has no attribute 'nonsense'$"):
        model.nonsense  # noqa: B018


def test_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    load(TINY).save_pretrained("~/model")
    assert (tmp_path / "model" / "config.json").is_file()
    assert load("~/model").dtype == "float32"
    (tmp_path / "pictures").mkdir()
    photo(5, 5).save(tmp_path / "pictures" / "a.png")
    assert Aimv2ImageProcessor()("~/pictures/a.png")["pixel_values"].shape == (1, 3, 224, 224)
    assert find_pictures(["~/pictures"]).names == (str(tmp_path / "pictures" / "a.png"),)


def test_open_files_are_pictures(tmp_path):
    content = as_bytes(photo(6, 7))
    (tmp_path / "a.png").write_bytes(content)
    processor = Aimv2ImageProcessor()
    expected = processor(content)["pixel_values"]
    stream = io.BytesIO(content)
    stream.read()  # a stream that was read to its end is wound back, as Pillow does it
    with (tmp_path / "a.png").open("rb") as file:
        for given in (stream, file):
            np.testing.assert_array_equal(processor(given)["pixel_values"], expected)
    with (tmp_path / "a.png").open(encoding="latin-1") as file, pytest.raises(TypeError, match="opened as text"):
        processor(file)


def test_addresses_of_the_hub():
    for end in ("", "/tree/main", "/blob/main/config.json", "?x=1"):
        with pytest.raises(FileNotFoundError, match=r"is an address; .* pass 'apple/aimv2-large-patch14-224'"):
            load("https://huggingface.co/apple/aimv2-large-patch14-224" + end)
    for start in ("hf://", "hf-hub:", "hf_hub:"):
        with pytest.raises(FileNotFoundError, match=r"is an address; .* pass 'apple/aimv2-large-patch14-224'"):
            load(start + "apple/aimv2-large-patch14-224")


def test_what_a_model_does_not_take():
    model, processor = load(TINY), Aimv2Processor.from_pretrained(TINY)
    inputs = processor(images=photo(64, 64), text="a red star")
    with pytest.raises(ValueError, match=r"is an Inputs; expected an array: unpack .*model\(\*\*inputs\)"):
        model(inputs)
    for wrong in ("cat.jpg", b"bytes", Image.new("RGB", (64, 64)), tiny_model_path()):
        with pytest.raises(ValueError, match=r"expected an array: let Aimv2Processor make it"):
            model.get_image_features(wrong)
    with pytest.raises(ValueError, match=r"input_ids is a str; .*Aimv2Processor"):
        model.get_text_features("a red star")
    with pytest.raises(ValueError, match=r"input_ids is a list of texts; .*Aimv2Processor"):
        model.get_text_features(["a red star"])


@pytest.mark.parametrize(("place", "advice"), [
    ("cuda", "a GPU is 'cupy'"), ("cuda:0", "device="), ("cpu", "'numpy'"), (np.float16, "dtype="),
    ("float16", "dtype="),
])  # fmt: skip
def test_where_models_are_sent(place, advice):
    with pytest.raises(ValueError, match=rf"^backend is .*choose one of numpy, cupy; .*{advice}"):
        load(TINY).to(place)
    with pytest.raises(ValueError, match="pass backend='cupy' too"):
        load(TINY, device="cuda")


def test_what_is_no_flag():
    with pytest.raises(TypeError, match="final_norm is 'no'; expected True or False"):
        load(TINY, final_norm="no")


def test_articles():
    assert [a_type(value) for value in (1, {}, (), "", Image.new("L", (1, 1)))] == [
        "an int", "a dict", "a tuple", "a str", "an Image",
    ]  # fmt: skip
