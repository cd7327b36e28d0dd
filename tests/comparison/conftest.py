"""What tests of comparisons share."""

import pytest

from aimv2_np.comparison.diagnosis import trials


@pytest.fixture
def no_search(monkeypatch):
    """No cause is looked for: of a test that says nothing of causes the search takes nearly all the time."""
    monkeypatch.setattr(trials, "SECONDS", 0.0)
