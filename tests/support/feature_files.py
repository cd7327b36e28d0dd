"""Files of features without pictures."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import ArrayLike

from aimv2_np.tasks import FeatureFile, open_features
from aimv2_np.tasks.embedding import feature_file
from aimv2_np.tasks.embedding.stored import encode


def write_features(
    path: Path, features: ArrayLike, kind: str = "pooled", store: str = "float32", **metadata: str
) -> FeatureFile:
    """A file of features as `embed` writes it, of any numbers."""
    array = np.asarray(features, np.float32)
    names = [f"{row}.png" for row in range(len(array))]
    facts = {"format": feature_file.FORMAT, "features": kind, "normalized": "false", **metadata}
    with TemporaryDirectory() as folder, path.open("wb") as file:
        arrays, _ = encode({"features": array}, store, Path(folder))
        feature_file.write_features(file, path.suffix, arrays, names, [], {**facts, "stored": store})
    return open_features(path)
