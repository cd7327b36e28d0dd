"""The networks in `tests/fixtures` that Apple's own code, and timm's, wrote and ran, one layout at a time."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from tests.support.paths import FIXTURES

# layout → the file of its weights
FILES = {
    "apple": "model.safetensors",
    "mlx": "mlx_model.safetensors",
    "flax": "flax_model.msgpack",
    "timm": "model.safetensors",
}
APPLE = ("apple", "mlx", "flax")
NETWORKS = ("apple-lit", "apple-absolute", "apple-native")
# (network, layout)
ALL = [(network, layout) for network in NETWORKS for layout in APPLE] + [("timm", "timm")]


def folder_of(tmp_path: Path, network: str, layout: str, **changes: Any) -> Path:
    """A folder with one network in one layout; `changes` to its config.json, where None removes a key."""
    folder = tmp_path / f"{network}-{layout}"
    folder.mkdir(parents=True)
    shutil.copy(FIXTURES / network / FILES[layout], folder)
    config = json.loads((FIXTURES / network / "config.json").read_text())
    config = {key: value for key, value in {**config, **changes}.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def recorded(network: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The inputs that a network was given, and what it returned."""
    folder = FIXTURES / network
    return load_file(folder / "inputs.safetensors"), load_file(folder / "outputs.safetensors")
