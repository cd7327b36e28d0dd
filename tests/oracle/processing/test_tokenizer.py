"""Our tokenizer against Transformers' CLIPTokenizer, on live strings."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, CLIPTokenizer

from aimv2_np.processing import Aimv2Tokenizer
from tests.support.oracle import counted
from tests.support.paths import FIXTURES
from tests.support.tally import compared

CLIP = FIXTURES / "clip-tokenizer"
WORDS = [
    "a", "photo", "of", "cat", "CATS", "<|endoftext|>", "<|startoftext|>", "it's", "42", "😀", "é", "\t", "日本",
    "</w>", "!",
]  # fmt: skip
TEXT = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join),
    st.lists(st.sampled_from(WORDS), max_size=30).map("".join),
)


@pytest.fixture(scope="module")
def pair():
    return Aimv2Tokenizer.from_pretrained(CLIP), CLIPTokenizer.from_pretrained(CLIP)


@settings(max_examples=300)
@given(TEXT, st.booleans())
@counted
def test_one_string(pair, text, specials):
    ours, theirs = pair
    ids = theirs(text, add_special_tokens=specials)["input_ids"]
    assert ours.encode(text, add_special_tokens=specials) == ids
    for skip in (False, True):
        assert ours.decode(ids, skip_special_tokens=skip) == theirs.decode(ids, skip_special_tokens=skip)
    compared("texts", 0.0)


@settings(max_examples=100)
@given(
    st.lists(TEXT, min_size=1, max_size=4),
    st.sampled_from([True, "longest", "max_length"]),
    st.sampled_from([None, 2, 3, 10, 77]),
    st.booleans(),
)
@counted
def test_batches(pair, texts, padding, length, specials):
    ours, theirs = pair
    options = {"padding": padding, "truncation": True, "max_length": length, "add_special_tokens": specials}
    expected = theirs(texts, return_tensors="np", **options)
    result = ours(texts, **options)
    assert list(result) == ["input_ids", "attention_mask"]
    for name, array in result.items():
        np.testing.assert_array_equal(array, expected[name])
        assert array.dtype == expected[name].dtype
    assert ours.batch_decode(result["input_ids"]) == theirs.batch_decode(result["input_ids"])
    compared("texts", dict.fromkeys(texts, 0.0))


@settings(max_examples=100)
@given(st.lists(st.integers(0, 49407), max_size=20), st.booleans())
@counted
def test_decoding_any_ids(pair, ids, skip):
    ours, theirs = pair
    assert ours.decode(ids, skip_special_tokens=skip) == theirs.decode(ids, skip_special_tokens=skip)


CONFIGS = [
    {},
    {"pad_token": "!"},
    {"padding_side": "left", "truncation_side": "left", "model_max_length": 12},
    {"pad_token": "[PAD]", "model_max_length": 12},
    {"pad_token": {"__type": "AddedToken", "content": "[PAD]", "lstrip": True, "rstrip": False, "normalized": True,
                   "single_word": False, "special": True}},
    {"model_max_length": 1000000000000000019884624838656},
    {"added_tokens_decoder": {
        "49406": {"content": "<|startoftext|>", "lstrip": False, "normalized": True, "rstrip": False,
                  "single_word": False, "special": True},
        "49407": {"content": "<|endoftext|>", "lstrip": False, "normalized": False, "rstrip": False,
                  "single_word": False, "special": True},
        "49408": {"content": "<photo>", "lstrip": False, "normalized": False, "rstrip": False,
                  "single_word": False, "special": False}}},
]  # fmt: skip
TEXTS = [
    "a cat",
    "A photo of 2 dogs [PAD] and ! more [PAD]things, a long <photo> story<|endoftext|>",
    "",
    "<|STARTOFTEXT|> !",
]


@pytest.mark.parametrize("config", CONFIGS, ids=range(len(CONFIGS)))
@pytest.mark.parametrize("whole", [False, True], ids=["vocab.json", "tokenizer.json"])
def test_configurations(tmp_path, config, whole):
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).write_bytes((CLIP / name).read_bytes())
    settings = json.dumps({"tokenizer_class": "CLIPTokenizer"} | config)
    (tmp_path / "tokenizer_config.json").write_text(settings)
    if whole:
        CLIPTokenizer.from_pretrained(tmp_path).save_pretrained(tmp_path)
        (tmp_path / "vocab.json").unlink()
        (tmp_path / "tokenizer_config.json").write_text(settings)
    theirs, ours = CLIPTokenizer.from_pretrained(tmp_path), Aimv2Tokenizer.from_pretrained(tmp_path)
    assert (len(ours), ours.pad_token_id, ours.pad_token) == (len(theirs), theirs.pad_token_id, theirs.pad_token)
    assert ours.padding_side == theirs.padding_side
    options = {"padding": True, "truncation": ours.model_max_length is not None}
    expected = theirs(TEXTS, return_tensors="np", **options)
    for name, array in ours(TEXTS, **options).items():
        np.testing.assert_array_equal(array, expected[name])


@pytest.mark.parametrize("config", CONFIGS, ids=range(len(CONFIGS)))
def test_they_read_what_we_write(tmp_path, config):
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).write_bytes((CLIP / name).read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    ours = Aimv2Tokenizer.from_pretrained(tmp_path)
    ours.save_pretrained(tmp_path / "saved")
    for kind in (AutoTokenizer, CLIPTokenizer):
        theirs = kind.from_pretrained(tmp_path / "saved")
        assert (len(ours), ours.pad_token, ours.padding_side) == (len(theirs), theirs.pad_token, theirs.padding_side)
        assert theirs.model_max_length == (ours.model_max_length or theirs.model_max_length)
        for text in TEXTS:
            assert theirs(text)["input_ids"] == ours.encode(text)


def test_we_read_what_they_write(pair, tmp_path):
    _, theirs = pair
    theirs.save_pretrained(tmp_path)
    ours = Aimv2Tokenizer.from_pretrained(tmp_path)
    assert (ours.model_max_length, ours.pad_token, ours.bos_token_id) == (77, "<|endoftext|>", 49406)
    for text in TEXTS:
        assert theirs(text)["input_ids"] == ours.encode(text)


def test_a_tokenizer_of_another_kind_survives(tmp_path):
    """One that is not CLIP's pipeline is saved as what tokenizer.json says, not as CLIP's class."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    backend = Tokenizer(models.WordLevel({"a": 0, "cat": 1, "?": 2}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    (tmp_path / "tokenizer.json").write_text(backend.to_str())
    ours = Aimv2Tokenizer.from_pretrained(tmp_path)
    ours.save_pretrained(tmp_path, overwrite=True)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert theirs("a cat sat")["input_ids"] == ours.encode("a cat sat") == [0, 1, 2]
