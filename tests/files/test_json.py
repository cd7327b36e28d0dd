"""aimv2_np/files/json.py"""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.errors import CheckpointError
from aimv2_np.files.json import MAX_JSON_BYTES, MAX_JSON_DEPTH, parse_json, read_json, write_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=20,
)


@given(value=st.dictionaries(st.text(), JSON, max_size=5))
def test_json_survives_a_round_trip(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("json") / "x.json"
    write_json(path, value)
    assert read_json(path) == value


@given(data=st.binary(max_size=200))
def test_any_bytes_give_an_object_or_a_checkpoint_error(data):
    try:
        result = parse_json(data, "it")
    except CheckpointError as error:
        result = {"error": str(error)}
    assert isinstance(result, dict)
    assert result.get("error", "it ").startswith("it ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON"),
        (b'{"a": 1', "not valid JSON"),
        (b"\xff\xfe{}", "not valid JSON"),
        (b'{"a": ' + b"1" * 5000 + b"}", "not valid JSON"),
        (b"[1, 2]", "expected an object"),
        (b"7", "expected an object"),
        (b'{"a": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"a": ' + b"[" * MAX_JSON_DEPTH + b"]" * MAX_JSON_DEPTH + b"}", "nested too deeply"),
        (b" " * MAX_JSON_BYTES + b"{}", "larger than"),
    ],
    ids=["empty", "cut", "utf-16", "digits", "list", "number", "abyss", "deep", "large"],
)
def test_what_is_not_an_object_of_json_names_the_file(tmp_path, content, message):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as raised:
        read_json(path)
    assert str(path) in str(raised.value)


def test_a_huge_file_is_not_read(tmp_path):
    path = tmp_path / "x.json"
    path.touch()
    os.truncate(path, 2**40)  # more than any memory holds; on disk it takes no room
    with pytest.raises(CheckpointError, match="larger than"):
        read_json(path)


def test_deepest_permitted_nesting_is_read():
    data = b'{"a": ' + b"[" * (MAX_JSON_DEPTH - 1) + b"]" * (MAX_JSON_DEPTH - 1) + b"}"
    assert parse_json(data, "it")["a"] is not None


def test_double_keys_are_refused_where_they_must_be_unique():
    data = b'{"a": 1, "b": {"c": 1, "c": 2}}'
    assert parse_json(data, "it")["b"] == {"c": 2}
    with pytest.raises(CheckpointError, match="'c' occurs twice"):
        parse_json(data, "it", unique=True)


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file"):
        read_json(tmp_path / "none.json")
    with pytest.raises(CheckpointError, match="regular file"):
        read_json(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(CheckpointError, match="regular file"):
        read_json(tmp_path / "pipe.json")


def test_what_json_cannot_hold_leaves_no_file(tmp_path):
    for value in (float("nan"), object(), {1, 2}):
        with pytest.raises(ValueError, match="cannot be written as JSON"):
            write_json(tmp_path / "x.json", {"a": value})
    assert list(tmp_path.iterdir()) == []


def test_half_surrogate_pairs_are_refused():
    """No file name, hash or terminal can take them; they came through as names of tensors."""
    assert parse_json(rb'{"\ud83d\ude42": "\\ud800"}', "it") == {"🙂": r"\ud800"}
    for half in (rb'{"\ud800": 1}', rb'{"a": ["\uDFFF"]}'):
        with pytest.raises(CheckpointError, match="it is not valid JSON"):
            parse_json(half, "it")


def test_a_smaller_limit(tmp_path):
    (tmp_path / "a.json").write_text('{"a": 1}')
    assert read_json(tmp_path / "a.json", 8) == {"a": 1}
    with pytest.raises(CheckpointError, match="larger than 7 bytes"):
        read_json(tmp_path / "a.json", 7)
