import json
import threading

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aimv2_np.errors import CheckpointError
from aimv2_np.processing import Aimv2Tokenizer
from tests.support.paths import FIXTURES

CLIP = FIXTURES / "clip-tokenizer"
EXPECTED = json.loads((CLIP / "expected.json").read_text())
CASES = EXPECTED["cases"]
START, END = 49406, 49407
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@pytest.fixture(scope="module")
def tokenizer() -> Aimv2Tokenizer:
    return Aimv2Tokenizer.from_pretrained(CLIP)


@pytest.fixture(scope="module")
def whole(tokenizer, tmp_path_factory) -> Aimv2Tokenizer:
    """The same one, by way of tokenizer.json."""
    folder = tmp_path_factory.mktemp("whole")
    tokenizer.save_pretrained(folder)
    return Aimv2Tokenizer.from_pretrained(folder)


@pytest.mark.parametrize("case", CASES, ids=[str(index) for index in range(len(CASES))])
@pytest.mark.parametrize("form", ["tokenizer", "whole"])
def test_awkward_strings(case, form, request):
    tokenizer = request.getfixturevalue(form)
    assert tokenizer.encode(case["text"]) == case["input_ids"]
    assert tokenizer.encode(case["text"], add_special_tokens=False) == case["input_ids"][1:-1]
    padded = tokenizer(case["text"], padding="max_length", truncation=True)
    assert padded["input_ids"].tolist() == [case["padded_77"]]
    assert padded["attention_mask"].tolist() == [case["attention_mask_77"]]


def test_a_batch(tokenizer):
    batch = tokenizer([case["text"] for case in CASES[:12]], padding=True)
    assert batch["input_ids"].tolist() == EXPECTED["batch_of_first_12"]["input_ids"]
    assert batch["attention_mask"].tolist() == EXPECTED["batch_of_first_12"]["attention_mask"]
    assert batch["input_ids"].dtype == batch["attention_mask"].dtype == np.int64


@given(st.lists(TEXT, min_size=1, max_size=5), st.booleans(), st.sampled_from([None, 2, 5, 77]))
def test_padding_and_masks(tokenizer, texts, specials, limit):
    options = {"add_special_tokens": specials, "truncation": limit is not None, "max_length": limit}
    rows = [tokenizer.encode(text, **options) for text in texts]
    assume(max(map(len, rows)) <= 77)  # a warning otherwise
    batch = tokenizer(texts, padding=True, **options)
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (len(texts), max(map(len, rows)))
    for ids, mask, row in zip(batch["input_ids"], batch["attention_mask"], rows, strict=True):
        assert ids[: len(row)].tolist() == row
        assert (ids[len(row) :] == END).all()
        assert mask.tolist() == [1] * len(row) + [0] * (len(ids) - len(row))


@given(TEXT, st.integers(2, 20))
def test_truncation_keeps_the_ends(tokenizer, text, limit):
    full, cut = tokenizer.encode(text), tokenizer.encode(text, truncation=True, max_length=limit)
    assert len(cut) == min(len(full), limit)
    assert cut[0] == START
    assert cut[-1] == END
    assert cut[1:-1] == full[1 : len(cut) - 1]


@given(TEXT)
def test_decoding_and_encoding_again_gives_the_same_ids(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False)
    again = tokenizer.encode(tokenizer.decode(ids), add_special_tokens=False)
    assert tokenizer.decode(again) == tokenizer.decode(ids)


def test_decoding(tokenizer):
    ids = tokenizer(["A photo of a cat.", "dog"], padding=True)["input_ids"]
    assert tokenizer.decode(ids[0]) == "<|startoftext|>a photo of a cat . <|endoftext|>"
    assert tokenizer.batch_decode(ids, skip_special_tokens=True) == ["a photo of a cat .", "dog"]
    assert tokenizer.decode(int(ids[0, 1])) == "a"
    assert tokenizer.decode([]) == ""


@pytest.mark.parametrize("ids", [[-1], [2**40], [1.5], ["a"], [[1, 2]], [None], np.zeros((2, 2), dtype=int)])
def test_what_is_no_row_of_ids(tokenizer, ids):
    with pytest.raises(ValueError, match="ids has"):
        tokenizer.decode(ids)


def test_what_the_files_say(tokenizer, whole):
    for one in (tokenizer, whole):
        assert (len(one), one.vocab_size, one.model_max_length) == (49408, 49408, 77)
        assert (one.bos_token_id, one.eos_token_id, one.pad_token_id, one.unk_token_id) == (START, END, END, END)
        assert (one.bos_token, one.pad_token, one.padding_side) == ("<|startoftext|>", "<|endoftext|>", "right")
        assert "49408 tokens" in repr(one)


def test_ragged_captions(tokenizer):
    with pytest.raises(ValueError, match=r"texts have 3 to 4 tokens.*pass padding=True"):
        tokenizer(["cat", "a cat"])
    assert tokenizer(["cat", "dog"])["input_ids"].shape == (2, 3)
    with pytest.raises(ValueError, match="pass truncation=True"):
        tokenizer(["a", "a b c d e f"], padding="max_length", max_length=4)


def test_too_long_is_said(tokenizer):
    with pytest.warns(UserWarning, match="text 1 has 102 tokens, more than the 77"):
        long = tokenizer(["a", "word " * 100], padding=True)
    assert long["input_ids"].shape == (2, 102)
    assert tokenizer("word " * 100, truncation=True)["input_ids"].shape == (1, 77)


@pytest.mark.parametrize(
    ("text", "options", "error", "message"),
    [
        ([], {}, ValueError, "list of texts is empty"),
        (3, {}, TypeError, "text is an int"),
        (None, {}, TypeError, "text is a NoneType"),
        (["a", None], {}, TypeError, "text 1 is a NoneType"),
        ([["a", "b"]], {}, TypeError, "text 0 is a list"),
        (b"bytes", {}, TypeError, "text is a bytes"),
        (["a", "b\ud800"], {}, ValueError, "text 1 holds half a surrogate pair"),
        ("a", {"padding": "longst"}, ValueError, "padding is 'longst'"),
        ("a", {"padding": 1}, ValueError, "padding is 1"),
        ("a", {"truncation": "all"}, ValueError, "truncation is 'all'"),
        ("a", {"truncation": True, "max_length": 1}, ValueError, "room for the 2 special tokens"),
        ("a", {"truncation": True, "max_length": 0}, ValueError, "max_length is 0"),
        ("a", {"padding": "max_length", "max_length": 10**9}, ValueError, "max_length is 1000000000"),
        ("a", {"truncation": True, "max_length": 7.0}, ValueError, "max_length is 7.0"),
        ("a", {"return_tensors": "pt"}, ValueError, "return_tensors is 'pt'"),
    ],
)
def test_nonsense(tokenizer, text, options, error, message):
    with pytest.raises(error, match=message):
        tokenizer(text, **options)


def test_encode_takes_one_string(tokenizer):
    with pytest.raises(TypeError, match="expected one string"):
        tokenizer.encode(["a"])


def test_one_tokenizer_serves_many_threads(tokenizer):
    texts = [case["text"] for case in CASES[:12]]
    problems = []

    def work(limit: int) -> None:
        for _ in range(20):
            batch = tokenizer(texts, padding="max_length", truncation=True, max_length=limit)
            if batch["input_ids"].shape != (12, limit) or batch["input_ids"][0, :2].tolist() != [START, END]:
                problems.append(limit)

    threads = [threading.Thread(target=work, args=(limit,)) for limit in range(5, 13)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems


def changed(folder, tmp_path, **settings):
    """The CLIP tokenizer with other words in tokenizer_config.json."""
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    return Aimv2Tokenizer.from_pretrained(tmp_path)


def test_left_padding_and_another_pad_token(tmp_path):
    tokenizer = changed(CLIP, tmp_path, pad_token="!", padding_side="left", truncation_side="left", model_max_length=9)
    batch = tokenizer(["a cat", "dog"], padding=True)
    assert batch["input_ids"].tolist() == [[START, 320, 2368, END], [0, START, 1929, END]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [0, 1, 1, 1]]
    cut = tokenizer("a photo of a cat", truncation=True, max_length=4)["input_ids"]
    assert cut.tolist() == [[START, 320, 2368, END]]


def test_without_settings(tmp_path):
    tokenizer = changed(CLIP, tmp_path)
    assert tokenizer.model_max_length is None
    assert tokenizer.encode("a cat") == [START, 320, 2368, END]
    assert tokenizer("word " * 100)["input_ids"].shape == (1, 102)  # no limit is known, so none is passed
    with pytest.raises(ValueError, match=r"padding needs a length.*pass max_length"):
        tokenizer("a", padding="max_length")
    with pytest.raises(ValueError, match="truncation needs a length"):
        tokenizer("a", truncation=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model_max_length": -3}, "model_max_length in tokenizer_config.json is -3"),
        ({"model_max_length": "77"}, "model_max_length in tokenizer_config.json is '77'"),
        ({"padding_side": "top"}, "padding_side in tokenizer_config.json is 'top'"),
        ({"pad_token": 3}, "pad_token in the tokenizer's files is 3"),
        ({"eos_token": {"content": None, "x": 1}, "bos_token": ["a"]}, "bos_token in the tokenizer's files is"),
        ({"eos_token": "<end>"}, r"lacks the special tokens \['<end>'\]"),
        ({"added_tokens_decoder": ["a"]}, "added_tokens_decoder"),
        ({"added_tokens_decoder": {"x": {}}}, "do not work"),
    ],
)
def test_settings_that_make_no_sense(tmp_path, settings, message):
    with pytest.raises(CheckpointError, match=message):
        changed(CLIP, tmp_path, **settings)


def test_saving(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path / "new")
    config = json.loads((tmp_path / "new" / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "CLIPTokenizer"
    assert (config["model_max_length"], config["pad_token"]) == (77, "<|endoftext|>")
    with pytest.raises(FileExistsError):
        tokenizer.save_pretrained(tmp_path / "new")
    (tmp_path / "new" / "tokenizer.json").unlink()
    with pytest.raises(FileExistsError):
        tokenizer.save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new" / "tokenizer.json").exists()  # nothing is written if anything is in the way
    tokenizer.save_pretrained(tmp_path / "new", overwrite=True)
    assert Aimv2Tokenizer.from_pretrained(tmp_path / "new").encode("a cat") == [START, 320, 2368, END]
