"""What features depend on: what two runs have in common when one may continue, or add to, what the other has made."""

import json
import sys
from hashlib import sha256
from typing import Any

from aimv2_np.backends.parallel import threads
from aimv2_np.kernels.native.library import kernels
from aimv2_np.storage.digest import hash_weights
from aimv2_np.tasks.embedding.embedder import ImageEmbedder
from aimv2_np.tasks.embedding.sources import Pictures
from aimv2_np.tasks.embedding.stored import FULL


def settings(embedder: ImageEmbedder) -> dict[str, Any]:
    """What must be as it was for a run to add to a file of features. All weights are read for it."""
    opened = embedder.opened
    processor = json.dumps(opened.processor.to_dict(), sort_keys=True, default=str)
    return {
        "features": opened.kind,
        "normalize": embedder.normalize,
        "dtype": embedder.dtype,
        "backend": embedder.backend,
        "weights": hash_weights(opened.model.state_dict()),
        "image processor": sha256(processor.encode()).hexdigest(),
        "batch size": embedder.batch_size,  # by which rows are rounded differently
        **({} if embedder.max_patches is None else {"max patches": embedder.max_patches}),
        **({"turned upright": True} if embedder.exif_transpose else {}),
    }


def identity(wanted: dict[str, Any], pictures: Pictures) -> dict[str, Any]:
    """What must be as it was for a run with these settings to continue an interrupted one."""
    return wanted | {"number of pictures": len(pictures.names), "pictures": pictures.digest()}


def begun(embedder: ImageEmbedder, copied: str, *, checksum: bool) -> dict[str, Any]:
    """What must be as it was besides, and cannot be seen in the file that is made: `copied` is what rows come from."""
    return rounding(embedder) | {
        **({"checksum": True} if checksum else {}),  # by which it is told that a picture has changed
        **({} if copied == FULL else {"rows copied as": copied}),  # less than was computed
    }


def means(embedder: ImageEmbedder, wanted: dict[str, Any]) -> dict[str, Any]:
    """What must be the same in two processes with these settings, so that both compute the same bits."""
    how = "in C" if alone(embedder) else "by NumPy or CuPy"
    # The package itself stands above this room.
    version = sys.modules["aimv2_np"].__version__
    return wanted | {"version of aimv2_np": version, "kernels": how} | rounding(embedder)


def rounding(embedder: ImageEmbedder) -> dict[str, int]:
    """What else decides about the last bits, where BLAS computes: OPENBLAS_NUM_THREADS, or the number of cores."""
    return {} if alone(embedder) or embedder.backend != "numpy" else {"threads of BLAS": threads()}


def alone(embedder: ImageEmbedder) -> bool:
    """Whether a picture's vector has the same bits whatever else is in its batch.

    The kernels in C take each row's sums in an order of its own; BLAS and a GPU choose one by the shape of all.
    """
    return kernels() is not None and embedder.backend == "numpy" and embedder.dtype in ("float32", "bfloat16")
