"""Bad input at the door: each a ValueError that names the argument and says what was expected."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from tests.support import reference
from tests.support.models import assert_close, both_model, pixels, text_model, tokens, vision_model

VISION, TEXT, BOTH = vision_model(), text_model(), both_model()


def with_value(value, where=(1, 2, 3, 4)):
    x = pixels()
    x[where] = value
    return x


BAD_PIXELS = {
    "a picture without a batch": (pixels()[0], r"shape \(3, 12, 12\).*\(batch, 3, height, width\)"),
    "one plane": (pixels()[0, 0], r"shape \(12, 12\)"),
    "rank five": (pixels()[None], r"shape \(1, 2, 3, 12, 12\)"),
    "channels last": (pixels().transpose(0, 2, 3, 1), r"shape \(2, 12, 12, 3\).*\(batch, 3, height, width\)"),
    "one channel": (pixels(channels=1), r"shape \(2, 1, 12, 12\)"),
    "four channels": (pixels(channels=4), r"shape \(2, 4, 12, 12\)"),
    "less than a patch high": (pixels(2, 3, 12), r"3x12.*4x4 patch"),
    "less than a patch wide": (pixels(2, 12, 3), r"12x3.*4x4 patch"),
    "no pixels": (pixels(2, 0, 0), "0x0.*patch"),
    "another grid": (pixels(2, 16, 12), r"16x12.*4x3.*3x3.*interpolate_pos_encoding"),
    "bytes": (np.zeros((2, 3, 12, 12), np.uint8), "dtype uint8.*floats"),
    "integers": (np.zeros((2, 3, 12, 12), int), "dtype int64.*floats"),
    "booleans": (np.zeros((2, 3, 12, 12), bool), "dtype bool.*floats"),
    "complex numbers": (np.zeros((2, 3, 12, 12), complex), "dtype complex128.*floats"),
    "lists of integers": (np.zeros((1, 3, 12, 12), int).tolist(), "dtype int64.*floats"),
    "NaN": (with_value(np.nan), "NaN or infinity.*finite"),
    "infinity": (with_value(np.inf), "NaN or infinity"),
    "minus infinity": (with_value(-np.inf), "NaN or infinity"),
    "too large for float32": (with_value(1e30).astype("f8") * 1e30, "NaN or infinity.*float32"),
    "too large for the squares of float32": (with_value(-1e25), r"beyond ±1e\+06.*-3 to 3"),
    "ragged": ([pixels()[0].tolist(), pixels(1, 8, 8)[0].tolist()], ""),
    "arrays of different sizes": ([pixels()[0], pixels(1, 8, 8)[0]], ""),
    "a string": ("picture.jpg", ""),
    "objects": (np.array([[[[None]]]]), ""),
    "nothing": (None, ""),
    "an empty list": ([], r"shape \(0,\)"),
    "a number": (1.0, r"shape \(\)"),
    "a Pillow image": (Image.new("RGB", (12, 12)), ""),
    "a dictionary": ({"pixel_values": 1}, ""),
    "strings": ([[[["a"]]]], ""),
}


@pytest.mark.parametrize("case", BAD_PIXELS)
def test_pixel_values(case):
    value, message = BAD_PIXELS[case]
    with pytest.raises(ValueError, match=rf"(?s)pixel_values.*{message}"):
        VISION(value)


@pytest.mark.parametrize("case", [name for name in BAD_PIXELS if name != "nothing"])
def test_pixel_values_of_the_two_tower_model(case):
    value, message = BAD_PIXELS[case]
    for call in (lambda: BOTH(pixel_values=value), lambda: BOTH.get_image_features(value)):
        with pytest.raises(ValueError, match=rf"(?s)pixel_values.*{message}"):
            call()


def test_a_picture_smaller_than_a_patch_is_refused_by_native_and_interpolating_models_too():
    with pytest.raises(ValueError, match=r"pixel_values.*3x12.*patch"):
        vision_model(is_native=True)(pixels(1, 3, 12))
    with pytest.raises(ValueError, match=r"pixel_values.*3x12.*patch"):
        VISION(pixels(1, 3, 12), interpolate_pos_encoding=True)


def test_unnormalised_pixels_are_computed():
    """Bytes as floats, even 16-bit ones, are a mistake of the caller's, but numbers: the norm takes them."""
    for scale in (255, 65535):
        x = pixels() * np.float32(scale)
        _, last, _ = reference.vision(VISION.state_dict(), VISION.config, x)
        assert_close(VISION(x).last_hidden_state, last, ulps=100)


def test_pixels_too_large_for_float16():
    with pytest.raises(ValueError, match=r"pixel_values hold NaN or infinity \(as float16"):
        VISION.to(dtype="float16")(with_value(1e6))


def test_pixels_beyond_reason_for_float64():
    """In float32 themselves, they are compared with float64's largest number, which float32 does not have."""
    with pytest.raises(ValueError, match=r"reach beyond ±1e\+06"):
        VISION.to(dtype="float64")(with_value(1e8))


BAD_IDS = {
    "outside the vocabulary": ([[1, 40]], r"40.*outside the vocabulary.*0 to 39"),
    "negative": ([[1, -1]], "-1.*outside the vocabulary"),
    "enormous": (np.array([[2**63]], np.uint64), "9223372036854775808.*vocabulary"),
    "beyond 64 bits": ([[2**70]], ""),
    "floats": ([[1.0, 2.0]], "dtype float64.*integers"),
    "NaN": ([[np.nan]], "dtype float64.*integers"),
    "booleans": ([[True, False]], "dtype bool.*integers"),
    "too many tokens": (tokens(1, 10), "10 tokens.*9"),
    "no tokens": (np.zeros((2, 0), int), r"shape \(2, 0\).*at least one token"),
    "an empty list": ([], r"shape \(0,\)"),
    "no batch": ([1, 2, 3], r"shape \(3,\).*\(batch, tokens\)"),
    "rank three": ([[[1]]], r"shape \(1, 1, 1\)"),
    "a number": (5, r"shape \(\)"),
    "ragged": ([[1, 2], [3]], ""),
    "text": ("a photo of a cat", ""),
    "texts": (["a cat", "a dog"], ""),
    "nested texts": ([["a cat"]], ""),
    "nothing": (None, ""),
    "rows of nothing": ([None], ""),
    "a mapping": ({"input_ids": [[1]]}, ""),
    "dates": (np.array([["2020-01-01"]], "M8[D]"), ""),
}


@pytest.mark.parametrize("case", BAD_IDS)
def test_input_ids(case):
    value, message = BAD_IDS[case]
    with pytest.raises(ValueError, match=rf"(?s)input_ids.*{message}"):
        TEXT(value)


@pytest.mark.parametrize("case", [name for name in BAD_IDS if name != "nothing"])
def test_input_ids_of_the_two_tower_model(case):
    value, message = BAD_IDS[case]
    for call in (lambda: BOTH(value), lambda: BOTH.get_text_features(value)):
        with pytest.raises(ValueError, match=rf"(?s)input_ids.*{message}"):
            call()


ONES = np.ones((2, 6), int)
BAD_MASKS = {
    "one row": (ONES[0], r"shape \(6,\).*\(2, 6\)"),
    "too few rows": (ONES[:1], r"shape \(1, 6\).*\(2, 6\)"),
    "too short": (ONES[:, :5], r"shape \(2, 5\).*\(2, 6\)"),
    "for each head": (ONES[:, None], r"shape \(2, 1, 6\)"),
    "two": (ONES * 2, "other than 0 and 1"),
    "minus one": (-ONES, "other than 0 and 1"),
    "a half": (ONES * 0.5, "other than 0 and 1"),
    "additive": (np.where(ONES == 1, 0.0, -np.inf) - 1e9, "other than 0 and 1"),
    "NaN": (ONES * np.nan, "other than 0 and 1"),
    "infinity": (ONES * np.inf, "other than 0 and 1"),
    "a number": (1, r"shape \(\)"),
    "ragged": ([[1, 1], [1]], ""),
    "a string": ("111111", ""),
    "strings": ([["1"] * 6] * 2, ""),
    "objects": (np.array([[None] * 6] * 2), ""),
    "dates": (np.zeros((2, 6), "M8[D]"), ""),
}


@pytest.mark.parametrize("case", BAD_MASKS)
def test_attention_mask(case):
    value, message = BAD_MASKS[case]
    calls = [
        lambda: TEXT(tokens(), value), lambda: TEXT(tokens(), value, causal=False),
        lambda: BOTH(tokens(), attention_mask=value), lambda: BOTH.get_text_features(tokens(), value),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ValueError, match=rf"(?s)attention_mask.*{message}"):
            call()


def test_messages_say_what_to_do():
    for bad, advice in ((pixels()[0], "Aimv2ImageProcessor"), (pixels().astype("u1"), "Aimv2ImageProcessor")):
        with pytest.raises(ValueError, match=advice):
            VISION(bad)
    for bad, advice in (([[1.0]], "Aimv2Tokenizer"), (tokens(1, 12), "truncation"), ([[77]], "tokenizer")):
        with pytest.raises(ValueError, match=advice):
            TEXT(bad)


@settings(max_examples=100)
@given(value=hnp.arrays(
    st.one_of(hnp.floating_dtypes(), hnp.integer_dtypes(), hnp.boolean_dtypes()),
    st.one_of(hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4), st.just((1, 3, 12, 12))),
))  # fmt: skip
def test_any_array_gives_numbers_or_a_value_error(value):
    """No other exception, no warning, and never NaN."""
    for model, name in ((VISION, "pixel_values"), (TEXT, "input_ids")):
        try:
            message, output = name, model(value)
        except ValueError as error:
            message, output = str(error), None
        assert name in message
        assert output is None or np.isfinite(output.last_hidden_state).all()


def test_inputs_are_left_alone():
    x, ids, mask = pixels(), tokens(), np.ones((2, 6), int)
    for array in (x, ids, mask):
        array.flags.writeable = False
    BOTH(ids, x, mask)
    np.testing.assert_array_equal(x, pixels())
    np.testing.assert_array_equal(ids, tokens())
