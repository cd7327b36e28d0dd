"""aimv2_np/errors.py"""

import pytest

from aimv2_np.errors import plain, quoted


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("short", "'short'"),
        ("x" * 10**6, "'" + "x" * 56 + "..."),
        ([0] * 10**5, "[" + "0, " * 18 + "0," + "..."),
        ("\x1b[2J\ud800", r"'\x1b[2J\ud800'"),
        (10**5000, "an integer of 16610 bits"),
    ],
    ids=["short", "long", "list", "escapes", "digits"],
)
def test_a_quotation_is_bounded_and_of_one_line(value, text):
    assert quoted(value) == text
    assert len(quoted(value, 40)) <= 40


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("layers.0.weight", "layers.0.weight"),
        (ValueError("two\nlines"), r"two\nlines"),
        ("\x1b[2J" * 10**5, (r"\x1b[2J" * 20)[:97] + "..."),
        ("é" * 101, "é" * 97 + "..."),
    ],
)
def test_a_plain_text_is_bounded_and_of_one_line(value, text):
    assert plain(value) == text
