"""The measurement of near duplicates runs, and finds what it has planted."""

import re

import pytest

from tests.benchmarks.measure_duplicates import LIKE, measure


@pytest.mark.parametrize("like", LIKE)
def test_a_line(capsys, like):
    measure(rows=500, size=64, like=like, least=0.95)
    line = capsys.readouterr().out
    seconds = r"[\d.]+ s, [\d.]+ s of processor time"
    assert re.fullmatch(rf"500 x 64, {like}: {seconds}; \d+ groups, 5 of 5 planted pairs\n", line)
