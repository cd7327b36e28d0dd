"""Reading all tensors of a checkpoint at once."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from aimv2_np.storage import Checkpoint, match


def read_state(
    checkpoint: Checkpoint, expected: Mapping[str, tuple[int, ...]], dtype: str = "float32"
) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of a model whose names and shapes are `expected`, read-only, of `dtype` (see `Checkpoint.read`).

    Raises one CheckpointError, before any tensor is read, for all tensors that are missing, unexpected or of another
    shape.
    """
    return {name: checkpoint.read(stored, dtype) for name, stored in match(expected, checkpoint).items()}
