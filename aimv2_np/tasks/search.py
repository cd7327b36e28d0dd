"""Which pictures of many are nearest to a text or a picture: all of them are compared, none is missed.

    score_n = <q, x_n> / (‖q‖ ‖x_n‖)

The products are taken in float32, block by block over the mapped file. What float32's rounding could have put in the
wrong place is computed again in float64, so the order is that of the exact cosines; equal ones go by their row.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from heapq import nlargest
from pathlib import Path
from typing import Any, Final, Unpack

import numpy as np
from numpy.typing import NDArray

from aimv2_np.backends.arithmetic import own_arithmetic
from aimv2_np.backends.arrays import to_numpy
from aimv2_np.backends.parallel import one_blas_thread, usable_cores
from aimv2_np.data import tiny_model_path
from aimv2_np.errors import CheckpointError
from aimv2_np.models.aimv2 import Aimv2Model
from aimv2_np.models.options import fetching
from aimv2_np.processing import Aimv2Processor
from aimv2_np.processing.loading import naming_image
from aimv2_np.processing.settings import as_count
from aimv2_np.tasks.classify import embed_prompts
from aimv2_np.tasks.embedding.embedder import EmbedderOptions, ImageEmbedder
from aimv2_np.tasks.embedding.feature_file import FeatureFile
from aimv2_np.tasks.embedding.kinds import KINDS
from aimv2_np.tasks.embedding.pipeline import ahead
from aimv2_np.tasks.embedding.sources import is_picture
from aimv2_np.tasks.knn import unit_rows

BLOCK_BYTES: Final = 2**22  # of features that a thread works on at a time: read twice, so caches should hold them


@dataclass(frozen=True)
class Hit:
    """A picture that was found: its row in the file, its name, and its cosine with what was searched for (-1 to 1)."""

    row: int
    name: str
    score: float


@own_arithmetic()
def search(features: FeatureFile, query: Any, top: int = 10, *, threads: int | None = None) -> list[Hit]:
    """The `top` pictures whose vectors have the largest cosines with `query`, largest first, equal ones by row.

    Args:
        features: as from `open_features`; of any kind but "tokens".
        query: (D,), a vector of the same kind, as from `embed_query`; its length does not matter.
        top: how many; all of them where there are fewer.
        threads: how many cores to use; None for all.

    Raises:
        ValueError: features of patches; a query that has another size, is zero or not finite; `top` below 1.
        CheckpointError: vectors in the file that are not finite.
    """
    features.check_one_per_picture()
    top = as_count(top, "top")
    vector = _unit_query(query)
    found: list[tuple[float, int]] = []
    rows = max(1, BLOCK_BYTES // (4 * len(vector)))
    threads = threads or usable_cores()
    with one_blas_thread(), ThreadPoolExecutor(threads, "search") as pool:
        for best in ahead(pool, partial(_best, features, vector, top), features.blocks(rows), 2 * threads):
            found = nlargest(top, found + best)
    return [Hit(-row, features.names[-row], score) for score, row in found]


def embed_query(
    features: FeatureFile,
    query: str | os.PathLike[str] | bytes,
    *,
    text: bool | None = None,
    model: str | os.PathLike[str] | None = None,
    **options: Unpack[EmbedderOptions],
) -> NDArray[np.float32]:
    """The vector (D,) of a text or a picture, made as those in the file were.

    Args:
        features: the file that will be searched.
        query: a text, or the path or the bytes of a picture.
        text: whether `query` is a text; None: unless it is bytes, or a file is there under that name.
        model: where the model is now; None: where it was when the file was written.
        options: backend, dtype, device, revision, … as for `ImageEmbedder`.

    Raises:
        ValueError: a text for features that texts have no part in, or one that is blank or too long; a damaged picture.
        FileNotFoundError: what looks like a path of a picture, and is none; no model.
        CheckpointError: another model than the one that the file is of.
    """
    if text is None:
        text = _is_text(query)
    if text and (not isinstance(query, str) or not query.strip()):
        raise ValueError(f"the text is {query!r:.80}; expected words")
    if text and features.kind != "projected":
        raise ValueError(
            f"{features.path} holds {features.kind!r} features, {KINDS[features.kind].what}; texts are compared with "
            "'projected' ones, of a two-tower model such as 'apple/aimv2-large-patch14-224-lit': embed with that, or "
            "search with a picture"
            if features.kind in KINDS
            else f"{features.path} does not say which features it holds; search with a vector"
        )
    name = features.metadata.get("model", "") if model is None else os.fspath(model)
    place = None if name == tiny_model_path().name and not Path(name).is_dir() else name
    if model is None:
        if "revision" in features.metadata:
            options.setdefault("revision", features.metadata["revision"])
        if "prefix" in features.metadata:
            options.setdefault("prefix", features.metadata["prefix"])
        if features.metadata.get("final_norm") == "false":
            options.setdefault("final_norm", False)
    if (bound := features.metadata.get("max_patches", "")).isdecimal():
        options.setdefault("max_patches", int(bound))
    options.setdefault("exif_transpose", features.metadata.get("exif_transpose") == "true")
    embedder = ImageEmbedder(place, features.kind, **options)
    if features.metadata.get("weights_hash") != embedder.weights_hash(features.metadata.get("dtype", "float32")):
        raise CheckpointError(
            f"{features.path} was made with other weights than those of {name}, and vectors of two models cannot be "
            "compared; pass the model that it was made with, or embed the pictures again"
        )
    if not text:
        with nullcontext() if isinstance(query, bytes) else naming_image(os.fspath(query)):
            return embedder.compute([embedder.prepare(query)])[0]
    network = embedder.opened.model
    assert isinstance(network, Aimv2Model)
    folder, where = embedder.source
    processor = Aimv2Processor.from_pretrained(folder, **fetching(where))
    vector = to_numpy(embed_prompts([str(query)], network, processor))[0]
    result: NDArray[np.float32] = vector.astype(np.float32, copy=False)
    return result


def _is_text(query: object) -> bool:
    if not isinstance(query, str):
        return False
    if is_picture(query) and not Path(query).exists():
        raise FileNotFoundError(
            f"there is no picture {query!r:.300}; check the path (or say that it is a text: --text, text=True)"
        )
    with suppress(OSError, ValueError):  # a long text is no possible name of a file
        return not Path(query).is_file()
    return True


def _unit_query(query: Any) -> NDArray[np.float64]:
    vector = np.asarray(query, np.float64)
    if vector.ndim != 1 or not vector.size or not np.isfinite(vector).all() or not vector.any():
        raise ValueError(
            f"query has the shape {vector.shape}; expected one vector (D,) of finite numbers, not all zero"
        )
    unit: NDArray[np.float64] = unit_rows(vector[None])[0]
    return unit


def _best(
    features: FeatureFile, query: NDArray[np.float64], top: int, found: tuple[int, NDArray[np.float32]]
) -> list[tuple[float, int]]:
    """(score, -row) of the best of one block; `found` is the number of its first row, and the block."""
    start, block = found
    if block.ndim != 2 or block.shape[1] != len(query):
        raise ValueError(
            f"query has {len(query)} numbers, and {features.path} vectors of {block.shape[-1]}; "
            "they are of different kinds"
        )
    block = np.ascontiguousarray(block, np.float32)  # what lies unaligned in a foreign file is copied here
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        scores = block @ query.astype(np.float32)
        lengths = np.sqrt(np.linalg.vecdot(block, block))
        scores /= lengths
    # Zeros, and what float32 squares cannot hold.
    rough = np.flatnonzero(~np.isfinite(scores) | ~np.isfinite(lengths) | (lengths < 1e-15))
    if rough.size:
        scores[rough] = np.inf  # to be computed below
    if len(scores) > top:
        margin = 4 * (block.shape[1] + 8) * np.finfo(np.float32).eps  # the bound of a float32 cosine's error, twice
        least = np.partition(np.where(np.isinf(scores), -1, scores), -top)[-top]
        chosen = np.flatnonzero(scores >= least - margin)
    else:
        chosen = np.arange(len(scores))
    exact = _cosines(block, chosen, query)
    if not np.isfinite(exact).all():
        row = start + int(chosen[~np.isfinite(exact)][0])
        raise CheckpointError(f"{features.path}: the vector in row {row} is not finite; write the file again")
    order = np.argsort(-exact, kind="stable")[:top]
    return [(float(exact[i]), -(start + int(chosen[i]))) for i in order]


def _cosines(block: NDArray[np.float32], rows: NDArray[np.intp], query: NDArray[np.float64]) -> NDArray[np.float64]:
    """In float64, each row by itself: equal vectors have equal cosines, wherever they are. Zeros have the cosine 0."""
    result = np.empty(len(rows))
    step = max(1, 2**20 // block.shape[1])
    for start in range(0, len(rows), step):
        wide = block[rows[start : start + step]].astype(np.float64)
        lengths = np.sqrt((wide * wide).sum(axis=1))
        result[start : start + step] = (wide * query).sum(axis=1) / np.where(lengths == 0, 1, lengths)
    return result
