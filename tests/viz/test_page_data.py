"""What a page holds, as JSON."""

import base64
import json
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from aimv2_np.viz import explain
from aimv2_np.viz.computation import Choice, Computations
from aimv2_np.viz.page_data import (
    PICTURE_BYTES,
    as_json,
    computations_data,
    features_data,
    picture_data,
    picture_url,
    words_data,
)
from aimv2_np.viz.words import words_of
from tests.support.explained import numbers
from tests.support.pictures import photo

CAPTIONS = ["a photo of a cat", "two dogs"]


def test_json_that_ends_no_script():
    value = {"text": "</script><!-- <b>", "n": [1, 2.5, None]}
    text = as_json(value)
    assert not set("<>") & set(text)
    assert json.loads(text) == value
    with pytest.raises(ValueError, match="JSON"):
        as_json(float("nan"))  # a browser could not read it


@pytest.mark.parametrize(("side", "kind"), [(64, "png"), (700, "jpeg")])
def test_a_picture_is_whole_where_it_is_small(side, kind):
    colors = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)  # does not compress
    head, data = picture_url(colors).split(",")
    assert head == f"data:image/{kind};base64"
    file = base64.b64decode(data)
    assert len(file) <= PICTURE_BYTES
    shown = np.asarray(Image.open(BytesIO(file)))
    assert shown.shape == colors.shape
    assert (shown == colors).all() == (kind == "png")


def test_features_are_off_by_what_is_said(loaded):
    found = explain(*loaded, photo(20, 30))
    data = features_data(found)
    stored = numbers(data["data"], np.int8).reshape(6, -1) * data["scales"]
    unit = found.tokens / np.linalg.norm(found.tokens, axis=1, keepdims=True)
    assert abs(stored @ stored.T - unit @ unit.T).max() == pytest.approx(data["error"], abs=1e-6)
    assert data["low"] == pytest.approx((unit @ unit.T).min(), abs=1e-6)


def test_captions_without_room_have_no_words(loaded):
    model, processor = loaded
    found = explain(model, processor, photo(20, 30), CAPTIONS)
    words = words_of(model, processor, CAPTIONS[:1], 100_000)
    first, second = picture_data(found, words)["captions"]
    assert (first["text"], second["text"], second["words"]) == (*CAPTIONS, None)
    assert first["words"] == words_data(words[0])
    assert first["words"]["tokens"] == ["<|startoftext|>", "a", "photo", "of", "a", "cat", "<|endoftext|>"]
    assert numbers(first["words"]["values"], np.uint8).size == 2 * 7 * 7  # heads, words, words


def test_nothing_kept_is_json_too():
    data = computations_data(Computations(Choice((), (), 1)))
    assert json.loads(as_json(data)) == {
        "layers": [], "heads": [], "width": 1, "size": 0, "error": 0.0, "scales": "", "values": "",
    }  # fmt: skip
