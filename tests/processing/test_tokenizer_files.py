import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.data import tiny_model_path
from aimv2_np.errors import CheckpointError
from aimv2_np.processing import Aimv2Tokenizer, tokenizer_files
from aimv2_np.processing.tokenizer_files import guarded, read_settings, read_tokenizer, special_token
from tests.support.descriptors import at_every_limit
from tests.support.paths import FIXTURES

CLIP = FIXTURES / "clip-tokenizer"

SMALL = {
    "version": "1.0",
    "added_tokens": [],
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]},
}


def load(folder, content):
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "tokenizer.json").write_text(text)
    return Aimv2Tokenizer.from_pretrained(folder)


def test_a_small_tokenizer_of_another_kind(tmp_path):
    tokenizer = load(tmp_path, SMALL)
    assert tokenizer.encode("ab") == [2]
    assert tokenizer.pad_token is None
    assert tokenizer(["ab", "ab"], padding=True)["input_ids"].tolist() == [[2], [2]]  # nothing to pad
    with pytest.raises(ValueError, match="pad_token is not in the tokenizer's files"):
        tokenizer(["ab", "ba"], padding=True)
    assert tokenizer.to_dict()["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_padding_and_truncation_in_the_file_do_not_act_by_themselves(tmp_path):
    padding = {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
               "pad_type_id": 0, "pad_token": "p"}  # fmt: skip
    truncation = {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0}
    model = SMALL["model"] | {"vocab": SMALL["model"]["vocab"] | {"p": 3}}
    tokenizer = load(tmp_path, SMALL | {"model": model, "padding": padding, "truncation": truncation})
    assert tokenizer.encode("ba") == [1, 0]
    assert tokenizer(["ab", "ba"], padding=True)["input_ids"].tolist() == [[2, 3], [1, 0]]
    assert "pad_token" in tokenizer.to_dict()


HOSTILE = {
    "not JSON": "{",
    "empty": "",
    "a list": "[]",
    "no model": "{}",
    "unknown model": SMALL | {"model": {"type": "Oracle"}},
    "merge of strangers": SMALL | {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "z"]]}},
    "negative id": SMALL | {"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}},
    "unknown unknown": SMALL | {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [], "unk_token": "?"}},
    "broken pattern": SMALL | {"normalizer": {"type": "Replace", "pattern": {"Regex": "("}, "content": ""}},
    # The next three make the library panic.
    "broken map": SMALL | {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
    "missing template token": SMALL
    | {
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [],
            "special_tokens": {},
        }
    },
    "prefix longer than tokens": SMALL
    | {
        "model": {
            "type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]], "continuing_subword_prefix": "##"
        }
    },
    "special ids from nowhere": SMALL
    | {
        "post_processor": {
            "type": "RobertaProcessing", "sep": ["z", 99999], "cls": ["y", 4000000000], "trim_offsets": False,
            "add_prefix_space": False,
        }
    },
    "deep": '{"model":' + "[" * 5000 + "]" * 5000 + "}",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_give_one_kind_of_error_and_nothing_on_standard_error(tmp_path, name, capfd):
    with pytest.raises(CheckpointError):
        load(tmp_path, HOSTILE[name])
    assert capfd.readouterr().err == ""


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_changed_byte_gives_a_tokenizer_or_a_checkpoint_error(tmp_path_factory, position, value):
    content = bytearray(json.dumps(SMALL | {"normalizer": {"type": "Lowercase"}}).encode())
    content[position % len(content)] = value
    folder = tmp_path_factory.mktemp("changed")
    (folder / "tokenizer.json").write_bytes(content)
    try:
        tokenizer = Aimv2Tokenizer.from_pretrained(folder)
    except CheckpointError:
        return
    assert all(0 <= token < 2**32 for token in tokenizer.encode("ab"))


@pytest.mark.parametrize(
    ("vocab", "merges"),
    [
        ("{", "#version: 0.2\n"),
        ("[]", "#version: 0.2\n"),
        ('{"a": "b"}', "#version: 0.2\n"),
        ('{"<|startoftext|>": 0, "<|endoftext|>": 1}', "#version: 0.2\na b c\n"),
        ('{"<|startoftext|>": 0, "<|endoftext|>": 1}', "#version: 0.2\na b\n"),
        ('{"<|startoftext|>": 0, "<|endoftext|>": 1}', b"\xff\xfe"),
        ('{"a": 0}', "#version: 0.2\n"),
    ],
)
def test_broken_vocabularies(tmp_path, vocab, merges):
    (tmp_path / "vocab.json").write_text(vocab)
    (tmp_path / "merges.txt").write_bytes(merges if isinstance(merges, bytes) else merges.encode())
    with pytest.raises(CheckpointError):
        Aimv2Tokenizer.from_pretrained(tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["content", "1"]), inner),
    max_leaves=6,
)
KEYS = ["pad_token", "eos_token", "model_max_length", "padding_side", "truncation_side", "added_tokens_decoder"]


@given(st.dictionaries(st.sampled_from(KEYS), JSON, max_size=3))
def test_any_settings_give_a_tokenizer_or_a_checkpoint_error(tmp_path_factory, settings):
    folder = tmp_path_factory.mktemp("settings")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    try:
        tokenizer = load(folder, SMALL)
    except CheckpointError:
        return
    assert tokenizer("ab")["input_ids"].shape[0] == 1


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="not both of"):
        Aimv2Tokenizer.from_pretrained(tmp_path)
    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(FileNotFoundError):
        Aimv2Tokenizer.from_pretrained(tmp_path)


def test_oversized_files_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(tokenizer_files, "MAX_BYTES", {"tokenizer.json": 10})
    with pytest.raises(CheckpointError, match="expected at most 10"):
        load(tmp_path, SMALL)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (tmp_path / "elsewhere.json").write_text(json.dumps(SMALL))
    (folder / "tokenizer.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(CheckpointError, match="link"):
        Aimv2Tokenizer.from_pretrained(folder)


def test_names_of_special_tokens_come_plain_or_as_objects(tmp_path):
    assert special_token({"pad_token": "!"}, "pad_token") == "!"
    assert special_token({"pad_token": {"content": "!", "lstrip": False}}, "pad_token") == "!"
    assert special_token({"pad_token": None}, "pad_token") is None
    assert special_token({}, "pad_token") is None


def test_the_map_of_special_tokens_counts_unless_the_tokens_are_listed(tmp_path):
    (tmp_path / "special_tokens_map.json").write_text('{"pad_token": {"content": "!"}}')
    assert read_settings(tmp_path) == {"pad_token": {"content": "!"}}
    (tmp_path / "tokenizer_config.json").write_text('{"pad_token": "?"}')
    assert special_token(read_settings(tmp_path), "pad_token") == "!"
    (tmp_path / "tokenizer_config.json").write_text('{"pad_token": "?", "added_tokens_decoder": {}}')
    assert special_token(read_settings(tmp_path), "pad_token") == "?"


def test_the_guard_lets_go_of_interrupts():
    for kind in (KeyboardInterrupt, SystemExit):
        with pytest.raises(kind), guarded("test"):
            raise kind
    with pytest.raises(CheckpointError, match="test: the tokenizer's files do not work"), guarded("test"):
        raise RuntimeError


def test_too_many_open_files_are_no_fault_of_the_tokenizer():
    assert at_every_limit(lambda: read_tokenizer(tiny_model_path())) >= 1


def test_where_no_temporary_file_can_be_made(monkeypatch):
    def refuse():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    assert read_tokenizer(tiny_model_path())
