"""Where the tests keep their files."""

from pathlib import Path

FIXTURES = Path(__file__).parent.parent / "fixtures"
ROOT = FIXTURES.parent.parent
