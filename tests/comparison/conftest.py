"""What tests of comparisons share."""

import pytest

from aimv2_np.comparison.diagnosis import trials


@pytest.fixture
def no_search(monkeypatch):
    """No cause is looked for: of a test that says nothing of causes the search takes nearly all the time."""
    monkeypatch.setattr(trials, "SECONDS", 0.0)


@pytest.fixture
def no_pairs(monkeypatch):
    """No two causes together are looked for: where there are none, that lasts until its two seconds are over."""
    monkeypatch.setattr(trials, "PAIRS", 0.0)
