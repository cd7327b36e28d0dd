"""Pictures, and what one machine makes of them, for clusters of two processes that are watched."""

import os
import subprocess
import sys

import numpy as np
import pytest

from aimv2_np.tasks import open_features
from tests.support.paths import ROOT
from tests.support.pictures import photo
from tests.support.watched import DEATHS, FOLDER, Watched

COUNT, BROKEN = 300, (5, 64, 211)


@pytest.fixture(scope="session")
def work(tmp_path_factory):
    """A folder with `photos`, three of them broken, and `one.safetensors`, their features by one process."""
    work = tmp_path_factory.mktemp("work")
    (work / "photos").mkdir()
    for number in range(COUNT):
        path = work / "photos" / f"{number:03}.png"
        photo(40 + number % 7, 50, seed=number).save(path)
        if number in BROKEN:
            path.write_bytes(b"no picture")
    embed = [sys.executable, "-m", "aimv2_np", "embed", "photos", "-o", "one.safetensors"]
    subprocess.run(embed, cwd=work, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, capture_output=True)
    return work


@pytest.fixture(scope="session")
def one(work):
    """Vector of each sound picture by the name of its file, by one process."""
    file = open_features(work / "one.safetensors")
    return {name.rpartition("/")[2]: np.asarray(row) for name, row in zip(file.names, file.features, strict=True)}


@pytest.fixture
def watched(tmp_path, monkeypatch, work):
    """A folder in which processes report that compute from here on, where one of them dies; in the folder `work`."""
    folder = tmp_path / "watched"
    folder.mkdir()
    monkeypatch.chdir(work)
    for name, value in {
        "PYTHONPATH": str(ROOT), FOLDER: str(folder), DEATHS: "1",
        "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1", "RAY_AUTH_MODE": "disabled",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("aimv2_np.tasks.ImageEmbedder", Watched)
    monkeypatch.setattr("aimv2_np.tasks.embedding.run.ImageEmbedder", Watched)
    return folder
