"""Captions in files beside their pictures."""

import pytest

from aimv2_np.training.beside import of_json, of_text
from aimv2_np.training.captioned import open_captioned
from tests.support.captioned import BLUE, COLOURS, RED, archive, png, told


@pytest.mark.parametrize("suffix", [".tar", ".tgz"])
def test_keys_are_those_of_webdataset(tmp_path, suffix):
    """All before the first dot; a text of the whole name before one of the key, and a text before JSON."""
    red, blue = png(COLOURS["a"]), png(COLOURS["c"])
    files = {
        "n/17.left.png": red, "n/17.txt": b"red", "n/17.json": b"{", "n/17.right.png": blue,
        "n/17.right.txt": BLUE[1].encode(), "18.PNG": red, "18.json": b'{"caption": "red", "width": 4}',
        "19.png": red, "19.json": b'{"caption": null}', "20.TXT": b"nobody's",
    }  # fmt: skip
    with (
        pytest.warns(UserWarning, match=r"1 of 4 pictures .*, the first .*/19\.png; expected a text or JSON"),
        pytest.warns(UserWarning, match=r"1 texts in .* have no picture and are passed over, the first 20\.TXT"),
    ):
        assert told(open_captioned(archive(tmp_path / f"shard{suffix}", files))) == [RED, BLUE, RED]


@pytest.mark.parametrize("data", [b"red\n", b"\xef\xbb\xbfred"])
def test_a_text_is_stripped_of_its_mark(data):
    assert of_text(data, "a.txt") == "red"


@pytest.mark.parametrize(
    ("data", "caption"),
    [(b'{"caption": "red "}', "red"), (b'{"caption": null}', None), (b"[1]", None), (b'\xef\xbb\xbf{"a": 1}', None)],
)
def test_the_caption_in_json(data, caption):
    assert of_json(data, "a.json") == caption


@pytest.mark.parametrize("data", [b'{"caption": "\xff"}', b"\xff\xfe"])
def test_json_that_is_not_in_utf8_is_refused(data):
    with pytest.raises(ValueError, match=r"a\.json is not in UTF-8 .*; save it as UTF-8"):
        of_json(data, "a.json")
