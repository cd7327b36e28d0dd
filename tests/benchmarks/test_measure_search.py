"""The measurement of search runs and says what it found."""

import re

from tests.benchmarks.measure_search import measure


def test_lines_for_each_store(capsys):
    measure(rows=50, size=4, rounds=2, stores=("float32", "int8"), counts=(1, 3))
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"50 x 4, float32, 0\.00 GB", lines[0])
    assert re.fullmatch(r"50 x 4, int8, 0\.00 GB, recall@10 [01]\.\d{4}", lines[3])
    for line, count in zip((*lines[1:3], *lines[4:]), (1, 3, 1, 3), strict=True):
        seconds = r"\d+\.\d{3} s \(least \d+\.\d{3}\), \d+\.\d\d s of processor time"
        assert re.fullmatch(rf"    {count} at once: {seconds}", line)
