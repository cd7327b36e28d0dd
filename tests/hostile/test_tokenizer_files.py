"""tokenizer.json, tokenizer_config.json, vocab.json with merges.txt, and the older special_tokens_map.json."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from aimv2_np.files.json import MAX_JSON_BYTES
from aimv2_np.processing.tokenizer_files import MAX_BYTES
from tests.support.hostile.mutations import TEXTS, cases, damaged_bytes, json_files, values
from tests.support.hostile.readers import CAPTIONS
from tests.support.hostile.samples import TINY
from tests.support.hostile.watch import Link, read

WHOLE = (TINY / "tokenizer.json").read_bytes()
DOCUMENT = json.loads(WHOLE)
SETTINGS = {
    **json.loads((TINY / "tokenizer_config.json").read_text()),
    "padding_side": "left",
    "added_tokens_decoder": {"635": {"content": "<|startoftext|>", "special": True}, "700": {"content": "<new>"}},
}
NAMES = {"bos_token": {"content": "<|startoftext|>", "lstrip": False}, "pad_token": "!"}
VOCABULARY = {"a": 0, "b": 1, "a</w>": 2, "b</w>": 3, "ab</w>": 4, "<|startoftext|>": 5, "<|endoftext|>": 6}
MERGES = b"#version: 0.2\na b</w>\n"
PARTS = {
    "normalizer": [
        {"type": "Sequence", "normalizers": []},
        {"type": "Replace", "pattern": {"Regex": "(a*)*b"}, "content": ""},
        {"type": "Replace", "pattern": {"Regex": "("}, "content": "x"},
        {"type": "NFKC"},
        {"type": "Lowercase"},
        {"type": "Prepend", "prepend": "x"},
        {"type": "Replace", "pattern": {"String": ""}, "content": "y" * 1000},
        {"type": "Replace", "pattern": {"Regex": "(x+x+)+y"}, "content": ""},
        {"type": "Precompiled", "precompiled_charsmap": ""},
    ],
    "pre_tokenizer": [
        {"type": "Whitespace"},
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        {"type": "Split", "pattern": {"Regex": "(a|a)*$"}, "behavior": "Isolated", "invert": False},
        {"type": "Split", "pattern": {"String": ""}, "behavior": "Removed", "invert": True},
        {"type": "Digits"},
    ],
    "post_processor": [
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        {"type": "BertProcessing", "sep": ["x", 2**32 - 1], "cls": ["y", 0]},
        {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "z", "type_id": 0}}] * 3,
            "pair": [],
            "special_tokens": {},
        },
    ],
    "decoder": [{"type": "WordPiece", "prefix": "", "cleanup": True}, {"type": "ByteFallback"}],
    "model": [
        {"type": "WordLevel", "vocab": {"a": 0, "b": 2**32 - 1}, "unk_token": "a"},
        {"type": "BPE", "vocab": {}, "merges": []},
        {"type": "Unigram", "unk_id": 9, "vocab": [["a", 0.0]]},
        {"type": "Unigram", "unk_id": 0, "vocab": []},
        {
            "type": "WordPiece",
            "vocab": {"a": 0},
            "unk_token": "?",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 2**63,
        },
        {"type": "BPE", "vocab": {"a": 4294967295, "b": 1, "ab": 2}, "merges": ["a b"], "dropout": 0.5},
        {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": ["a b"]},
        {"type": "BPE", "vocab": {"a": 0}, "merges": ["a"]},
    ],
    "truncation": [{"max_length": 1, "strategy": "LongestFirst", "stride": 5, "direction": "Right"}],
    "padding": [
        {
            "strategy": {"Fixed": 2**40},
            "direction": "Left",
            "pad_to_multiple_of": 0,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "\x1b[2J",
        }
    ],
    "added_tokens": [
        [
            {
                "id": 2**32 - 1,
                "content": "q",
                "special": True,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
            }
        ],
        [
            {
                "id": 0,
                "content": "",
                "special": False,
                "single_word": True,
                "lstrip": True,
                "rstrip": True,
                "normalized": True,
            }
        ],
    ],
}


def check(files, **options):
    """Ids are those of the library by itself; every one of them is a token's."""
    outcome = read("tokenizer", files, kind="tokenizer", **options)
    if outcome.error is not None or outcome.value[1] is None or set(files) != {"tokenizer.json"}:
        return
    try:
        theirs = Tokenizer.from_str(files["tokenizer.json"].decode())
        theirs.no_truncation()
        theirs.no_padding()
        if theirs.token_to_id("<|startoftext|>") is None:  # then special tokens are none of the file's own
            return
        ids = [theirs.encode(caption).ids for caption in CAPTIONS]
    except Exception as error:
        raise AssertionError(f"the tokenizers library refuses what was read: {error}") from error
    if len(theirs.get_added_tokens_decoder()) >= len(DOCUMENT["added_tokens"]):
        assert ids == outcome.value[1]


@cases(120)
@given(json_files(DOCUMENT))
def test_damaged_tokenizers(content):
    check({"tokenizer.json": content})


@cases(80)
@given(st.fixed_dictionaries({}, optional={key: st.sampled_from(parts) for key, parts in PARTS.items()}), values)
def test_pipelines_put_together_of_odd_parts(parts, more):
    check({"tokenizer.json": json.dumps({**DOCUMENT, **parts}).encode()})


@cases(80)
@given(json_files(SETTINGS), json_files(NAMES) | st.none())
def test_damaged_settings(settings, names):
    files = {"tokenizer.json": WHOLE, "tokenizer_config.json": settings}
    check(files if names is None else {**files, "special_tokens_map.json": names})


merges = st.lists(
    st.sampled_from([b"a b</w>", b"a b", b"ab</w> a", b"", b" ", b"a", b"a b c", b"\xff \xfe", b"#", b"x" * 9999])
)


@cases(100)
@given(
    json_files(VOCABULARY, st.integers(0, 2**32)) | st.just(json.dumps(VOCABULARY).encode()),
    damaged_bytes(MERGES) | st.just(MERGES) | merges.map(lambda lines: b"\n".join([b"#version", *lines])),
    json_files(NAMES) | st.none(),
)
def test_damaged_vocabularies(vocabulary, merges, names):
    files = {"vocab.json": vocabulary, "merges.txt": merges}
    check(files if names is None else {**files, "special_tokens_map.json": names})


@cases(20)
@given(
    st.dictionaries(
        st.sampled_from(["vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json"]),
        st.binary(max_size=99),
        min_size=1,
    ),
    st.sampled_from(TEXTS),
)
def test_nonsense(files, token):
    check({**files, "special_tokens_map.json": json.dumps({"unk_token": token}).encode()})


def _vocabulary(first, count):
    return {f"{number:05x}": first + number for number in range(count)}


WHOLE_BYTES, PART_BYTES = MAX_BYTES["tokenizer.json"], MAX_BYTES["vocab.json"]
LARGE = {
    "tokens": {
        "tokenizer.json": {
            **DOCUMENT,
            "model": {
                **DOCUMENT["model"],
                "vocab": {**DOCUMENT["model"]["vocab"], **_vocabulary(700, WHOLE_BYTES // 20)},
                "merges": [],
            },
        }
    },
    "added tokens": {
        "tokenizer.json": {
            **DOCUMENT,
            "added_tokens": [
                {**DOCUMENT["added_tokens"][0], "id": 700 + number, "content": f"q{number}"}
                for number in range(WHOLE_BYTES // 160)
            ],
        }
    },
    "vocabulary": {"vocab.json": {**VOCABULARY, **_vocabulary(7, PART_BYTES // 18)}, "merges.txt": MERGES},
    "merges": {"vocab.json": VOCABULARY, "merges.txt": b"#version\n" + b"a b</w>\n" * (PART_BYTES // 8 - 9)},
    "settings": {"tokenizer.json": WHOLE, "tokenizer_config.json": {"more": [[]] * (MAX_JSON_BYTES // 4 - 9)}},
}


@pytest.mark.parametrize("which", LARGE)
def test_files_as_large_as_they_may_be(which):
    files = {name: it if isinstance(it, bytes) else json.dumps(it).encode() for name, it in LARGE[which].items()}
    assert read("tokenizer", files).error is None


NAMES_OF_FILES = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")


@pytest.mark.parametrize("name", NAMES_OF_FILES)
@pytest.mark.parametrize("target", ["../secret", "/etc/passwd", "/dev/zero", "..", "vocab.json"])
def test_links_out_of_the_folder(name, target):
    files = {"vocab.json": json.dumps(VOCABULARY).encode(), "merges.txt": MERGES, name: Link(target)}
    outcome = read("tokenizer", files, outside={"secret": WHOLE}, kind="tokenizer")
    assert outcome.error is not None or target == "vocab.json"
