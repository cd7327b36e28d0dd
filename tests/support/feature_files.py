"""Files of features without pictures."""

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from aimv2_np.tasks import FeatureFile, open_features
from aimv2_np.tasks.embedding import feature_file


def write_features(path: Path, features: ArrayLike, kind: str = "pooled", **metadata: str) -> FeatureFile:
    """A file of features as `embed` writes it, of any numbers."""
    array = np.asarray(features, np.float32)
    names = [f"{row}.png" for row in range(len(array))]
    facts = {"format": feature_file.FORMAT, "features": kind, "normalized": "false", **metadata}
    with path.open("wb") as file:
        feature_file.write_features(file, path.suffix, {"features": array}, names, [], facts)
    return open_features(path)
