"""One small checkpoint and a folder of pictures for all tests of this folder."""

from pathlib import Path

import pytest

from tests.support.pictures import photo
from tests.support.two_towers import save_two_towers


@pytest.fixture(scope="session")
def two_towers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_two_towers(tmp_path_factory.mktemp("checkpoints") / "two-towers")


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pictures of different sizes, of which number 7 is no picture and number 21 is cut short."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(40):
        photo(20 + number % 7, 30 + number % 5, seed=number).save(folder / f"{number:02d}.png")
    (folder / "07.png").write_text("no picture")
    (folder / "21.png").write_bytes((folder / "21.png").read_bytes()[:200])
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path
