"""Files of features without pictures."""

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from aimv2_np.tasks import FeatureFile, open_features
from aimv2_np.tasks.embedding.assemble import _text_columns
from aimv2_np.tasks.embedding.columns import Column, write_safetensors
from aimv2_np.tasks.embedding.feature_file import FORMAT


def write_features(path: Path, features: ArrayLike, kind: str = "pooled", **metadata: str) -> FeatureFile:
    """A file of features as `embed` writes it, of any numbers."""
    array = np.asarray(features, np.float32)
    names = [f"{row}.png" for row in range(len(array))]
    column = Column("features", array.dtype, array.shape, lambda: iter([array]))
    facts = {"format": FORMAT, "features": kind, "normalized": "false", **metadata}
    with path.open("wb") as file:
        write_safetensors(file, [column, *_text_columns(names, [])], facts)
    return open_features(path)
