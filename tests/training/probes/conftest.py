"""One small checkpoint for all tests of this folder."""

from pathlib import Path

import pytest

from tests.support.two_towers import save_two_towers


@pytest.fixture(scope="session")
def two_towers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_two_towers(tmp_path_factory.mktemp("checkpoints") / "two-towers")
