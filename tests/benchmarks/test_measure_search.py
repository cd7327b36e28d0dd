"""The measurement of search runs and says what it found."""

import re

from tests.benchmarks.measure_search import measure


def test_a_line_for_each_size(capsys):
    measure(rows=50, size=4, rounds=2)
    line = capsys.readouterr().out
    assert re.fullmatch(r"50 x 4, 0\.00 GB: \d+\.\d\d s \(least \d+\.\d\d\), \d+\.\d\d s of processor time\n", line)
